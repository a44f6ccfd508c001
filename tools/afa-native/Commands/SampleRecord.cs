using System.Globalization;
using System.Reflection;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Pipeline;
using AfaNative.Kernels.Embedding;

namespace AfaNative.Tool.Commands;

/// <summary>What the pictures of a run of <c>sample</c> say of themselves.</summary>
internal static class SampleRecord
{
    /// <summary>What all pictures of a run record; says where they differ from one that is drawn again.</summary>
    public static RunRecord Of(SampleRequest request, DiffusionModel model, CancellationToken cancellation)
    {
        RunRecord run = RunRecord.Of(model.Folder, request.Loras, request.GivenLoras, request.Vae, cancellation) with
        {
            Expert = request.Expert,
            Start = request.Start,
            // The fact, not the wish: a processor without bfloat16 computes in float32.
            Precision = Devices.Computed(request.Device.Name, request.Device.Precision),
            Device = request.Device.Name,
        };
        request.From?.Compare(run, File.Exists(request.Model));
        return run;
    }

    /// <summary>
    /// What decides how a picture looks and its settings do not say: where weights come from, and how they are computed with.
    /// </summary>
    public static string Identity(SampleRequest s) =>
        string.Join(
            '\n',
            (string?[])
                [
                    Path.GetFullPath(s.Model),
                    s.Base,
                    s.Vae,
                    s.Expert?.ToString(CultureInfo.InvariantCulture),
                    s.Device.Precision,
                    .. s.Loras.Select(l => l.ToString()),
                    .. s.Embeddings.Where(e => !e.Listed).Select(e => e.ToString()),
                ]
        );

    /// <summary>A picture's text.</summary>
    public static string Text(GenerationOptions options, ulong seed, DiffusionModel model, RunRecord run) =>
        Describe(options, seed, model, run).ToParameters();

    /// <summary>What a picture says of itself.</summary>
    /// <param name="options">Its settings, the seed aside.</param>
    /// <param name="seed">The seed.</param>
    /// <param name="model">What drew it.</param>
    /// <param name="run">Weights, and what else the run decides.</param>
    public static GenerationMetadata Describe(GenerationOptions options, ulong seed, DiffusionModel model, RunRecord run)
    {
        GenerationOptions one = options with { Seeds = [seed] };
        string file = model.Folder.UNets[0];
        string folder = Path.TrimEndingDirectorySeparator(Path.GetFullPath(model.Folder.Path));
        IEnumerable<(string, string)> inversions = model
            .Embeddings.UsedBy(options.Syntax, options.Prompt, options.NegativePrompt)
            .Select(e => (e.Name, e.Hash()));
        var picture = new GenerationMetadata
        {
            Prompt = options.Prompt,
            Steps = options.Steps,
            CfgScale = options.GuidanceScale,
            Seed = seed,
            Width = options.Width,
            Height = options.Height,
            Models = [File.Exists(file) ? Path.GetFileNameWithoutExtension(file) : Path.GetFileName(folder)],
            Latents = LatentFile.HashOf(options, seed),
            TextInversions = [.. inversions],
            Version = Version,
        };
        return run.Add(SettingTable.Record(one, picture));
    }

    private static string Version =>
        typeof(DiffusionModel)
            .Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!
            .InformationalVersion.Split('+')[0];
}
