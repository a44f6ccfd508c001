using System.Globalization;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.MatrixMultiply;

namespace AfaNative.Engine.Training;

/// <summary>
/// Trains whole networks (a VAE, a U-Net with its text encoder) with AdamW, clipping, a schedule and a running mean of the
/// weights. All that is random follows from the seed and the step, and the
/// state is one file that appears whole: a run goes on bit for bit wherever it was cut off.
/// </summary>
public abstract class NetworkTrainer : IDisposable
{
    private readonly List<TrainedParameters> _components = [];
    private UpdateLoop? _loop;
    private readonly List<(string Name, Parameter Parameter)> _all = [];
    private RunIdentity? _identity;

    // In a state's metadata.
    private const string IdentityKey = "identity";

    /// <summary>A trainer without networks yet.</summary>
    protected NetworkTrainer(IDevice device, TrainingOptions options)
    {
        options.Validate();
        Device = device;
        Options = options;
        LossScale = new LossScale(device.Storage);
    }

    /// <summary>Where the networks are.</summary>
    public IDevice Device { get; }

    /// <summary>How they are trained.</summary>
    public TrainingOptions Options { get; }

    /// <summary>What the loss is multiplied by on the way back.</summary>
    public LossScale LossScale { get; }

    /// <summary>
    /// What the run depends on: a state of another is refused. Options and networks unless more is said, such as the pictures.
    /// </summary>
    public RunIdentity Identity
    {
        get =>
            _identity ??= Describe(
                new RunIdentity()
                    .Add(Options, Device.Storage, aggregators: false)
                    .Add("networks", $"{GetType().Name} of {ParameterCount.ToString(CultureInfo.InvariantCulture)} numbers")
            );
        set => _identity = value;
    }

    /// <summary>Updates done.</summary>
    public int Steps => _loop?.Optimizer.Steps ?? 0;

    /// <summary>Trained numbers.</summary>
    public long ParameterCount => _all.Sum(p => (long)p.Parameter.Values.Length);

    /// <summary>All parameters, for a tape.</summary>
    protected internal IEnumerable<Parameter> Trained => _all.Select(p => p.Parameter);

    /// <summary>
    /// Trains up to <see cref="TrainingOptions.Steps"/> updates, going on from <paramref name="state"/> if it is there and
    /// keeping it up to date.
    /// </summary>
    /// <param name="state">The state file (safetensors).</param>
    /// <param name="done">Told every update.</param>
    /// <param name="cancellation">Stops after an update, which is saved first.</param>
    /// <exception cref="AfaException">The state belongs to other options or networks, or the loss is no longer a
    /// number.</exception>
    public void Run(string state, Action<TrainingUpdate>? done = null, CancellationToken cancellation = default)
    {
        UpdateLoop loop = Ready();
        Optimizer optimizer = loop.Optimizer;
        if (File.Exists(state))
            Restore(state, optimizer);
        while (optimizer.Steps < Options.Steps)
        {
            // An update is whole or not at all: only the pause between two is a place to stop.
            TrainingUpdate update = loop.Next(Gradients);
            done?.Invoke(update);
            bool stop = cancellation.IsCancellationRequested;
            if (stop || optimizer.Steps == Options.Steps || optimizer.Steps % Options.SaveEvery == 0)
                Save(state, optimizer);
            cancellation.ThrowIfCancellationRequested();
        }
    }

    /// <summary>Refuses a state that is of another run, before anything else is done; nothing where there is none.</summary>
    /// <exception cref="AfaException">It is; the message says what differs.</exception>
    public static void RequireSame(string state, RunIdentity identity)
    {
        ArgumentNullException.ThrowIfNull(identity);
        if (!File.Exists(state))
            return;
        using SafetensorsFile file = SafetensorsFile.Open(state);
        identity.Require(state, file.Metadata.GetValueOrDefault(IdentityKey));
    }

    /// <summary>As <see cref="RequireSame"/>, of the parts alone that <paramref name="identity"/> has.</summary>
    /// <inheritdoc cref="RequireSame"/>
    public static void RequireOwn(string state, RunIdentity identity)
    {
        ArgumentNullException.ThrowIfNull(identity);
        if (!File.Exists(state))
            return;
        using SafetensorsFile file = SafetensorsFile.Open(state);
        identity.RequireOwn(state, file.Metadata.GetValueOrDefault(IdentityKey));
    }

