using System.Runtime.Intrinsics;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Host;
using AfaNative.Kernels.MatrixMultiply;
using V = System.Runtime.Intrinsics.Vector512<float>;

namespace AfaNative.Kernels.Convolution;

/// <summary>
/// 3x3 convolutions of stride 1 by F(4x4, 3x3): a quarter of the multiplications. Input tiles of 6x6 are brought to 36 points
/// once; then a task takes one
/// panel of 32 outputs, transforms its weights block by block as they are packed (about 3 / tiles of the work, and no memory for
/// transformed weights), multiplies
/// at every point, and brings the sums back to pixels. A result depends neither on threads nor on batch: every sum runs over
/// channels in blocks that
/// their number alone decides.
/// </summary>
internal static unsafe class WinogradConvolution
{
    private const int Points = 36,
        MaxBlock = 256;

    // A cache line between the planes of two points: written together, they would otherwise all fall into one set.
    private const int Pad = 16;

    // Smaller maps have too few tiles to pay for transforming the weights.
    private const int MinimumPixels = 32;

    // From so many tiles of one map on, bringing weights to a common size costs less than paired products gain.
    private const int PairedTiles = 16;

    // Bytes of transformed input worked on at a time: should stay in the last-level cache, which others use too.
    private const long InputBytes = 8L << 20;

    /// <summary>True where this is the faster way: decided by the shape of one map, never by batch or threads.</summary>
    public static bool Suits(in ConvolutionShape shape, WeightShape weights) =>
        shape is { KernelHeight: 3, KernelWidth: 3, Stride: 1, PadTop: 1, PadLeft: 1, PadBottom: 1, PadRight: 1 }
        && weights.In % 16 == 0
        && weights.In >= 32
        && weights.Out >= 32
        && shape.Height * shape.Width >= MinimumPixels;

    /// <summary>y = epilogue(convolution of x), as <see cref="MatrixMultiplySimd"/> computes it directly.</summary>
    public static void Run(
        WorkerPool pool,
        SimdWidth width,
        Scratch shared,
        float* x,
        in ConvolutionShape shape,
        CpuPackedWeights weights,
        in EpilogueArguments epilogue
    ) => Run(pool, width, shared, x, shape, new PackedPanels(weights), weights.Shape.In, false, epilogue);

    /// <summary>
    /// With terms (tap, input) of <paramref name="inputs"/> inputs from any panels; <paramref name="turned"/> by half a circle
    /// for the gradient of an input.
    /// </summary>
    public static void Run<TPanels>(
        WorkerPool pool,
        SimdWidth width,
        Scratch shared,
        float* x,
        in ConvolutionShape shape,
        TPanels weights,
        int inputs,
        bool turned,
        in EpilogueArguments epilogue
    )
        where TPanels : struct, IPanelSource
    {
        int across = (shape.Width + 3) / 4,
            down = (shape.Height + 3) / 4,
            tiles = shape.Batch * across * down,
            block = MatrixMultiplySimd.BlockOfTerms(inputs, MaxBlock);
        bool paired = width == SimdWidth.Paired512 && !turned && across * down >= PairedTiles;
        // Behind every row, or every block of it that is packed by itself, some room that keeps rows apart.
        int pitch = paired ? (inputs + block - 1) / block * (block + Pad) : inputs + Pad;
        int most = (int)Math.Max(16, InputBytes / sizeof(float) / Points / pitch),
            parts = (tiles + most - 1) / most,
            part = (tiles + parts - 1) / parts;
        // Both runs of a part work on this memory: another thread's convolution waits for the whole of this one.
        using Lock.Scope exclusive = shared.Exclusive.EnterScope();
        float* transformed = shared.Floats(Points * ((long)part * pitch + Pad));
        var job = new Job<TPanels>(
            x,
            shape,
            weights,
            turned,
            epilogue,
            paired,
            RegisterTile.For(width),
            transformed,
            inputs,
            pitch,
            across,
            down,
            part,
            block
        );
        long map = (long)shape.Batch * shape.Height * shape.Width * inputs;
        int together = shape.SharedInput ? shape.Experts : 1;
        for (int expert = 0; expert < shape.Experts; expert += together)
        {
            for (int first = 0; first < tiles; first += part)
            {
                int count = Math.Min(part, tiles - first),
                    chunk = Math.Max(1, Math.Min(16, count / (4 * pool.Threads))),
                    e = expert,
                    t = first;
                long at = shape.SharedInput ? 0 : e * map;
                pool.Run(
                    (count + chunk - 1) / chunk,
                    (task, _) => job.TransformInput(at, t, task * chunk, Math.Min(count, (task + 1) * chunk))
                );
                pool.Run(
                    weights.Panels * together,
                    (task, worker) =>
                        job.Multiply(pool.Scratch(worker), e + task / weights.Panels, task % weights.Panels, t, count)
                );
            }
        }
    }

    private interface IScaling
    {
        static abstract bool Scales { get; }
    }

