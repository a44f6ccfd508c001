using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Imaging;
using AfaNative.Engine.Models;

namespace AfaNative.Engine.Pipeline;

/// <summary>
/// Quick pictures of latents: every latent pixel's colour is a linear function of its channels, fitted once to the model's own
/// VAE. Colour fields drawn here are encoded, and least squares find the map from their latents back
/// to their colours. So it fits any VAE and any number of latent channels, costs one small encoding at the start, and next to
/// nothing a picture.
/// </summary>
public sealed class LatentPreview
{
    // 3 pictures of 24 x 24 latent pixels: over a hundred colours for a map of a dozen to fifty numbers.
    private const int Fields = 3,
        Edge = 24,
        Knots = 7;

    private readonly double[] _map;
    private readonly int _channels;

    /// <summary>A known map [channels + 1, 3] from scaled latents to colours in 0..1; the last row is the constant.</summary>
    public LatentPreview(double[] map)
    {
        ArgumentNullException.ThrowIfNull(map);
        if (map.Length < 6 || map.Length % 3 != 0)
            throw new ArgumentException($"Expected a map [channels + 1, 3], but {map.Length} values came.", nameof(map));
        (_map, _channels) = (map, map.Length / 3 - 1);
    }

    /// <summary>Fits the map to a model's VAE.</summary>
    /// <exception cref="OperationCanceledException">The run was cancelled.</exception>
    public static LatentPreview Fit(DiffusionModel model, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        VaeConfig vae = model.Vae.Config;
        int factor = vae.Downscale,
            size = Edge * factor,
            channels = vae.LatentChannels,
            pixels = Edge * Edge;
        var ops = new Ops(model.Device, cancellation);
        var latents = new double[Fields * pixels * channels];
        var colors = new double[Fields * pixels * 3];
        for (int k = 0; k < Fields; k++)
        {
            float[] picture = Field(size, k);
            using TensorScope scope = ops.Scope();
            float[] moments = ops.Download(
                model.Vae.Encode(ops, ops.Upload([.. picture.Select(v => 2 * v - 1)], new Shape(1, 1, size, size, 3)))
            );
            for (int p = 0; p < pixels; p++)
            {
                for (int c = 0; c < channels; c++)
                    latents[(k * pixels + p) * channels + c] = moments[p * 2 * channels + c] * vae.ScalingFactor;
                for (int i = 0; i < factor * factor; i++)
                {
                    int from = ((p / Edge * factor + i / factor) * size + p % Edge * factor + i % factor) * 3;
                    for (int c = 0; c < 3; c++)
                        colors[(k * pixels + p) * 3 + c] += picture[from + c] / (factor * factor);
                }
            }
        }

        return new LatentPreview(LeastSquares(latents, colors, channels));
    }

    /// <summary>
    /// The map [inputs + 1, 3], constant last, that takes rows x [n, inputs] nearest to rows y [n, 3]: normal equations, with a
    /// ridge of a millionth that decides where the rows do not.
    /// </summary>
    internal static double[] LeastSquares(ReadOnlySpan<double> x, ReadOnlySpan<double> y, int inputs)
    {
        int n = x.Length / inputs,
            m = inputs + 1,
            width = m + 3;
        var system = new double[m * width];
        var row = new double[width];
        for (int r = 0; r < n; r++)
        {
            x.Slice(r * inputs, inputs).CopyTo(row);
            row[inputs] = 1;
            y.Slice(r * 3, 3).CopyTo(row.AsSpan(m));
            for (int i = 0; i < m; i++)
            {
                for (int j = 0; j < width; j++)
                    system[i * width + j] += row[i] * row[j];
            }
        }

        double power = 0;
        for (int i = 0; i < inputs; i++)
            power += system[i * width + i] / inputs;
        for (int i = 0; i < inputs; i++)
            system[i * width + i] += 1e-6 * power + double.Epsilon;
        // Gauss and Jordan; symmetric and positive, so no pivoting.
        for (int i = 0; i < m; i++)
        {
            double pivot = system[i * width + i];
            for (int j = 0; j < width; j++)
                system[i * width + j] = pivot > 0 ? system[i * width + j] / pivot : 0;
            for (int r = 0; r < m; r++)
            {
                double share = system[r * width + i];
                for (int j = 0; r != i && j < width; j++)
                    system[r * width + j] -= share * system[i * width + j];
            }
        }

        var map = new double[m * 3];
        for (int i = 0; i < m; i++)
            system.AsSpan(i * width + m, 3).CopyTo(map.AsSpan(i * 3));
        return map;
    }

