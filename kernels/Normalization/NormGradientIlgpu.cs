using AfaNative.Kernels.Gpu;
using ILGPU;
using ILGPU.Runtime;

namespace AfaNative.Kernels.Normalization;

/// <summary>
/// Gradients of the norms and of softmax on any ILGPU device, a thread per row, channel or element. Statistics come from
/// <see cref="NormIlgpu{T, TStorage}"/>.
/// </summary>
internal static class NormGradientIlgpu<T, TStorage>
    where T : unmanaged
    where TStorage : struct, IStorage<T>
{
    /// <summary>
    /// index = (expert and image, channel): the sums over pixels of the gradient behind SiLU, plain and times the normalized
    /// input.
    /// </summary>
    public static void GroupSums(
        Index1D index,
        NormArguments s,
        ArrayView<T> x,
        ArrayView<float> statistics,
        ArrayView<T> weight,
        ArrayView<T> bias,
        ArrayView<T> dy,
        ArrayView<float> sums
    )
    {
        int c = index % s.Channels,
            image = index / s.Channels;
        float plain = 0,
            times = 0;
        for (int p = 0; p < s.Pixels; p++)
        {
            float normal = Normal(s, image, p, c, x, statistics),
                g = Upstream(s, image, p, c, normal, weight, bias, dy);
            plain += g;
            times += g * normal;
        }

        sums[index * 2] = plain;
        sums[index * 2 + 1] = times;
    }

    /// <summary>index = element of dx [E, B, Pixels, Channels].</summary>
    public static void GroupInput(
        Index1D index,
        NormArguments s,
        ArrayView<T> x,
        ArrayView<float> statistics,
        ArrayView<T> weight,
        ArrayView<T> bias,
        ArrayView<T> dy,
        ArrayView<float> sums,
        ArrayView<T> dx
    )
    {
        int c = index % s.Channels,
            p = index / s.Channels % s.Pixels,
            image = index / s.Channels / s.Pixels,
            e = image / s.Batch,
            width = s.Channels / s.Groups,
            first = c / width * width;
        float a = 0,
            b = 0,
            count = (float)width * s.Pixels;
        for (int i = first; i < first + width; i++)
        {
            float w = Load(weight, e * s.Channels + i);
            a += w * sums[(image * s.Channels + i) * 2];
            b += w * sums[(image * s.Channels + i) * 2 + 1];
        }

        float normal = Normal(s, image, p, c, x, statistics),
            g = Upstream(s, image, p, c, normal, weight, bias, dy);
        Store(
            dx,
            index,
            (Load(weight, e * s.Channels + c) * g - a / count - normal * b / count)
                * statistics[(Map(s, image) * s.Groups + c / width) * 2 + 1]
        );
    }

    /// <summary>index = (expert, channel): dweight and dbias from the images' sums.</summary>
    public static void GroupParameters(
        Index1D index,
        NormArguments s,
        ArrayView<float> sums,
        ArrayView<T> dweight,
        ArrayView<T> dbias
    )
    {
        int c = index % s.Channels,
            e = index / s.Channels;
        float plain = 0,
            times = 0;
        for (int b = 0; b < s.Batch; b++)
        {
            plain += sums[((e * s.Batch + b) * s.Channels + c) * 2];
            times += sums[((e * s.Batch + b) * s.Channels + c) * 2 + 1];
        }

        Store(dweight, index, times);
        Store(dbias, index, plain);
    }

    /// <summary>
    /// index = row of dx [E, Rows, Channels]; leaves mean and inverse deviation for <see cref="LayerParameters"/>.
    /// </summary>
    public static void LayerInput(
        Index1D index,
        NormArguments s,
        ArrayView<T> x,
        ArrayView<T> weight,
        ArrayView<T> dy,
        ArrayView<T> dx,
        ArrayView<float> statistics
    )
    {
        int e = index / s.Rows,
            from = (s.SharedInput == 1 ? index - e * s.Rows : index) * s.Channels,
            to = index * s.Channels;
        float sum = 0,
            rest = 0,
            squares = 0,
            a = 0,
            b = 0;
        for (int c = 0; c < s.Channels; c++)
            sum += Load(x, from + c);
        float mean = sum / s.Channels;
        for (int c = 0; c < s.Channels; c++)
            rest += Load(x, from + c) - mean;
        mean += rest / s.Channels;
        for (int c = 0; c < s.Channels; c++)
            squares += (Load(x, from + c) - mean) * (Load(x, from + c) - mean);
        float inverse = 1 / MathF.Sqrt(squares / s.Channels + s.Epsilon);
        for (int c = 0; c < s.Channels; c++)
        {
            float g = Load(dy, to + c) * Load(weight, e * s.Channels + c);
            a += g;
            b += g * (Load(x, from + c) - mean) * inverse;
        }

        for (int c = 0; c < s.Channels; c++)
            Store(
                dx,
                to + c,
                inverse
                    * (
                        Load(dy, to + c) * Load(weight, e * s.Channels + c)
                        - a / s.Channels
                        - (Load(x, from + c) - mean) * inverse * b / s.Channels
                    )
            );
        statistics[index * 2] = mean;
        statistics[index * 2 + 1] = inverse;
    }

    /// <summary>index = (expert, channel).</summary>
    public static void LayerParameters(
        Index1D index,
        NormArguments s,
        ArrayView<T> x,
        ArrayView<T> dy,
        ArrayView<float> statistics,
        ArrayView<T> dweight,
        ArrayView<T> dbias
    )
    {
        int c = index % s.Channels,
            e = index / s.Channels;
        float plain = 0,
            times = 0;
        for (int r = 0; r < s.Rows; r++)
        {
            int row = e * s.Rows + r;
            float g = Load(dy, row * s.Channels + c);
            plain += g;
            times +=
                g * (Load(x, (s.SharedInput == 1 ? r : row) * s.Channels + c) - statistics[row * 2]) * statistics[row * 2 + 1];
        }

        Store(dweight, index, times);
        Store(dbias, index, plain);
    }

    /// <summary>index = row.</summary>
    public static void Softmax(Index1D index, int width, ArrayView<T> y, ArrayView<T> dy, ArrayView<T> dx)
    {
        int at = index * width;
        float dot = 0;
        for (int i = 0; i < width; i++)
            dot += Load(y, at + i) * Load(dy, at + i);
        for (int i = 0; i < width; i++)
            Store(dx, at + i, Load(y, at + i) * (Load(dy, at + i) - dot));
    }

    private static int Map(NormArguments s, int image) => s.SharedInput == 1 ? image % s.Batch : image;

    private static float Normal(NormArguments s, int image, int p, int c, ArrayView<T> x, ArrayView<float> statistics)
    {
        int map = Map(s, image),
            at = (map * s.Groups + c / (s.Channels / s.Groups)) * 2;
        return (Load(x, (map * s.Pixels + p) * s.Channels + c) - statistics[at]) * statistics[at + 1];
    }

    private static float Upstream(
        NormArguments s,
        int image,
        int p,
        int c,
        float normal,
        ArrayView<T> weight,
        ArrayView<T> bias,
        ArrayView<T> dy
    )
    {
        int e = image / s.Batch * s.Channels + c;
        float g = Load(dy, (image * s.Pixels + p) * s.Channels + c);
        return s.Silu == 1 ? g * PortableMath.Derivative(1, normal * Load(weight, e) + Load(bias, e)) : g;
    }

    private static float Load(ArrayView<T> view, int index) => default(TStorage).Load(view, index);

    private static void Store(ArrayView<T> view, int index, float value) => default(TStorage).Store(view, index, value);
}
