using System.Globalization;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Files;
using AfaNative.Engine.Imaging;
using AfaNative.Engine.Pipeline;

namespace AfaNative.Tool;

/// <summary>
/// <c>preview.png</c> in the folder of a run: what the model expects to come out, renewed every so many steps and gone when the
/// run ends.
/// </summary>
internal sealed class PreviewFile : IDisposable
{
    /// <summary>The file's name.</summary>
    public const string Name = "preview.png";

    private readonly LatentPreview _preview;
    private readonly string _path;
    private readonly int _every,
        _factor;
    private bool _failed,
        _said;

    private PreviewFile(DiffusionModel model, string folder, int every, CancellationToken cancellation)
    {
        _preview = LatentPreview.Fit(model, cancellation);
        (_path, _every, _factor) = (Free(folder), every, model.Vae.Config.Downscale);
    }

    // What a preview records of itself: whose it is.
    private static string Mark { get; } = $"{MarkStart}{TemporaryName.Owner}";

    private const string MarkStart = "Preview of AfaNative, process ";

    // A picture of the user's has the name for good, another run's for as long as that runs.
    private static string Free(string folder)
    {
        string path = Path.Combine(folder, Name);
        for (
            int i = 2;
            Path.Exists(path)
                && !(MarkOf(path) is { } mark && (mark == Mark || TemporaryName.IsDeadOwner(mark[MarkStart.Length..])));
            i++
        )
        {
            path = Path.Combine(
                folder,
                string.Create(CultureInfo.InvariantCulture, $"{Path.GetFileNameWithoutExtension(Name)}-{i}.png")
            );
        }

        return path;
    }

    private static string? MarkOf(string path)
    {
        try
        {
            return
                File.Exists(path)
                && PngFile.ReadParameters(path) is { } text
                && text.StartsWith(MarkStart, StringComparison.Ordinal)
                ? text
                : null;
        }
        catch (AfaException)
        {
            // No picture, so none of these.
            return null;
        }
    }

    /// <summary>A preview every <paramref name="every"/> steps, or null where that is null.</summary>
    public static PreviewFile? Start(DiffusionModel model, string folder, int? every, CancellationToken cancellation) =>
        every is { } steps ? new PreviewFile(model, folder, steps, cancellation) : null;

    /// <summary>
    /// For <see cref="GenerationObserver.Denoised"/>: draws when a preview is due, and after the last step, as decoding takes its
    /// time.
    /// </summary>
    public Action<int, float[], int, int> For(int evaluations)
    {
        if (_every > evaluations && !_said)
        {
            _said = true;
            Terminal.Note($"--preview {_every} is more than the {evaluations} steps of a picture: it shows the last one alone");
        }

        return (step, latents, height, width) =>
        {
            if (_failed || (step % _every != 0 && step != evaluations))
                return;
            try
            {
                PngFile.Write(_path, _preview.Draw(latents, height, width, Math.Max(1, _factor / 2)), Mark);
            }
            catch (AfaException e)
            {
                // A picture in the making is no reason to lose the finished one.
                _failed = true;
                Terminal.Warn($"{e.Message}; the run goes on without previews");
            }
        };
    }

    /// <summary>Removes the file, if it is this run's.</summary>
    public void Dispose()
    {
        try
        {
            if (MarkOf(_path) == Mark)
                File.Delete(_path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Terminal.Warn($"{_path} could not be removed: {e.Message}");
        }
    }
}
