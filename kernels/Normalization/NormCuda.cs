using AfaNative.Kernels.Gpu;
using ILGPU;

namespace AfaNative.Kernels.Normalization;

/// <summary>Addresses and sizes of a norm on CUDA.</summary>
internal struct NormCudaArguments
{
    public ulong X,
        Weight,
        Bias,
        Y,
        Partial,
        Statistics;
    public int Batch,
        Pixels,
        Channels,
        Groups,
        Slices,
        SharedInput,
        Silu,
        Rows;
    public float Epsilon;
}

/// <summary>
/// Norms over 16-bit maps, eight channels a load. Group norm takes three launches: sums per slice of pixels, joined per group
/// (both around a pixel's own
/// value, so that a small variance on a large mean survives), then normalization fused with SiLU.
/// </summary>
internal static class NormCuda<TMath>
    where TMath : struct, IHalfMath
{
    /// <summary>Threads of a block.</summary>
    public const int Threads = 256;

    /// <summary>Channels whose sums fit shared memory.</summary>
    public const int MaxChannels = 4096;

    // Sums of every (row of threads, channel): at most 2048 of them while rows of threads are several, one row beyond.
    private const int Sums = MaxChannels;

    /// <summary>Grid (slices, maps): count, mean and sum of squares around it of every group in a slice.</summary>
    public static void GroupStatistics(NormCudaArguments s)
    {
        ArrayView<float> sums = SharedMemory.Allocate1D<float>(Sums),
            squares = SharedMemory.Allocate1D<float>(Sums);
        int thread = Group.IdxX,
            chunks = s.Channels / 8,
            slice = Grid.IdxX,
            map = Grid.IdxY;
        int lanes = chunks < Threads ? Threads / chunks : 1,
            lane = chunks < Threads ? thread / chunks : 0;
        int first = (int)((long)s.Pixels * slice / s.Slices),
            last = (int)((long)s.Pixels * (slice + 1) / s.Slices);
        ulong origin = s.X + (ulong)((long)map * s.Pixels * s.Channels) * 2,
            pitch = (ulong)s.Channels * 2;
        if (lane < lanes)
        {
            for (int chunk = chunks < Threads ? thread - lane * chunks : thread; chunk < chunks; chunk += Threads)
            {
                ulong at = origin + (ulong)(chunk * 16);
                F8 shift = Eight<TMath>.Scale(Eight<TMath>.Load(at + (ulong)first * pitch), -1),
                    sum = default,
                    square = default;
                for (int p = first + lane; p < last; p += lanes)
                {
                    F8 d = Eight<TMath>.Add(Eight<TMath>.Load(at + (ulong)p * pitch), shift);
                    sum = Eight<TMath>.Add(sum, d);
                    square.A += d.A * d.A;
                    square.B += d.B * d.B;
                    square.C += d.C * d.C;
                    square.D += d.D * d.D;
                    square.E += d.E * d.E;
                    square.F += d.F * d.F;
                    square.G += d.G * d.G;
                    square.H += d.H * d.H;
                }

                Put(sums, lane * s.Channels + chunk * 8, sum);
                Put(squares, lane * s.Channels + chunk * 8, square);
            }
        }

        Group.Barrier();
        int width = s.Channels / s.Groups;
        float pixels = last - first;
        for (int g = thread; g < s.Groups; g += Threads)
        {
            float count = 0,
                mean = 0,
                m2 = 0;
            for (int c = g * width; c < (g + 1) * width; c++)
            {
                float sum = 0,
                    square = 0;
                for (int l = 0; l < lanes; l++)
                {
                    sum += sums[l * s.Channels + c];
                    square += squares[l * s.Channels + c];
                }

                float shift = Eight<TMath>.LoadOne(origin + (ulong)first * pitch + (ulong)(c * 2));
                float within = sum / pixels,
                    d = shift + within - mean,
                    total = count + pixels;
                mean += d * pixels / total;
                m2 += square - sum * within + d * d * count * pixels / total;
                count = total;
            }

            ulong to = s.Partial + (ulong)(((map * s.Groups + g) * s.Slices + slice) * 3) * 4;
            Ptx.StoreGlobalFloat(to, count);
            Ptx.StoreGlobalFloat(to + 4, mean);
            Ptx.StoreGlobalFloat(to + 8, m2);
        }
    }

    /// <summary>A thread per (map, group): mean and inverse deviation from the slices (Chan, Golub and LeVeque).</summary>
    public static void GroupJoin(NormCudaArguments s)
    {
        int index = Grid.IdxX * Threads + Group.IdxX;
        if (index >= s.Rows)
            return;
        float count = 0,
            mean = 0,
            m2 = 0;
        for (int i = 0; i < s.Slices; i++)
        {
            ulong at = s.Partial + (ulong)((index * s.Slices + i) * 3) * 4;
            float n = Ptx.LoadGlobalFloat(at),
                d = Ptx.LoadGlobalFloat(at + 4) - mean,
                total = count + n;
            mean += d * n / total;
            m2 += Ptx.LoadGlobalFloat(at + 8) + d * d * count * n / total;
            count = total;
        }

        ulong to = s.Statistics + (ulong)(index * 8);
        Ptx.StoreGlobalFloat(to, mean);
        Ptx.StoreGlobalFloat(to + 4, 1 / Ptx.SquareRoot(m2 / count + s.Epsilon));
    }

    /// <summary>Grid (chunks of one image's map, experts x images): y from x, the statistics, weight and bias.</summary>
    public static void GroupApply(NormCudaArguments s)
    {
        int index = Grid.IdxX * Threads + Group.IdxX,
            chunks = s.Channels / 8;
        if (index >= s.Pixels * chunks)
            return;
        int image = Grid.IdxY,
            e = image / s.Batch,
            map = s.SharedInput == 1 ? image - e * s.Batch : image;
        int chunk = index % chunks,
            width = s.Channels / s.Groups,
            group = chunk * 8 / width,
            left = width - (chunk * 8 - group * width);
        F8 v = Eight<TMath>.Load(s.X + (ulong)((long)map * s.Pixels * s.Channels + (long)index * 8) * 2);
        ulong parameters = (ulong)((long)e * s.Channels + chunk * 8) * 2,
            statistics = s.Statistics + (ulong)((map * s.Groups + group) * 8);
        F8 weight = Eight<TMath>.Load(s.Weight + parameters),
            bias = Eight<TMath>.Load(s.Bias + parameters);
        float mean = Ptx.LoadGlobalFloat(statistics),
            inverse = Ptx.LoadGlobalFloat(statistics + 4);
        // Values, weights and biases rotate through their first elements; a chunk may cross into the next group.
        for (int i = 0; i < 8; i++)
        {
            if (left == 0)
            {
                statistics += 8;
                mean = Ptx.LoadGlobalFloat(statistics);
                inverse = Ptx.LoadGlobalFloat(statistics + 4);
                left = width;
            }

            left--;
            float value = (v.A - mean) * inverse * weight.A + bias.A;
            if (s.Silu == 1)
                value *= Ptx.Reciprocal(1 + Ptx.Exp2(-1.44269504f * value));
            v = Rotate(v, value);
            weight = Rotate(weight, 0);
            bias = Rotate(bias, 0);
        }

        Eight<TMath>.Store(s.Y + (ulong)((long)image * s.Pixels * s.Channels + (long)index * 8) * 2, v);
    }

    /// <summary>A warp per row of y [E, Rows, Channels].</summary>
    public static void Layer(NormCudaArguments s)
    {
        int row = Grid.IdxX * (Threads / 32) + (Group.IdxX >> 5),
            lane = Group.IdxX & 31,
            e = Grid.IdxY,
            chunks = s.Channels / 8;
        if (row >= s.Rows)
            return;
        ulong from = s.X + (ulong)((s.SharedInput == 1 ? row : (long)e * s.Rows + row) * s.Channels) * 2,
            to = s.Y + (ulong)(((long)e * s.Rows + row) * s.Channels) * 2;
        float sum = 0;
        for (int c = lane; c < chunks; c += 32)
            sum += Total(Eight<TMath>.Load(from + (ulong)(c * 16)));
        float mean = WarpSum(sum) / s.Channels,
            squares = 0;
        for (int c = lane; c < chunks; c += 32)
        {
            F8 v = Eight<TMath>.Load(from + (ulong)(c * 16));
            for (int i = 0; i < 8; i++)
            {
                float d = v.A - mean;
                squares += d * d;
                v = Rotate(v, 0);
            }
        }

        float inverse = 1 / Ptx.SquareRoot(WarpSum(squares) / s.Channels + s.Epsilon);
        for (int c = lane; c < chunks; c += 32)
        {
            ulong parameters = (ulong)((long)e * s.Channels + c * 8) * 2;
            F8 v = Eight<TMath>.Load(from + (ulong)(c * 16)),
                weight = Eight<TMath>.Load(s.Weight + parameters),
                bias = Eight<TMath>.Load(s.Bias + parameters);
            v = new F8
            {
                A = (v.A - mean) * inverse * weight.A + bias.A,
                B = (v.B - mean) * inverse * weight.B + bias.B,
                C = (v.C - mean) * inverse * weight.C + bias.C,
                D = (v.D - mean) * inverse * weight.D + bias.D,
                E = (v.E - mean) * inverse * weight.E + bias.E,
                F = (v.F - mean) * inverse * weight.F + bias.F,
                G = (v.G - mean) * inverse * weight.G + bias.G,
                H = (v.H - mean) * inverse * weight.H + bias.H,
            };
            Eight<TMath>.Store(to + (ulong)(c * 16), v);
        }
    }

    private static float WarpSum(float value)
    {
        value += Ptx.ShuffleXor(value, 16);
        value += Ptx.ShuffleXor(value, 8);
        value += Ptx.ShuffleXor(value, 4);
        value += Ptx.ShuffleXor(value, 2);
        return value + Ptx.ShuffleXor(value, 1);
    }

    private static float Total(F8 v) => v.A + v.B + (v.C + v.D) + (v.E + v.F + (v.G + v.H));

    private static F8 Rotate(F8 v, float last) =>
        new()
        {
            A = v.B,
            B = v.C,
            C = v.D,
            D = v.E,
            E = v.F,
            F = v.G,
            G = v.H,
            H = last,
        };

    private static void Put(ArrayView<float> to, int at, F8 v)
    {
        to[at] = v.A;
        to[at + 1] = v.B;
        to[at + 2] = v.C;
        to[at + 3] = v.D;
        to[at + 4] = v.E;
        to[at + 5] = v.F;
        to[at + 6] = v.G;
        to[at + 7] = v.H;
    }
}
