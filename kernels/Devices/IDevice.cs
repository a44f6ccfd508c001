namespace AfaNative.Kernels.Devices;

/// <summary>
/// A block of elements on a device, float32 to everyone outside the kernels, returned to the device's pool when disposed.
/// </summary>
public abstract class DeviceBuffer : IDisposable
{
    /// <summary>Number of elements a caller may use.</summary>
    public abstract long Length { get; }

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

/// <summary>Launched work kept by a device, so that it can run again without the host going through it.</summary>
public interface IRecordedWork : IDisposable
{
    /// <summary>
    /// Runs the work again on the same buffers; false when that is no longer possible and it must be launched (and recorded)
    /// anew.
    /// </summary>
    bool TryReplay();
}

/// <summary>A device has not enough memory; the message says how much was asked for and what to lower.</summary>
public sealed class DeviceMemoryException(string message, Exception inner) : OutOfMemoryException(message, inner);

/// <summary>A point in a device's work, to measure the time between two.</summary>
public interface IDeviceMarker : IDisposable
{
    /// <summary>Seconds from <paramref name="earlier"/> until the device came here; waits until it has.</summary>
    double SecondsSince(IDeviceMarker earlier);
}

/// <summary>A moment of the host's clock, for devices that are done when an op returns.</summary>
internal sealed class ClockMarker : IDeviceMarker
{
    private readonly long _time = System.Diagnostics.Stopwatch.GetTimestamp();

    public double SecondsSince(IDeviceMarker earlier) =>
        System.Diagnostics.Stopwatch.GetElapsedTime(((ClockMarker)earlier)._time, _time).TotalSeconds;

    public void Dispose() { }
}

/// <summary>
/// Where tensors live and ops run. A model never knows which device it is on: it asks <see cref="Kernels"/> for ops on buffers it
/// allocated here. A device serves several threads, each with buffers of its own: ops of one wait for another's or run between
/// them, and compute what they would alone. Weights may be read by all; who repacks or disposes of them sees to it that nobody
/// does.
/// </summary>
public interface IDevice : IDisposable
{
    /// <summary>What the user wrote after <c>--device</c>.</summary>
    string Name { get; }

    /// <summary>How buffers store their elements; everyone outside the kernels sees float32.</summary>
    ElementType Storage => ElementType.Float32;

    /// <summary>What operands of matrix products are rounded to: never wider than <see cref="Storage"/>.</summary>
    ElementType Products => Storage;

    /// <summary>The ops.</summary>
    IKernels Kernels { get; }

    /// <summary>The ops' gradients; null where there are none yet.</summary>
    IGradients? Gradients => null;

    /// <summary>Marks this point of the device's work.</summary>
    IDeviceMarker Mark() => new ClockMarker();

    /// <summary>Bytes now handed out to live buffers.</summary>
    long AllocatedBytes { get; }

    /// <summary>False where contents do not matter, so that no one need read them from a file.</summary>
    bool ReadsData => true;

    /// <summary>Bytes of memory this device has now, for a run that wants to fit; null when unknown.</summary>
    long? FreeBytes => null;

    /// <summary>Freed bytes the pool keeps for reuse at most.</summary>
    long KeptBytes => long.MaxValue;

    /// <summary>Bytes the kernels need besides buffers and weights.</summary>
    long WorkspaceBytes => 0;

    /// <summary>
    /// Bytes of weights to keep on the device; what is packed beyond stays on the host and is copied in when used. Null where the
    /// device cannot.
    /// </summary>
    long? ResidentWeightLimit
    {
        get => null;
        set => throw new NotSupportedException($"{Name} cannot keep weights elsewhere");
    }

    /// <summary>Bytes that <see cref="Allocate"/> takes for so many elements.</summary>
    long BufferBytes(long length);

    /// <summary>Bytes that <see cref="Pack"/> takes for experts of these types.</summary>
    long PackedBytes(WeightShape shape, ReadOnlySpan<ElementType> types);

    /// <summary>Takes <paramref name="length"/> float32 elements from the pool; their content is undefined.</summary>
    DeviceBuffer Allocate(long length);

    /// <summary>Copies host memory into a buffer, from element <paramref name="offset"/> on.</summary>
    void Upload(ReadOnlySpan<float> source, DeviceBuffer destination, long offset = 0);

    /// <summary>Copies the start of a buffer to host memory.</summary>
    void Download(DeviceBuffer source, Span<float> destination);

    /// <summary>
    /// Records the ops <paramref name="work"/> calls instead of running them; null where the device cannot, and then nothing ran.
    /// The work must have run
    /// once before, must not upload or download, and what it reads and leaves must be buffers that outlive the recording. What it
    /// allocates and frees in between stays reserved for recorded work until that is disposed of.
    /// </summary>
    IRecordedWork? Record(Action work) => null;

    /// <summary>
    /// Fills the first <paramref name="count"/> elements with elements 0, 1, 2, ... of a seed's noise stream, rounded to storage:
    /// the same numbers on every device (<see cref="Random.GaussianNoise"/>).
    /// </summary>
    void FillNoise(DeviceBuffer destination, int count, ulong seed, ulong stream)
    {
        var values = new float[count];
        Random.GaussianNoise.Fill(values, seed, stream);
        Upload(values, destination);
    }

    /// <summary>Brings the weights of E experts into the device's layout.</summary>
    PackedWeights Pack(WeightShape shape, ReadOnlySpan<WeightSource> experts);

    /// <summary>Replaces packed weights by new values of the same shape and storage type.</summary>
    void Repack(PackedWeights weights, ReadOnlySpan<WeightSource> experts) =>
        throw new NotSupportedException($"{Name} cannot change packed weights");
}
