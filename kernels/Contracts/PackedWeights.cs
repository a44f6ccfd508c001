namespace AfaNative.Kernels.Contracts;

/// <summary>
/// Weights in the layout a device's kernels want, for E experts; made once at load by <see cref="IDevice.Pack"/>.
/// </summary>
public abstract class PackedWeights(WeightShape shape, int experts) : IDisposable
{
    /// <summary>The logical shape of one expert's weights.</summary>
    public WeightShape Shape { get; } = shape;

    /// <summary>Number of experts E.</summary>
    public int Experts { get; } = experts;

    /// <summary>Bytes held, over all experts.</summary>
    public abstract long ByteLength { get; }

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Gives the memory back; called at most once with effect.</summary>
    protected abstract void Dispose(bool disposing);
}

/// <summary>
/// Shape of a linear layer's or a convolution's weights: [Out, In, KernelHeight, KernelWidth] row-major, as checkpoints store
/// them.
/// </summary>
/// <param name="Out">Output features.</param>
/// <param name="In">Input features.</param>
/// <param name="KernelHeight">1 for a linear layer.</param>
/// <param name="KernelWidth">1 for a linear layer.</param>
/// <param name="Geglu">Pair output j with output j + Out/2, so that the multiply's epilogue can gate the first by the
/// second.</param>
/// <param name="Exact">Multiply as stored, even where the device rounds operands for speed.</param>
public readonly record struct WeightShape(
    int Out,
    int In,
    int KernelHeight = 1,
    int KernelWidth = 1,
    bool Geglu = false,
    bool Exact = false
)
{
    /// <summary>Terms of one output's sum.</summary>
    public int K => In * KernelHeight * KernelWidth;
}

/// <summary>
/// One expert's weights as they lie in a mapped file or an array: row-major [Out, In, KernelHeight, KernelWidth].
/// </summary>
/// <param name="Pointer">First element; valid during the call it is passed to.</param>
/// <param name="Type">Float32, Float16 or BFloat16; kept as it is and widened in the kernels.</param>
public readonly unsafe struct WeightSource(void* Pointer, ElementType Type)
{
    /// <summary>First element.</summary>
    public void* Pointer { get; } = Pointer;

    /// <summary>Storage type.</summary>
    public ElementType Type { get; } = Type;
}
