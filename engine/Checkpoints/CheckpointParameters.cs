using AfaNative.Engine.Core;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Checkpoints;

/// <summary>Layers read from one checkpoint per expert. Owns the device memory it made.</summary>
public sealed unsafe class CheckpointParameters : Parameters, IDisposable
{
    private readonly IDevice _device;
    private readonly IReadOnlyList<Checkpoint> _checkpoints;
    private readonly List<IDisposable> _owned = [];
    private readonly LoraSet? _loras;

    private CheckpointParameters(IDevice device, IReadOnlyList<Checkpoint> checkpoints, LoraSet? loras)
    {
        _device = device;
        _checkpoints = checkpoints;
        _loras = loras;
    }

    /// <inheritdoc/>
    public override int Experts => _checkpoints.Count;

    /// <summary>Whole sentences about what the files hold and was not used, or not as it is.</summary>
    public IReadOnlyList<string> Warnings { get; private init; } = [];

    /// <summary>
    /// Builds a model of E experts. First every checkpoint is compared with what the model needs (missing, unexpected and
    /// misshapen tensors all in one
    /// message); only then is anything loaded.
    /// </summary>
    /// <param name="device">Where the weights go.</param>
    /// <param name="checkpoints">One per expert; may be closed after the call.</param>
    /// <param name="build">The model's constructor.</param>
    /// <param name="ignore">Names that may be present and are not read.</param>
    public static (TModel Model, CheckpointParameters Parameters) Load<TModel>(
        IDevice device,
        IReadOnlyList<Checkpoint> checkpoints,
        Func<Parameters, TModel> build,
        Func<string, bool>? ignore = null
    ) => Load(device, checkpoints, build, ignore, null);

    internal static (TModel Model, CheckpointParameters Parameters) Load<TModel>(
        IDevice device,
        IReadOnlyList<Checkpoint> checkpoints,
        Func<Parameters, TModel> build,
        Func<string, bool>? ignore,
        LoraSet? loras
    )
    {
        var list = new ParameterList();
        build(list);
        string[] warnings = [.. checkpoints.SelectMany(c => Check(c, list.Specs, ignore)).Distinct()];
        loras?.MustFit(list.Specs);
        var parameters = new CheckpointParameters(device, checkpoints, loras) { Warnings = warnings };
        try
        {
            return (build(parameters), parameters);
        }
        catch
        {
            parameters.Dispose();
            throw;
        }
    }

    /// <summary>Compares a checkpoint's keys and shapes with a model's.</summary>
    /// <exception cref="CheckpointException">Something is missing, unexpected or misshapen.</exception>
    /// <returns>Whole sentences about what the file holds besides, or holds in another way than a model does.</returns>
    public static IReadOnlyList<string> Check(
        Checkpoint checkpoint,
        IReadOnlyList<ParameterSpec> specs,
        Func<string, bool>? ignore = null
    )
    {
        int wide = 0;
        List<string> missing = [],
            shapes = [];
        var known = new HashSet<string>();
        foreach (ParameterSpec spec in specs)
        {
            known.Add(spec.Name);
            known.UnionWith(spec.Aliases);
            if (Find(checkpoint, [spec.Name, .. spec.Aliases], out _, out SafetensorsTensor? tensor) is null)
                missing.Add(spec.Name);
            else if (!SameShape(tensor!.Shape, spec.Shape))
                shapes.Add($"{tensor.Name} is [{string.Join(", ", tensor.Shape)}] instead of [{string.Join(", ", spec.Shape)}]");
            else if (!tensor.Type.IsReadable())
                shapes.Add($"{tensor.Name} holds {tensor.TypeName} instead of F32, F16, BF16, F8_E4M3, F8_E5M2 or F64");
            else if (tensor.Type == ElementType.Float64)
                wide++;
        }

        // Strangers inside the network's own modules mean that its configuration is another's; what lies outside them changes
        // nothing.
        HashSet<string> roots = [.. specs.Select(s => NetworkNames.Root(s.Name))];
        List<string> unexpected = [],
            extra = [];
        foreach (
            string name in checkpoint
                .Names.Where(n => !known.Contains(n) && ignore?.Invoke(n) != true)
                .Order(StringComparer.Ordinal)
        )
        {
            if (KnownExtras.IsSilent(name) && !IsUnusedFactor(checkpoint, name))
                continue;
            if (roots.Contains(NetworkNames.Root(name)) || KnownExtras.ChangesPictures(name) || Float8.IsFactor(name))
                unexpected.Add(name);
            else if (NetworkNames.Of(name) == NetworkNames.Network.None)
                extra.Add(name);
        }

        if (missing.Count + unexpected.Count + shapes.Count == 0)
        {
            List<string> warnings = [];
            if (KnownExtras.Sentence(checkpoint.Description, checkpoint.IsOriginal ? checkpoint.Strays : extra) is { } sentence)
                warnings.Add(sentence);
            if (wide > 0)
                warnings.Add($"{checkpoint.Description}: {wide} tensors hold float64, which is narrowed to float32.");
            return warnings;
        }

        SingleFile.Refuse(checkpoint);
        List<string> parts = [];
        if (missing.Count > 0)
            parts.Add($"{missing.Count} missing ({Some(missing)})");
        if (unexpected.Count > 0)
            parts.Add($"{unexpected.Count} unexpected ({Some(unexpected)})");
        if (extra.Count > 0)
            parts.Add($"{extra.Count} of no network ({Some(extra)})");
        if (shapes.Count > 0)
            parts.Add($"{shapes.Count} of the wrong shape or type ({Some(shapes)})");
        throw new CheckpointException(
            $"{checkpoint.Description}: its tensors do not match the model "
                + $"{(checkpoint.IsAlone ? "the base folder's" : "its")} config.json describes: {string.Join("; ", parts)}."
        );
    }

