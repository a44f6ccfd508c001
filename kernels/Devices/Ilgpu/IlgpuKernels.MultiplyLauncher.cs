using AfaNative.Kernels.Gpu;
using AfaNative.Kernels.MatrixMultiply;
using ILGPU;
using ILGPU.Runtime;

namespace AfaNative.Kernels.Devices.Ilgpu;

// The multiply by how weights are stored.
internal partial class IlgpuKernels<T, TStorage>
{
    private sealed class MultiplyLauncher<W, WStorage>(Accelerator accelerator)
        where W : unmanaged
        where WStorage : struct, IStorage<W>
    {
        private const int Tile = 64;

        private readonly Lazy<
            Action<
                AcceleratorStream,
                Index1D,
                MultiplyArguments,
                ArrayView<T>,
                ArrayView<W>,
                ArrayView<T>,
                ArrayView<T>,
                ArrayView<T>,
                ArrayView<T>
            >
        > _direct = new(() =>
            accelerator.LoadAutoGroupedKernel<
                Index1D,
                MultiplyArguments,
                ArrayView<T>,
                ArrayView<W>,
                ArrayView<T>,
                ArrayView<T>,
                ArrayView<T>,
                ArrayView<T>
            >(MatrixMultiplyIlgpu<T, TStorage, W, WStorage>.Direct)
        );

        private readonly Lazy<
            Action<
                AcceleratorStream,
                KernelConfig,
                MultiplyArguments,
                ArrayView<T>,
                ArrayView<W>,
                ArrayView<T>,
                ArrayView<T>,
                ArrayView<T>,
                ArrayView<T>
            >
        > _tiled = new(() =>
            accelerator.LoadKernel<
                MultiplyArguments,
                ArrayView<T>,
                ArrayView<W>,
                ArrayView<T>,
                ArrayView<T>,
                ArrayView<T>,
                ArrayView<T>
            >(MatrixMultiplyIlgpu<T, TStorage, W, WStorage>.Tiled)
        );

        public void Launch(
            AcceleratorStream stream,
            bool direct,
            MultiplyArguments s,
            int packedColumns,
            ArrayView<T> x,
            ArrayView<W> w,
            ArrayView<T> bias,
            ArrayView<T> rowBias,
            ArrayView<T> residual,
            ArrayView<T> y
        )
        {
            if (direct)
            {
                _direct.Value(stream, Count((long)s.Experts * s.Rows * s.Columns), s, x, w, bias, rowBias, residual, y);
                return;
            }

            var grid = new KernelConfig(
                new Index3D((packedColumns + Tile - 1) / Tile, (s.Rows + Tile - 1) / Tile, s.Experts),
                new Index3D(16, 16, 1)
            );
            _tiled.Value(stream, grid, s, x, w, bias, rowBias, residual, y);
        }
    }
}
