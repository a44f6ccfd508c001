using AfaNative.Kernels.Random;

namespace AfaNative.Engine.Sampling;

/// <summary>Whose random numbers a seed stands for.</summary>
public enum NoiseSource
{
    /// <summary>This engine's: the same on every device.</summary>
    Own,

    /// <summary>torch's generator on the CPU: diffusers' default for reproducible pictures.</summary>
    TorchCpu,

    /// <summary>
    /// torch's generator on a CUDA device, for latents small enough that each thread draws one number: A1111's default.
    /// </summary>
    TorchCuda,
}

/// <summary>The normal noise of one picture: first what it starts from, then what steps add, in order.</summary>
public abstract class NoiseStream
{
    /// <summary>A stream of a seed.</summary>
    public static NoiseStream Of(NoiseSource source, ulong seed) =>
        source switch
        {
            NoiseSource.TorchCpu => new TorchCpuStream(seed),
            NoiseSource.TorchCuda => new TorchCudaStream(seed),
            _ => new OwnStream(seed),
        };

    /// <summary>Fills latents [C, h, w]; <paramref name="step"/> is 0 for the start and k for the noise of step k.</summary>
    public abstract void Fill(Span<float> values, int step);

    // Stream 0 of a seed is its starting noise, stream k that of step k.
    private sealed class OwnStream(ulong seed) : NoiseStream
    {
        public override void Fill(Span<float> values, int step) => GaussianNoise.Fill(values, seed, (ulong)step);
    }

    /// <summary>
    /// torch.randn on the CPU. From 16 elements on: a uniform of 24 bits for each, then Box and Muller over the first and second
    /// eight of every sixteen; what is left over at the end is drawn
    /// again as a whole sixteen. Fewer are drawn in float64, a pair at a time.
    /// </summary>
    private sealed class TorchCpuStream(ulong seed) : NoiseStream
    {
        private readonly MersenneTwister _random = new(seed);

        public override void Fill(Span<float> values, int step)
        {
            if (values.Length < 16)
            {
                Few(values);
                return;
            }

            Uniform(values);
            for (int i = 0; i + 16 <= values.Length; i += 16)
                Pair(values.Slice(i, 16));
            if (values.Length % 16 == 0)
                return;
            Uniform(values[^16..]);
            Pair(values[^16..]);
        }

        private void Uniform(Span<float> values)
        {
            for (int i = 0; i < values.Length; i++)
                values[i] = (_random.Next() & 0xFFFFFF) * (1f / (1 << 24));
        }

        private static void Pair(Span<float> values)
        {
            for (int j = 0; j < 8; j++)
            {
                float radius = MathF.Sqrt(-2 * MathF.Log(1 - values[j])),
                    angle = 2 * MathF.PI * values[j + 8];
                values[j] = radius * MathF.Cos(angle);
                values[j + 8] = radius * MathF.Sin(angle);
            }
        }

        private void Few(Span<float> values)
        {
            double waiting = double.NaN;
            for (int i = 0; i < values.Length; i++)
            {
                if (!double.IsNaN(waiting))
                {
                    (values[i], waiting) = ((float)waiting, double.NaN);
                    continue;
                }

                double first = Double(),
                    second = Double(),
                    radius = Math.Sqrt(-2 * Math.Log(1 - second)),
                    angle = 2 * Math.PI * first;
                values[i] = (float)(radius * Math.Cos(angle));
                waiting = radius * Math.Sin(angle);
            }
        }

        private double Double()
        {
            ulong high = _random.Next(),
                low = _random.Next();
            return ((high << 32 | low) & ((1ul << 53) - 1)) * (1.0 / (1ul << 53));
        }
    }

    // Philox 4x32-10: the element is the subsequence, the call is the offset, and Box and Muller's sine is taken of the first two
    // words (curand).
    private sealed class TorchCudaStream(ulong seed) : NoiseStream
    {
        private const float Unit = 2.3283064e-10f,
            Turn = 2.3283064e-10f * 6.2831855f;
        private uint _offset;

        public override void Fill(Span<float> values, int step)
        {
            for (int i = 0; i < values.Length; i++)
            {
                (uint x, uint y, _, _) = Philox.Block(_offset, 0, (uint)i, 0, (uint)seed, (uint)(seed >> 32));
                float u = x * Unit + Unit / 2,
                    v = y * Turn + Turn / 2;
                values[i] = MathF.Sqrt(-2 * MathF.Log(u)) * MathF.Sin(v);
            }

            _offset++;
        }
    }
}