    // A factor of a weight that is no float8 would be of a kind of quantization this program does not know.
    private static bool IsUnusedFactor(Checkpoint checkpoint, string name)
    {
        if (!Float8.IsFactor(name) || name.LastIndexOf('.') is var dot && dot < 0)
            return false;
        return checkpoint.TryGet(name[..dot] + ".weight", out _, out SafetensorsTensor? weight)
            && weight.Type is not (ElementType.Float8E4M3 or ElementType.Float8E5M2);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (IDisposable owned in _owned)
            owned.Dispose();
        _owned.Clear();
    }

    /// <inheritdoc/>
    protected internal override PackedWeights Weights(string[] names, long[] fileShape, WeightShape shape)
    {
        var sources = new WeightSource[Experts];
        var buffers = new byte[Experts][];
        var pins = new List<System.Runtime.InteropServices.GCHandle>();
        try
        {
            for (int e = 0; e < Experts; e++)
            {
                Find(_checkpoints[e], names, out SafetensorsFile? file, out SafetensorsTensor? tensor);
                // A changed tensor is stored as it was: merging a LoRA takes no more memory.
                ElementType type = Float8.Held(file!, tensor!);
                if (!_device.ReadsData)
                {
                    sources[e] = new WeightSource(file!.Pointer(tensor!), type);
                    continue;
                }

                FiniteWeights.Check(file!, tensor!);
                float[]? changed = _loras?.Change(e, names[0], fileShape, type, () => file!.ReadFloat32(tensor!.Name));
                if (changed is null && tensor!.Type.IsWeight())
                {
                    sources[e] = new WeightSource(file!.Pointer(tensor), type);
                    continue;
                }

                buffers[e] = Kernels.MatrixMultiply.Widening.ToBytes(changed ?? file!.ReadFloat32(tensor!.Name), type);
                var pin = System.Runtime.InteropServices.GCHandle.Alloc(
                    buffers[e],
                    System.Runtime.InteropServices.GCHandleType.Pinned
                );
                pins.Add(pin);
                sources[e] = new WeightSource((void*)pin.AddrOfPinnedObject(), type);
            }

            PackedWeights packed = _device.Pack(shape, sources);
            _owned.Add(packed);
            // The packed copy replaces the mapped pages: what was read need not stay resident.
            foreach (Checkpoint checkpoint in _checkpoints)
            {
                Find(checkpoint, names, out SafetensorsFile? file, out SafetensorsTensor? tensor);
                file!.Release(tensor!);
            }

            return packed;
        }
        finally
        {
            foreach (var pin in pins)
                pin.Free();
        }
    }

    /// <inheritdoc/>
    protected internal override DeviceBuffer Vector(string[] names, long[] shape)
    {
        long count = shape.Aggregate(1L, (a, b) => a * b);
        if (!_device.ReadsData)
        {
            DeviceBuffer planned = _device.Allocate(count * Experts);
            _owned.Add(planned);
            return planned;
        }

        // In pieces: a token table of every expert in one array would be the largest block of the whole load.
        DeviceBuffer buffer = _device.Allocate(count * Experts);
        _owned.Add(buffer);
        var piece = new float[(int)Math.Min(count, 1 << 18)];
        for (int e = 0; e < Experts; e++)
        {
            Find(_checkpoints[e], names, out SafetensorsFile? file, out SafetensorsTensor? tensor);
            FiniteWeights.Check(file!, tensor!);
            if (_loras?.Change(e, names[0], shape, ElementType.Float32, () => file!.ReadFloat32(tensor!.Name)) is { } changed)
            {
                _device.Upload(changed, buffer, e * count);
                file!.Release(tensor!);
                continue;
            }

            for (long done = 0; done < count; done += piece.Length)
            {
                Span<float> part = piece.AsSpan(0, (int)Math.Min(piece.Length, count - done));
                file!.ReadFloat32(tensor!.Name, done, part);
                _device.Upload(part, buffer, e * count + done);
            }

            file!.Release(tensor!);
        }

        return buffer;
    }

    private static string? Find(
        Checkpoint checkpoint,
        ReadOnlySpan<string> names,
        out SafetensorsFile? file,
        out SafetensorsTensor? tensor
    )
    {
        foreach (string name in names)
        {
            if (checkpoint.TryGet(name, out file, out tensor))
                return name;
        }

        file = null;
        tensor = null;
        return null;
    }

    // Linear weights are stored as [o, i] or, in files that used 1x1 convolutions, as [o, i, 1, 1].
    private static bool SameShape(IReadOnlyList<long> came, IReadOnlyList<long> expected)
    {
        IEnumerable<long> a = came,
            b = expected;
        if (came.Count >= 2 && expected.Count >= 2)
        {
            a = came.Count == 4 && came[2] == 1 && came[3] == 1 ? came.Take(2) : came;
            b = expected.Count == 4 && expected[2] == 1 && expected[3] == 1 ? expected.Take(2) : expected;
        }

        return a.SequenceEqual(b);
    }

    private static string Some(List<string> names) =>
        names.Count <= 8 ? string.Join(", ", names) : string.Join(", ", names.Take(8)) + $" and {names.Count - 8} more";
}
