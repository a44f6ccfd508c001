using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Ilgpu;
using AfaNative.Kernels.Gpu;
using AfaNative.Kernels.MatrixMultiply;
using ILGPU;
using ILGPU.Runtime;

namespace AfaNative.Kernels.Devices.Cuda;

/// <summary>
/// Gradients on CUDA with 16-bit storage. What a frozen layer passes on, the bulk of a training step, goes through the tensor
/// cores: the gradient of a
/// convolution's input is a convolution of dy with the weights transposed and turned by half a circle. Everything else is
/// portable.
/// </summary>
internal sealed class CudaGradients<TStorage, TMath>(
    CudaKernels<TStorage, TMath> kernels,
    Accelerator accelerator,
    AcceleratorStream stream
) : IlgpuGradients<ushort, TStorage>(accelerator, stream)
    where TStorage : struct, IStorage<ushort>
    where TMath : struct, IHalfMath
{
    private readonly Accelerator _accelerator = accelerator;
    private readonly AcceleratorStream _stream = stream;
    private readonly IlgpuScratch _transposed = new(accelerator, stream);

    public override void ConvolutionInput(in ConvolutionShape shape, DeviceBuffer dy, PackedWeights weights, DeviceBuffer dx)
    {
        if (weights is not TensorCoreWeights packed)
        {
            base.ConvolutionInput(shape, dy, weights, dx);
            return;
        }

        WeightShape w = weights.Shape;
        int taps = w.KernelHeight * w.KernelWidth;
        if (shape.Stride != 1 || w.Out % 8 != 0 || taps is not (1 or 9))
        {
            MultiplyArguments s = MultiplyArguments.For(shape, w);
            (s.WeightExpert, s.WeightK, s.WeightColumn) = (packed.PackedColumns * packed.PackedK, 1, packed.PackedK);
            Input<ushort, TStorage>(s, shape, dy, packed.Memory, dx);
            return;
        }

        var turned = new WeightShape(w.In, w.Out, w.KernelHeight, w.KernelWidth, false);
        var t = new TransposeArguments
        {
            In = w.In,
            Out = w.Out,
            Taps = taps,
            Geglu = w.Geglu ? 1 : 0,
            Columns = packed.PackedColumns,
            K = packed.PackedK,
            TurnedColumns = TensorCoreWeights.Columns(turned),
            TurnedK = TensorCoreWeights.Terms(turned),
        };
        int room = Count((TensorCoreWeights.Bytes(turned, shape.Experts) + sizeof(float) - 1) / sizeof(float));
        ArrayView<ushort> to = _transposed.View<ushort>(room);
        Get(
            "transpose",
            () => _accelerator.LoadKernel<TransposeArguments, ArrayView<ushort>, ArrayView<ushort>>(TransposeWeights.Run)
        )(
            _stream,
            new KernelConfig(
                new Index3D(
                    t.TurnedColumns / TransposeWeights.Tile,
                    (w.Out + TransposeWeights.Tile - 1) / TransposeWeights.Tile,
                    shape.Experts * taps
                ),
                new Index3D(TransposeWeights.Tile, TransposeWeights.Rows, 1)
            ),
            t,
            packed.Memory.View<ushort>(),
            to
        );
        var backwards = shape with
        {
            Height = shape.OutHeight,
            Width = shape.OutWidth,
            PadTop = w.KernelHeight - 1 - shape.PadTop,
            PadBottom = w.KernelHeight - 1 - shape.PadBottom,
            PadLeft = w.KernelWidth - 1 - shape.PadLeft,
            PadRight = w.KernelWidth - 1 - shape.PadRight,
            SharedInput = false,
        };
        kernels.Multiply(backwards, dy, turned, _transposed.Address(room), default, dx);
    }

    public override void Dispose()
    {
        _transposed.Dispose();
        base.Dispose();
    }
}

/// <summary>Sizes of a transposition; K and Columns as packed for the tensor cores, before and after.</summary>
internal struct TransposeArguments
{
    public int In,
        Out,
        Taps,
        Geglu,
        Columns,
        K,
        TurnedColumns,
        TurnedK;
}

/// <summary>
/// Turns packed weights [E][Columns][taps, In] into [E][TurnedColumns][taps backwards, Out], zero padded; a gated projection's
/// columns back in file order.
/// </summary>
internal static class TransposeWeights
{
    /// <summary>Edge of the square a group turns, and threads along a row of it.</summary>
    public const int Tile = 32;

    /// <summary>Rows a group moves at a time.</summary>
    public const int Rows = 8;

    /// <summary>Grid (tiles of turned columns, tiles of outputs, expert and tap).</summary>
    public static void Run(TransposeArguments s, ArrayView<ushort> w, ArrayView<ushort> turned)
    {
        // One column more than the tile: a column's elements lie in different banks.
        ArrayView<ushort> tile = SharedMemory.Allocate1D<ushort>(Tile * (Tile + 1));
        int e = Grid.IdxZ / s.Taps,
            tap = Grid.IdxZ - e * s.Taps,
            i0 = Grid.IdxX * Tile,
            n0 = Grid.IdxY * Tile;
        for (int r = Group.IdxY; r < Tile; r += Rows)
        {
            int n = n0 + r,
                i = i0 + Group.IdxX;
            tile[r * (Tile + 1) + Group.IdxX] = n < s.Out && i < s.In ? w[(e * s.Columns + n) * s.K + tap * s.In + i] : (ushort)0;
        }

        Group.Barrier();
        for (int r = Group.IdxY; r < Tile; r += Rows)
        {
            int i = i0 + r,
                n = n0 + Group.IdxX,
                column = s.Geglu == 1 && n < s.Out ? (n & 1) * (s.Out / 2) + n / 2 : n,
                k = (s.Taps - 1 - tap) * s.Out + column;
            // Beyond the last output only the last tap's row goes on: the padding of K.
            if (n < s.Out || (tap == 0 && k < s.TurnedK))
                turned[(e * s.TurnedColumns + i) * s.TurnedK + k] = tile[Group.IdxX * (Tile + 1) + r];
        }
    }
}
