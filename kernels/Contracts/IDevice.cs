namespace AfaNative.Kernels.Contracts;

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
    /// the same numbers on every device (<c>Random.GaussianNoise</c>).
    /// </summary>
    void FillNoise(DeviceBuffer destination, int count, ulong seed, ulong stream);

    /// <summary>Brings the weights of E experts into the device's layout.</summary>
    PackedWeights Pack(WeightShape shape, ReadOnlySpan<WeightSource> experts);

    /// <summary>Replaces packed weights by new values of the same shape and storage type.</summary>
    void Repack(PackedWeights weights, ReadOnlySpan<WeightSource> experts) =>
        throw new NotSupportedException($"{Name} cannot change packed weights");
}
