using AfaNative.Kernels.Elementwise;
using ILGPU;
using ILGPU.Runtime;

namespace AfaNative.Kernels.Normalization;

/// <summary>Gradients of the norms and of softmax on any ILGPU device, float32, a thread per row, channel or element. Statistics come from <see cref="NormIlgpu{T, TStorage}"/>.</summary>
internal static class NormGradientIlgpu
{
    /// <summary>index = (expert and image, channel): the sums over pixels of the gradient behind SiLU, plain and times the normalized input.</summary>
    public static void GroupSums(Index1D index, NormArguments s, ArrayView<float> x, ArrayView<float> statistics, ArrayView<float> weight, ArrayView<float> bias, ArrayView<float> dy, ArrayView<float> sums)
    {
        int c = index % s.Channels, image = index / s.Channels;
        float plain = 0, times = 0;
        for (int p = 0; p < s.Pixels; p++)
        {
            float normal = Normal(s, image, p, c, x, statistics), g = Upstream(s, image, p, c, normal, weight, bias, dy);
            plain += g;
            times += g * normal;
        }

        sums[index * 2] = plain;
        sums[index * 2 + 1] = times;
    }

    /// <summary>index = element of dx [E, B, Pixels, Channels].</summary>
    public static void GroupInput(Index1D index, NormArguments s, ArrayView<float> x, ArrayView<float> statistics, ArrayView<float> weight, ArrayView<float> bias, ArrayView<float> dy, ArrayView<float> sums, ArrayView<float> dx)
    {
        int c = index % s.Channels, p = index / s.Channels % s.Pixels, image = index / s.Channels / s.Pixels, e = image / s.Batch, width = s.Channels / s.Groups, first = c / width * width;
        float a = 0, b = 0, count = (float)width * s.Pixels;
        for (int i = first; i < first + width; i++)
        {
            float w = weight[e * s.Channels + i];
            a += w * sums[(image * s.Channels + i) * 2];
            b += w * sums[(image * s.Channels + i) * 2 + 1];
        }

        float normal = Normal(s, image, p, c, x, statistics), g = Upstream(s, image, p, c, normal, weight, bias, dy);
        dx[index] = (weight[e * s.Channels + c] * g - a / count - normal * b / count) * statistics[(Map(s, image) * s.Groups + c / width) * 2 + 1];
    }

    /// <summary>index = (expert, channel): dweight and dbias from the images' sums.</summary>
    public static void GroupParameters(Index1D index, NormArguments s, ArrayView<float> sums, ArrayView<float> dweight, ArrayView<float> dbias)
    {
        int c = index % s.Channels, e = index / s.Channels;
        float plain = 0, times = 0;
        for (int b = 0; b < s.Batch; b++)
        {
            plain += sums[((e * s.Batch + b) * s.Channels + c) * 2];
            times += sums[((e * s.Batch + b) * s.Channels + c) * 2 + 1];
        }

        dweight[index] = times;
        dbias[index] = plain;
    }

    /// <summary>index = row of dx [E, Rows, Channels]; leaves mean and inverse deviation for <see cref="LayerParameters"/>.</summary>
    public static void LayerInput(Index1D index, NormArguments s, ArrayView<float> x, ArrayView<float> weight, ArrayView<float> dy, ArrayView<float> dx, ArrayView<float> statistics)
    {
        int e = index / s.Rows, from = (s.SharedInput == 1 ? index - e * s.Rows : index) * s.Channels, to = index * s.Channels;
        float sum = 0, rest = 0, squares = 0, a = 0, b = 0;
        for (int c = 0; c < s.Channels; c++) sum += x[from + c];
        float mean = sum / s.Channels;
        for (int c = 0; c < s.Channels; c++) rest += x[from + c] - mean;
        mean += rest / s.Channels;
        for (int c = 0; c < s.Channels; c++) squares += (x[from + c] - mean) * (x[from + c] - mean);
        float inverse = 1 / MathF.Sqrt(squares / s.Channels + s.Epsilon);
        for (int c = 0; c < s.Channels; c++)
        {
            float g = dy[to + c] * weight[e * s.Channels + c];
            a += g;
            b += g * (x[from + c] - mean) * inverse;
        }

        for (int c = 0; c < s.Channels; c++) dx[to + c] = inverse * (dy[to + c] * weight[e * s.Channels + c] - a / s.Channels - (x[from + c] - mean) * inverse * b / s.Channels);
        statistics[index * 2] = mean;
        statistics[index * 2 + 1] = inverse;
    }

    /// <summary>index = (expert, channel).</summary>
    public static void LayerParameters(Index1D index, NormArguments s, ArrayView<float> x, ArrayView<float> dy, ArrayView<float> statistics, ArrayView<float> dweight, ArrayView<float> dbias)
    {
        int c = index % s.Channels, e = index / s.Channels;
        float plain = 0, times = 0;
        for (int r = 0; r < s.Rows; r++)
        {
            int row = e * s.Rows + r;
            float g = dy[row * s.Channels + c];
            plain += g;
            times += g * (x[(s.SharedInput == 1 ? r : row) * s.Channels + c] - statistics[row * 2]) * statistics[row * 2 + 1];
        }

        dweight[index] = times;
        dbias[index] = plain;
    }

    /// <summary>index = row.</summary>
    public static void Softmax(Index1D index, int width, ArrayView<float> y, ArrayView<float> dy, ArrayView<float> dx)
    {
        int at = index * width;
        float dot = 0;
        for (int i = 0; i < width; i++) dot += y[at + i] * dy[at + i];
        for (int i = 0; i < width; i++) dx[at + i] = y[at + i] * (dy[at + i] - dot);
    }

    private static int Map(NormArguments s, int image) => s.SharedInput == 1 ? image % s.Batch : image;

    private static float Normal(NormArguments s, int image, int p, int c, ArrayView<float> x, ArrayView<float> statistics)
    {
        int map = Map(s, image), at = (map * s.Groups + c / (s.Channels / s.Groups)) * 2;
        return (x[(map * s.Pixels + p) * s.Channels + c] - statistics[at]) * statistics[at + 1];
    }

    private static float Upstream(NormArguments s, int image, int p, int c, float normal, ArrayView<float> weight, ArrayView<float> bias, ArrayView<float> dy)
    {
        int e = image / s.Batch * s.Channels + c;
        float g = dy[(image * s.Pixels + p) * s.Channels + c];
        return s.Silu == 1 ? g * ElementwiseGradientIlgpu.Derivative(1, normal * weight[e] + bias[e]) : g;
    }
}
