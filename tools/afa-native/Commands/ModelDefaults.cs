using AfaNative.Engine.Core;
using AfaNative.Engine.Models;

namespace AfaNative.Tool.Commands;

/// <summary>What <c>sample</c> takes where nothing is said.</summary>
/// <param name="Model">The model's path.</param>
/// <param name="Size">Edge of a picture: what the model was trained at, as diffusers does it.</param>
/// <param name="Steps">Denoising steps.</param>
/// <param name="Guidance">Classifier-free guidance.</param>
internal sealed record ModelDefaults(string Model, int Size, int Steps, float Guidance)
{
    /// <summary>Where a demo ensemble (what <c>demo train</c> makes) lies beside the program.</summary>
    public static string DemoFolder => Path.Combine(AppContext.BaseDirectory, "demo");

    /// <summary>For a model, or, if none is named, for the demo ensemble.</summary>
    /// <exception cref="AfaException">None is named, and the demo ensemble is not there.</exception>
    public static ModelDefaults Of(string? model, string? basePath)
    {
        if (model is null && !Directory.Exists(DemoFolder))
            throw new AfaException(
                $"MODEL is missing: name an ensemble, a model folder or a single-file checkpoint (a demo ensemble in "
                    + $"{DemoFolder} would take its place; afa-native synth makes a small model with random weights)."
            );
        string at = model ?? DemoFolder;
        // A single file says nothing of its size, its base does.
        string folder = File.Exists(at) ? basePath ?? "" : at;
        int size = 512;
        if (File.Exists(Path.Combine(folder, "unet", "config.json")) && File.Exists(Path.Combine(folder, "vae", "config.json")))
            size =
                UNetConfig.Load(Path.Combine(folder, "unet")).SampleSize * VaeConfig.Load(Path.Combine(folder, "vae")).Downscale;
        // What demo evaluate compares methods at.
        return model is null ? new(at, size, 20, 4) : new(at, size, 50, 7.5f);
    }
}
