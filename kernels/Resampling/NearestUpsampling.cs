using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Host;
using AfaNative.Kernels.Vectors;

namespace AfaNative.Kernels.Resampling;

/// <summary>Nearest-neighbour resize: a row of the output at a time.</summary>
internal static unsafe class NearestUpsampling
{
    /// <summary>See <see cref="UpsampleShape"/>.</summary>
    public static void Simd(WorkerPool pool, in UpsampleShape shape, float* x, float* y)
    {
        UpsampleShape s = shape;
        pool.Run(
            s.Maps * s.OutHeight,
            (task, _) =>
            {
                int map = task / s.OutHeight,
                    oy = task - map * s.OutHeight;
                float* from = x + ((long)map * s.Height + Source(oy, s.Height, s.OutHeight)) * s.Width * s.Channels,
                    to = y + (long)task * s.OutWidth * s.Channels;
                for (int ox = 0; ox < s.OutWidth; ox++, to += s.Channels)
                    RowCopy.Copy(from + (long)Source(ox, s.Width, s.OutWidth) * s.Channels, to, s.Channels);
            }
        );
    }

    /// <summary>See <see cref="UpsampleShape"/>.</summary>
    public static void Reference(in UpsampleShape s, float* x, float* y)
    {
        for (long i = 0; i < (long)s.Maps * s.OutHeight * s.OutWidth * s.Channels; i++)
        {
            long pixel = i / s.Channels,
                row = pixel / s.OutWidth;
            int oy = (int)(row % s.OutHeight),
                ox = (int)(pixel % s.OutWidth);
            y[i] = x[
                ((row / s.OutHeight * s.Height + Source(oy, s.Height, s.OutHeight)) * s.Width + Source(ox, s.Width, s.OutWidth))
                    * s.Channels
                    + i % s.Channels
            ];
        }
    }

    /// <summary>Where an output row or column comes from.</summary>
    internal static int Source(int i, int size, int outSize) => Math.Min((int)MathF.Floor(i * ((float)size / outSize)), size - 1);
}
