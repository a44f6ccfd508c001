using AfaNative.Engine;
using AfaNative.Engine.Diffusion;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Imaging;

namespace AfaNative.Tool;

/// <summary><c>preview.png</c> in the folder of a run: what the model expects to come out, renewed every so many steps and gone when the run ends.</summary>
internal sealed class PreviewFile : IDisposable
{
    /// <summary>The file's name.</summary>
    public const string Name = "preview.png";

    private readonly LatentPreview _preview;
    private readonly string _path;
    private readonly int _every, _factor;
    private bool _failed;

    private PreviewFile(DiffusionModel model, string folder, int every, CancellationToken cancellation)
    {
        _preview = LatentPreview.Fit(model, cancellation);
        (_path, _every, _factor) = (Path.Combine(folder, Name), every, model.Vae.Config.Downscale);
    }

    /// <summary>A preview every <paramref name="every"/> steps, or null where that is null.</summary>
    public static PreviewFile? Start(DiffusionModel model, string folder, int? every, CancellationToken cancellation) => every is { } steps ? new PreviewFile(model, folder, steps, cancellation) : null;

    /// <summary>For <see cref="GenerationObserver.Denoised"/>: draws when a preview is due, and after the last step, as decoding takes its time.</summary>
    public Action<int, float[], int, int> For(int evaluations) => (step, latents, height, width) =>
    {
        if (_failed || (step % _every != 0 && step != evaluations)) return;
        try
        {
            PngFile.Write(_path, _preview.Draw(latents, height, width, Math.Max(1, _factor / 2)), null);
        }
        catch (AfaException e)
        {
            // A picture in the making is no reason to lose the finished one.
            _failed = true;
            Terminal.Warn($"{e.Message}; the run goes on without previews");
        }
    };

    /// <summary>Removes the file.</summary>
    public void Dispose()
    {
        try
        {
            File.Delete(_path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Terminal.Warn($"{_path} could not be removed: {e.Message}");
        }
    }
}
