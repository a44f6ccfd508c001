using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Host;
using AfaNative.Kernels.MatrixMultiply;

namespace AfaNative.Kernels.Devices.Cpu;

/// <summary>The host's memory and cores: <c>cpu</c>.</summary>
public sealed class CpuDevice : HostDevice
{
    private readonly Scratch _shared = new();

    private readonly bool _bfloat16,
        _paired;

    /// <summary>Starts the worker threads.</summary>
    /// <param name="threads">Threads to use; 0 means one per core.</param>
    /// <param name="simd">Vector width of the matrix kernels; null means the fastest of this machine.</param>
    /// <param name="products">What operands of linear layers, attention and direct convolutions are rounded to: bfloat16, where
    /// <see cref="SupportsBFloat16"/>, or not at all.</param>
    /// <exception cref="NotSupportedException">Such products are not to be had here.</exception>
    public CpuDevice(int threads = 0, SimdWidth? simd = null, ElementType products = ElementType.Float32)
        : base("cpu", Checked(threads, products))
    {
        bool bfloat16 = products == ElementType.BFloat16;
        SimdWidth width = simd ?? RegisterTile.Best;
        _paired = width == SimdWidth.Paired512;
        Kernels = new CpuKernels(Pool, width, _shared, bfloat16);
        Gradients = new CpuGradients(Pool, width, _shared);
        Products = products;
        _bfloat16 = bfloat16;
    }

    /// <summary>
    /// Whether this processor (AVX512-BF16) and system (Linux, executable memory allowed) can multiply bfloat16.
    /// </summary>
    public static bool SupportsBFloat16 => GeneratedKernels.MultipliesBFloat16;

    /// <inheritdoc/>
    public override ElementType Products { get; }

    /// <inheritdoc/>
    public override IKernels Kernels { get; }

    /// <inheritdoc/>
    public override IGradients? Gradients { get; }

    // Before any thread is started.
    private static int Checked(int threads, ElementType products) =>
        products == ElementType.Float16 || (products == ElementType.BFloat16 && !SupportsBFloat16)
            ? throw new NotSupportedException($"this device has no products in {products}")
        : threads > 0 ? threads
        : Environment.ProcessorCount;

    // Most convolutions transform their weights, each time or never.
    private protected override bool PacksPaired(WeightShape shape) =>
        _paired && PackedType(shape) is null && shape is { KernelHeight: 1, KernelWidth: 1 };

    private protected override ElementType? PackedType(WeightShape shape) =>
        _bfloat16 && !shape.Exact ? ElementType.BFloat16 : null;

    private protected override void DisposeWorkspace() => _shared.Dispose();
}
