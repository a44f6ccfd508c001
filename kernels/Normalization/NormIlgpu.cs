using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Gpu;
using ILGPU;
using ILGPU.Runtime;

namespace AfaNative.Kernels.Normalization;

/// <summary>Sizes for the portable norms.</summary>
internal struct NormArguments
{
    public int Batch,
        Pixels,
        Channels,
        Groups,
        Slices,
        SharedInput,
        Silu,
        Rows;
    public float Epsilon;

    /// <summary>The sizes of a group norm.</summary>
    public static NormArguments For(in GroupNormShape shape) =>
        new()
        {
            Batch = shape.Batch,
            Pixels = shape.Pixels,
            Channels = shape.Channels,
            Groups = shape.Groups,
            Slices = Math.Clamp(shape.Pixels / 64, 1, 64),
            SharedInput = shape.SharedInput ? 1 : 0,
            Silu = shape.Silu ? 1 : 0,
            Epsilon = shape.Epsilon,
        };
}

/// <summary>
/// Norms on any ILGPU device, without barriers: group statistics are taken by slices of pixels around each slice's own mean,
/// joined by one thread a
/// group, and applied element by element.
/// </summary>
internal static class NormIlgpu<T, TStorage>
    where T : unmanaged
    where TStorage : struct, IStorage<T>
{
    /// <summary>index = (map, group, slice): count, mean and sum of squares around it.</summary>
    public static void GroupStatistics(Index1D index, NormArguments s, ArrayView<T> x, ArrayView<float> partial)
    {
        int slice = index % s.Slices,
            group = index / s.Slices % s.Groups,
            map = index / s.Slices / s.Groups,
            width = s.Channels / s.Groups;
        int first = (int)((long)s.Pixels * slice / s.Slices),
            last = (int)((long)s.Pixels * (slice + 1) / s.Slices),
            origin = map * s.Pixels * s.Channels + group * width;
        float sum = 0,
            m2 = 0;
        int count = (last - first) * width;
        for (int p = first; p < last; p++)
        {
            for (int c = 0; c < width; c++)
                sum += Load(x, origin + p * s.Channels + c);
        }

        float mean = count > 0 ? sum / count : 0;
        for (int p = first; p < last; p++)
        {
            for (int c = 0; c < width; c++)
            {
                float d = Load(x, origin + p * s.Channels + c) - mean;
                m2 += d * d;
            }
        }

        partial[index * 3] = count;
        partial[index * 3 + 1] = mean;
        partial[index * 3 + 2] = m2;
    }

    /// <summary>index = (map, group): mean and inverse deviation from the slices (Chan, Golub and LeVeque).</summary>
    public static void GroupJoin(Index1D index, NormArguments s, ArrayView<float> partial, ArrayView<float> statistics)
    {
        float count = 0,
            mean = 0,
            m2 = 0;
        for (int i = 0; i < s.Slices; i++)
        {
            int at = (index * s.Slices + i) * 3;
            float n = partial[at];
            if (n > 0)
            {
                float d = partial[at + 1] - mean,
                    total = count + n;
                mean += d * n / total;
                m2 += partial[at + 2] + d * d * count * n / total;
                count = total;
            }
        }

        statistics[index * 2] = mean;
        statistics[index * 2 + 1] = 1 / MathF.Sqrt(m2 / count + s.Epsilon);
    }

    /// <summary>index = element of y [E, B, Pixels, Channels].</summary>
    public static void GroupApply(
        Index1D index,
        NormArguments s,
        ArrayView<T> x,
        ArrayView<float> statistics,
        ArrayView<T> weight,
        ArrayView<T> bias,
        ArrayView<T> y
    )
    {
        int c = index % s.Channels,
            image = index / s.Channels / s.Pixels,
            e = image / s.Batch,
            map = s.SharedInput == 1 ? image - e * s.Batch : image;
        int from = s.SharedInput == 1 ? index - e * s.Batch * s.Pixels * s.Channels : index,
            at = (map * s.Groups + c / (s.Channels / s.Groups)) * 2;
        float value =
            (Load(x, from) - statistics[at]) * statistics[at + 1] * Load(weight, e * s.Channels + c)
            + Load(bias, e * s.Channels + c);
        Store(y, index, s.Silu == 1 ? PortableMath.Activate(1, value) : value);
    }

    /// <summary>index = row of y [E, Rows, Channels].</summary>
    public static void Layer(
        Index1D index,
        NormArguments s,
        ArrayView<T> x,
        ArrayView<T> weight,
        ArrayView<T> bias,
        ArrayView<T> y
    )
    {
        int e = index / s.Rows,
            from = (s.SharedInput == 1 ? index - e * s.Rows : index) * s.Channels,
            to = index * s.Channels;
        float sum = 0,
            squares = 0;
        for (int c = 0; c < s.Channels; c++)
            sum += Load(x, from + c);
        float mean = sum / s.Channels;
        sum = 0;
        for (int c = 0; c < s.Channels; c++)
        {
            float d = Load(x, from + c) - mean;
            sum += d;
            squares += d * d;
        }

        // What float32 rounding left of the mean is put right before it scales.
        float rest = sum / s.Channels,
            inverse = 1 / MathF.Sqrt(squares / s.Channels - rest * rest + s.Epsilon);
        for (int c = 0; c < s.Channels; c++)
            Store(
                y,
                to + c,
                (Load(x, from + c) - mean - rest) * inverse * Load(weight, e * s.Channels + c) + Load(bias, e * s.Channels + c)
            );
    }

    /// <summary>index = row.</summary>
    public static void Softmax(Index1D index, int width, ArrayView<T> x, ArrayView<T> y)
    {
        int at = index * width;
        float max = Load(x, at),
            sum = 0;
        for (int i = 1; i < width; i++)
            max = Load(x, at + i) > max ? Load(x, at + i) : max;
        for (int i = 0; i < width; i++)
            sum += PortableMath.Exp(Load(x, at + i) - max);
        for (int i = 0; i < width; i++)
            Store(y, at + i, PortableMath.Exp(Load(x, at + i) - max) / sum);
    }

    private static float Load(ArrayView<T> view, int index) => default(TStorage).Load(view, index);

    private static void Store(ArrayView<T> view, int index, float value) => default(TStorage).Store(view, index, value);
}
