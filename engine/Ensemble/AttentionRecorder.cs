using AfaNative.Engine.Core;
using AfaNative.Engine.Models;

namespace AfaNative.Engine.Ensemble;

/// <summary>The experts' weights at one aggregation point and step, for one picture.</summary>
/// <param name="Step">Step index from 0.</param>
/// <param name="Point">Aggregation point.</param>
/// <param name="Height">Rows of the map.</param>
/// <param name="Width">Columns of the map.</param>
/// <param name="Maps">[N, Height, Width], summing to 1 over N.</param>
public sealed record AttentionRecord(int Step, int Point, int Height, int Width, float[] Maps);

/// <summary>Keeps the attention maps of a few evenly spaced steps, the prompt's half only under guidance.</summary>
public sealed class AttentionRecorder
{
    private readonly HashSet<int> _steps;
    private readonly List<AttentionRecord>[] _images;
    private readonly Ops _ops;

    /// <summary>
    /// Records up to <paramref name="columns"/> of <paramref name="steps"/> steps for <paramref name="count"/> pictures of one
    /// batch.
    /// </summary>
    public AttentionRecorder(DiffusionModel model, int steps, int count, int columns = 6)
    {
        columns = Math.Min(columns, steps);
        _steps =
        [
            .. Enumerable.Range(0, columns).Select(i => columns == 1 ? 0 : (int)Math.Round(i * (steps - 1.0) / (columns - 1))),
        ];
        _images = [.. Enumerable.Range(0, count).Select(_ => new List<AttentionRecord>())];
        _ops = new Ops(model.Device);
    }

    /// <summary>Give this to <c>GenerationObserver.Aggregation</c>.</summary>
    public void Record(int step, int point, Tensor fused, Tensor maps)
    {
        if (!_steps.Contains(step))
            return;
        Shape s = maps.Shape;
        float[] values = _ops.DownloadNchw(maps);
        int per = s.Channels * s.Pixels,
            first = s.Batch - _images.Length;
        for (int i = 0; i < _images.Length; i++)
            _images[i].Add(new AttentionRecord(step, point, s.Height, s.Width, values.AsSpan((first + i) * per, per).ToArray()));
    }

    /// <summary>What was recorded for a picture of the batch.</summary>
    public IReadOnlyList<AttentionRecord> For(int image) => _images[image];

    /// <summary>A reader's name for each aggregation point: "conv_in", "down 0, layer 1", ... "noise prediction".</summary>
    public static IReadOnlyList<string> PointNames(UNetConfig config)
    {
        List<string> names = ["conv_in"];
        int levels = config.BlockOutChannels.Count;
        for (int i = 0; i < levels; i++)
        {
            names.AddRange(Enumerable.Range(0, config.LayersPerBlock[i]).Select(j => $"down {i}, layer {j}"));
            if (i < levels - 1)
                names.Add($"down {i}, downsampler");
        }

        names.Add("mid");
        for (int i = 0; i < levels; i++)
            names.AddRange(Enumerable.Range(0, config.LayersPerBlock[levels - 1 - i] + 1).Select(j => $"up {i}, layer {j}"));
        names[^1] = "noise prediction";
        return names;
    }
}
