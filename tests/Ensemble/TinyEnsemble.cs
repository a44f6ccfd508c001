using AfaNative.Engine.Ensemble;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Synthesis;
using AfaNative.Tests.Support;

namespace AfaNative.Tests.Ensemble;

/// <summary>A tiny synthetic ensemble of three, written once for all tests, which only read it.</summary>
public sealed class TinyEnsemble : IDisposable
{
    private static readonly SyntheticOptions s_options = new()
    {
        Experts = 3,
        Type = ElementType.Float16,
        Seed = 3,
    };

    public string Path => TinyModels.Of(s_options);

    /// <summary>Fails where a test of the class wrote into it.</summary>
    public void Dispose() => TinyModels.Folder(s_options).CheckUntouched();
}

/// <summary>The tiny ensemble on two threads, loaded once for the tests of a class.</summary>
public class LoadedEnsemble : IDisposable
{
    private readonly TinyEnsemble _tiny = new();

    public LoadedEnsemble()
        : this(null) { }

    protected LoadedEnsemble(int? expert) => Model = DiffusionModel.Load(Device, Path, expert);

    public string Path => _tiny.Path;

    public CpuDevice Device { get; } = new(2);

    public DiffusionModel Model { get; }

    public void Dispose()
    {
        Model.Dispose();
        Device.Dispose();
        _tiny.Dispose();
        GC.SuppressFinalize(this);
    }
}

/// <summary>Its first expert alone.</summary>
public sealed class LoadedExpert() : LoadedEnsemble(expert: 0);