    /// <summary>
    /// Scaled latents [count, C, height, width] as pictures of <paramref name="zoom"/> pixels a latent pixel, blended between
    /// latent pixels; several in a grid.
    /// </summary>
    public RgbImage Draw(ReadOnlySpan<float> latents, int height, int width, int zoom)
    {
        int per = _channels * height * width,
            count = latents.Length / Math.Max(1, per);
        if (count < 1 || count * per != latents.Length || zoom < 1)
            throw new ArgumentException(
                $"Expected latents [count, {_channels}, {height}, {width}] and a zoom of 1 or more, but {latents.Length} "
                    + $"values and {zoom} came."
            );
        var pictures = new RgbImage[count];
        for (int i = 0; i < count; i++)
            pictures[i] = One(latents.Slice(i * per, per), height, width, zoom);
        return count == 1 ? pictures[0] : ImageGrid.Compose(pictures);
    }

    private RgbImage One(ReadOnlySpan<float> latent, int height, int width, int zoom)
    {
        int pixels = height * width;
        var small = new float[pixels * 3];
        for (int p = 0; p < pixels; p++)
        {
            for (int c = 0; c < 3; c++)
            {
                double sum = _map[_channels * 3 + c];
                for (int k = 0; k < _channels; k++)
                    sum += latent[k * pixels + p] * _map[k * 3 + c];
                small[p * 3 + c] = (float)sum;
            }
        }

        var large = new float[pixels * zoom * zoom * 3];
        for (int y = 0; y < height * zoom; y++)
        {
            (int top, int bottom, float down) = Between(y, height, zoom);
            for (int x = 0; x < width * zoom; x++)
            {
                (int left, int right, float across) = Between(x, width, zoom);
                for (int c = 0; c < 3; c++)
                {
                    float above = Mix(small[(top * width + left) * 3 + c], small[(top * width + right) * 3 + c], across),
                        below = Mix(small[(bottom * width + left) * 3 + c], small[(bottom * width + right) * 3 + c], across);
                    large[(y * width * zoom + x) * 3 + c] = Mix(above, below, down);
                }
            }
        }

        return RgbImage.FromFloat(large, width * zoom, height * zoom);
    }

    // The two latent pixels whose middles lie around a pixel, and how near the second is.
    private static (int First, int Second, float Share) Between(int at, int size, int zoom)
    {
        float place = Math.Clamp((at + 0.5f) / zoom - 0.5f, 0, size - 1);
        return ((int)place, Math.Min((int)place + 1, size - 1), place - (int)place);
    }

    private static float Mix(float a, float b, float share) => a + (b - a) * share;

    // A field of random colours that blend into each other: picture-like in that neighbours are alike, and it leaves no part of
    // the colour cube out.
    private static float[] Field(int size, int seed)
    {
        var random = new Random(seed + 1);
        float[] knots = [.. Enumerable.Range(0, Knots * Knots * 3).Select(_ => random.NextSingle())];
        var picture = new float[size * size * 3];
        for (int y = 0; y < size; y++)
        {
            float v = (float)y / size * (Knots - 1);
            for (int x = 0; x < size; x++)
            {
                float u = (float)x / size * (Knots - 1);
                int at = ((int)v * Knots + (int)u) * 3;
                for (int c = 0; c < 3; c++)
                    picture[(y * size + x) * 3 + c] = Mix(
                        Mix(knots[at + c], knots[at + 3 + c], u % 1),
                        Mix(knots[at + Knots * 3 + c], knots[at + Knots * 3 + 3 + c], u % 1),
                        v % 1
                    );
            }
        }

        return picture;
    }
}