    private readonly struct Scaled : IScaling
    {
        public static bool Scales => true;
    }

    private readonly struct AsTheyAre : IScaling
    {
        public static bool Scales => false;
    }

    private readonly struct Job<TPanels>(
        float* x,
        ConvolutionShape shape,
        TPanels weights,
        bool turned,
        EpilogueArguments epilogue,
        bool paired,
        delegate* <float*, nint, float*, nint, float*, bool, void>[] kernels,
        float* transformed,
        int inputs,
        int pitch,
        int across,
        int down,
        int part,
        int block
    )
        where TPanels : struct, IPanelSource
    {
        private nint WeightPlane => (paired ? block + 2 : block) * 32 + Pad;

        // Tiles [from, to) after tile first: every point's channels go to [point][tile][channel].
        public void TransformInput(long map, int first, int from, int to)
        {
            float* columns = stackalloc float[Points * 16];
            float** pixels = stackalloc float*[Points];
            float* zeros = stackalloc float[16];
            new Span<float>(zeros, 16).Clear();
            long plane = (long)part * pitch + Pad;
            for (int tile = from; tile < to; tile++)
            {
                (int image, int y0, int x0) = Place(first + tile);
                for (int i = 0; i < Points; i++)
                {
                    int y = y0 - 1 + i / 6,
                        column = x0 - 1 + i % 6;
                    bool inside = (uint)y < (uint)shape.Height && (uint)column < (uint)shape.Width;
                    pixels[i] = inside ? x + map + (((long)image * shape.Height + y) * shape.Width + column) * inputs : null;
                }

                float* v = transformed + (long)tile * pitch;
                for (int c = 0, left = block; c < inputs; c += 16, left -= 16)
                {
                    if (left == 0)
                    {
                        if (paired)
                        {
                            Pack(v + c - block, plane, block);
                            v += Pad;
                        }

                        left = block;
                    }

                    for (int k = 0; k < 6; k++)
                    {
                        float** p = pixels + k;
                        WinogradTransforms.Input(
                            Load(p[0], c),
                            Load(p[6], c),
                            Load(p[12], c),
                            Load(p[18], c),
                            Load(p[24], c),
                            Load(p[30], c),
                            columns + k * 16,
                            96
                        );
                    }

                    for (int i = 0; i < 6; i++)
                    {
                        float* s = columns + i * 96;
                        WinogradTransforms.Input(
                            Vector512.Load(s),
                            Vector512.Load(s + 16),
                            Vector512.Load(s + 32),
                            Vector512.Load(s + 48),
                            Vector512.Load(s + 64),
                            Vector512.Load(s + 80),
                            v + c + i * 6 * plane,
                            (nint)plane
                        );
                    }
                }

                if (paired)
                {
                    int last = inputs - (inputs - 1) / block * block;
                    Pack(v + inputs - last, plane, last);
                }
            }
        }

        private static void Pack(float* rows, long plane, int terms) =>
            PairedRows.Pack(rows, (nint)plane, Points, terms, rows, (nint)plane);

        // One panel of one expert at tiles [first, first + count).
        public void Multiply(Scratch scratch, int expert, int panel, int first, int count)
        {
            long inPlane = (long)part * pitch + Pad,
                weightPlane = WeightPlane,
                sumPlane = count * 32L + Pad;
            float* points = scratch.Floats(Points * (weightPlane + sumPlane) + 9 * (block * 32L + Pad) + 24 * 32 + 16 * 32);
            float* sums = points + Points * weightPlane;
            float* widened = sums + Points * sumPlane;
            float* rows = widened + 9 * (block * 32L + Pad);
            for (int c0 = 0; c0 < inputs; c0 += block)
            {
                int terms = Math.Min(block, inputs - c0);
                Vector512<int> exponents0 = default,
                    exponents1 = default;
                if (paired)
                    TransformWeights<Scaled>(expert, panel, c0, terms, widened, points, ref exponents0, ref exponents1);
                else
                    TransformWeights<AsTheyAre>(expert, panel, c0, terms, widened, points, ref exponents0, ref exponents1);
                for (int point = 0; point < Points; point++)
                {
                    float* a = transformed + point * inPlane + (paired ? c0 / block * (block + Pad) : c0),
                        b = points + point * weightPlane,
                        c = sums + point * sumPlane;
                    if (paired)
                        PairedProduct.End(b, terms, exponents0, exponents1);
                    if (paired)
                        PairedProduct.MultiplyTiles(a, pitch, count, b, terms, c, c0 > 0);
                    else
                        RegisterTile.Multiply(kernels, a, pitch, count, b, terms, c, c0 > 0);
                }
            }

            float* pixels = rows + 24 * 32;
            for (int tile = 0; tile < count; tile++)
                Finish(sums + tile * 32L, sumPlane, rows, pixels, expert, panel, first + tile);
        }

        private void TransformWeights<TScaling>(
            int expert,
            int panel,
            int first,
            int terms,
            float* widened,
            float* points,
            ref Vector512<int> exponents0,
            ref Vector512<int> exponents1
        )
            where TScaling : struct, IScaling
        {
            float** taps = stackalloc float*[9];
            for (int tap = 0; tap < 9; tap++)
                taps[turned ? 8 - tap : tap] = weights.Panel(
                    expert,
                    panel,
                    tap * inputs + first,
                    terms,
                    widened + tap * (block * 32L + Pad)
                );
            V scale0 = V.Zero,
                scale1 = scale0;
            if (TScaling.Scales)
            {
                // One size for all points of an output: from point to point it changes by a few octaves at most.
                V largest0 = V.Zero,
                    largest1 = largest0;
                for (int tap = 0; tap < 9; tap++)
                    PairedProduct.AddSquares(taps[tap], terms, ref scale0, ref scale1);
                for (int tap = 0; tap < 9 && !PairedProduct.AllUsual(scale0, scale1); tap++)
                    PairedProduct.AddLargest(taps[tap], terms, ref largest0, ref largest1);
                exponents0 = PairedProduct.Exponents(scale0, largest0, 9 * terms);
                exponents1 = PairedProduct.Exponents(scale1, largest1, 9 * terms);
                scale0 = PairedProduct.Scale(exponents0);
                scale1 = PairedProduct.Scale(exponents1);
            }

            nint plane = WeightPlane;
            float* t0 = taps[0],
                t1 = taps[1],
                t2 = taps[2],
                t3 = taps[3],
                t4 = taps[4],
                t5 = taps[5],
                t6 = taps[6],
                t7 = taps[7],
                t8 = taps[8];
            for (int term = 0; term < terms; term++)
            {
                for (int half = 0; half < 32; half += 16)
                {
                    long at = term * 32L + half;
                    V scale = half == 0 ? scale0 : scale1;
                    WinogradTransforms.Weights(
                        Tap<TScaling>(t0 + at, scale),
                        Tap<TScaling>(t3 + at, scale),
                        Tap<TScaling>(t6 + at, scale),
                        out V a0,
                        out V a1,
                        out V a2,
                        out V a3,
                        out V a4,
                        out V a5
                    );
                    WinogradTransforms.Weights(
                        Tap<TScaling>(t1 + at, scale),
                        Tap<TScaling>(t4 + at, scale),
                        Tap<TScaling>(t7 + at, scale),
                        out V b0,
                        out V b1,
                        out V b2,
                        out V b3,
                        out V b4,
                        out V b5
                    );
                    WinogradTransforms.Weights(
                        Tap<TScaling>(t2 + at, scale),
                        Tap<TScaling>(t5 + at, scale),
                        Tap<TScaling>(t8 + at, scale),
                        out V c0,
                        out V c1,
                        out V c2,
                        out V c3,
                        out V c4,
                        out V c5
                    );
                    WinogradTransforms.Weights(a0, b0, c0, points + at, plane);
                    WinogradTransforms.Weights(a1, b1, c1, points + at + 6 * plane, plane);
                    WinogradTransforms.Weights(a2, b2, c2, points + at + 12 * plane, plane);
                    WinogradTransforms.Weights(a3, b3, c3, points + at + 18 * plane, plane);
                    WinogradTransforms.Weights(a4, b4, c4, points + at + 24 * plane, plane);
                    WinogradTransforms.Weights(a5, b5, c5, points + at + 30 * plane, plane);
                }
            }
        }

        private static V Tap<TScaling>(float* tap, V scale)
            where TScaling : struct, IScaling => TScaling.Scales ? Vector512.Load(tap) * scale : Vector512.Load(tap);

        // Points to the 4x4 pixels of a tile, and these, as far as the map has them, to the epilogue.
        private void Finish(float* sums, long plane, float* rows, float* pixels, int expert, int panel, int tile)
        {
            (int image, int y0, int x0) = Place(tile);
            int width = Math.Min(4, shape.Width - x0),
                height = Math.Min(4, shape.Height - y0);
            for (int half = 0; half < 32; half += 16)
            {
                for (int k = 0; k < 6; k++)
                    WinogradTransforms.Output(sums + half + k * plane, (nint)(6 * plane), rows + k * 16, 96);
                for (int i = 0; i < 4; i++)
                    WinogradTransforms.Output(rows + i * 96, 16, pixels + i * 128 + half, 32);
            }

            for (int i = 0; i < height; i++)
                epilogue.Store(pixels + i * 128, width, expert, (image * shape.Height + y0 + i) * shape.Width + x0, panel);
        }

        private (int Image, int Y, int X) Place(int tile)
        {
            int column = tile % across,
                rest = tile / across;
            return (rest / down, rest % down * 4, column * 4);
        }

        private static Vector512<float> Load(float* pixel, int channel) =>
            pixel == null ? Vector512<float>.Zero : Vector512.Load(pixel + channel);
    }
}