    /// <summary>Writes a component's weights (the running means, if kept) as a diffusers folder holds them.</summary>
    public void Write(string component, string path, ElementType type)
    {
        Optimizer optimizer = Ready().Optimizer;
        var entries = new List<TensorEntry>();
        for (int i = 0; i < _all.Count; i++)
        {
            (string name, Parameter parameter) = _all[i];
            if (!name.StartsWith(component + ".", StringComparison.Ordinal))
                continue;
            float[] values = optimizer.Means?[i] ?? parameter.Values;
            entries.Add(
                new TensorEntry(
                    name[(component.Length + 1)..],
                    type,
                    [.. parameter.Shape],
                    stream => stream.Write(Widening.ToBytes(values, type))
                )
            );
        }

        SafetensorsWriter.Write(path, entries, new Dictionary<string, string> { ["format"] = "pt" });
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Frees the networks.</summary>
    protected virtual void Dispose(bool disposing)
    {
        foreach (TrainedParameters parameters in _components)
            parameters.Dispose();
        _components.Clear();
    }

    /// <summary>Adds a network to train: from a checkpoint's folder, or from nothing.</summary>
    protected TModel Add<TModel>(
        string component,
        string? from,
        Func<Parameters, TModel> build,
        Func<string, bool>? ignore = null
    )
    {
        TModel model;
        TrainedParameters parameters;
        if (from is not null)
        {
            using Checkpoint checkpoint = Checkpoint.Open(from, "diffusion_pytorch_model", "model");
            (model, parameters) = TrainedParameters.Load(Device, checkpoint, build, ignore);
        }
        else
        {
            var list = new ParameterList();
            build(list);
            Dictionary<string, ParameterSpec> specs = list.Specs.ToDictionary(s => s.Name);
            (model, parameters) = TrainedParameters.Build(
                Device,
                (names, _) => NetworkInitialization.Values(component, specs[names[0]], Options.Seed),
                build
            );
        }

        _components.Add(parameters);
        foreach (Parameter parameter in parameters.All)
            _all.Add(($"{component}.{parameter.Name}", parameter));
        return model;
    }

    /// <summary>
    /// Goes through the pictures of a forward pass forward and back: adds gradients to the parameters and returns the mean loss.
    /// </summary>
    /// <param name="number">Forward passes before it in the run: what is random follows from it.</param>
    /// <param name="scale">What gradients are multiplied by.</param>
    protected internal abstract double Gradients(long number, float scale = 1);

    /// <summary>Adds what a kind of trainer depends on besides options and networks.</summary>
    protected virtual RunIdentity Describe(RunIdentity identity) => identity;

    private UpdateLoop Ready() => _loop ??= new UpdateLoop(Options, [.. Trained], LossScale, risingMeans: true);

    private void Save(string path, Optimizer optimizer)
    {
        (IReadOnlyList<float[]> first, IReadOnlyList<float[]> second) = optimizer.Moments;
        var entries = new List<TensorEntry>();
        for (int i = 0; i < _all.Count; i++)
        {
            (string name, Parameter parameter) = _all[i];
            long[] shape = [parameter.Values.Length];
            entries.Add(TensorEntry.FromFloat32("value." + name, shape, parameter.Values));
            entries.Add(TensorEntry.FromFloat32("first." + name, shape, first[i]));
            entries.Add(TensorEntry.FromFloat32("second." + name, shape, second[i]));
            if (optimizer.Means is { } means)
                entries.Add(TensorEntry.FromFloat32("mean." + name, shape, means[i]));
        }

        SafetensorsWriter.Write(
            path,
            entries,
            new Dictionary<string, string>
            {
                ["step"] = optimizer.Steps.ToString(CultureInfo.InvariantCulture),
                [IdentityKey] = Identity.ToString(),
                ["loss_scale"] = LossScale.Value.ToString("R", CultureInfo.InvariantCulture),
                ["steps_at_scale"] = LossScale.Good.ToString(CultureInfo.InvariantCulture),
            }
        );
    }

    private void Restore(string path, Optimizer optimizer)
    {
        using SafetensorsFile file = SafetensorsFile.Open(path);
        Identity.Require(path, file.Metadata.GetValueOrDefault(IdentityKey));
        (IReadOnlyList<float[]> first, IReadOnlyList<float[]> second) = optimizer.Moments;
        for (int i = 0; i < _all.Count; i++)
        {
            (string name, Parameter parameter) = _all[i];
            Copy("value." + name, parameter.Values);
            Copy("first." + name, first[i]);
            Copy("second." + name, second[i]);
            if (optimizer.Means is { } means)
                Copy("mean." + name, means[i]);
            parameter.Publish();
        }

        optimizer.Steps = Numbers.Int32($"{path}: step", file.Metadata.GetValueOrDefault("step", ""), least: 0);
        LossScale.Restore(
            Numbers.Double($"{path}: loss_scale", file.Metadata.GetValueOrDefault("loss_scale", "1")),
            Numbers.Int32($"{path}: steps_at_scale", file.Metadata.GetValueOrDefault("steps_at_scale", "0"), least: 0)
        );

        void Copy(string name, float[] to)
        {
            if (!file.Tensors.TryGetValue(name, out SafetensorsTensor? tensor) || tensor.ElementCount != to.Length)
                throw new CheckpointException($"{path}: {name} of {to.Length} values is not there.");
            file.ReadFloat32(name).CopyTo(to, 0);
        }
    }
}
