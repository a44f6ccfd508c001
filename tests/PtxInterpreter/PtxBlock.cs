using System.Runtime.InteropServices;
using AfaNative.Engine.Core;

namespace AfaNative.Tests.PtxInterpreter;

/// <summary>What all blocks of a launch share.</summary>
internal sealed record PtxLaunch(
    PtxKernel Kernel,
    PtxMemory Memory,
    (int X, int Y, int Z) Grid,
    (int X, int Y, int Z) Size,
    int SharedBytes,
    byte[] Parameters
);

/// <summary>A thread block: warps run one after another, each until its lanes meet a barrier or end.</summary>
internal sealed unsafe class PtxBlock : IDisposable
{
    private readonly PtxWarp[] _warps;

    public PtxBlock(PtxLaunch launch, (int X, int Y, int Z) position)
    {
        Launch = launch;
        Position = position;
        Shared = (byte*)NativeMemory.AlignedAlloc((nuint)Math.Max(launch.SharedBytes, 16), 128);
        // Not-a-number in every floating-point format: what was not written shows.
        new Span<byte>(Shared, launch.SharedBytes).Fill(0xFF);
        Shadow = new SharedShadow(launch.SharedBytes);
        int threads = launch.Size.X * launch.Size.Y * launch.Size.Z;
        _warps = [.. Enumerable.Range(0, (threads + 31) / 32).Select(w => new PtxWarp(this, w, Math.Min(32, threads - w * 32)))];
    }

    public PtxLaunch Launch { get; }

    public (int X, int Y, int Z) Position { get; }

    public byte* Shared { get; }

    public SharedShadow Shadow { get; }

    /// <summary>Barriers passed.</summary>
    public int Epoch { get; private set; } = 1;

    /// <summary>Runs the block; returns the instructions its threads executed.</summary>
    public long Run()
    {
        while (true)
        {
            foreach (PtxWarp warp in _warps)
                warp.Run();
            if (_warps.All(w => w.Live == 0))
                return _warps.Sum(w => w.Executed);
            PtxWarp waiting = _warps.First(w => w.Waiting != 0);
            foreach (PtxWarp warp in _warps)
            {
                if (warp.Waiting != warp.All)
                    throw waiting.Fault(waiting.BarrierAt, "a barrier that some threads of the block never reach");
                if (warp.BarrierAt != waiting.BarrierAt)
                    throw waiting.Fault(waiting.BarrierAt, "threads of the block wait at different barriers");
            }

            Epoch++;
            foreach (PtxWarp warp in _warps)
                warp.Release();
        }
    }

    public void Dispose() => NativeMemory.AlignedFree(Shared);
}

/// <summary>Runs kernels' PTX: slowly, but as the PTX ISA says, and strictly.</summary>
public sealed class PtxMachine(PtxMemory memory)
{
    private long _executed;

    /// <summary>Instructions executed by all threads.</summary>
    public long Executed => _executed;

    /// <summary>Launches a kernel and waits for it.</summary>
    /// <exception cref="PtxFaultException">A thread did what hardware forbids or leaves undefined; which, where and
    /// why.</exception>
    public void Launch(
        PtxKernel kernel,
        (int X, int Y, int Z) grid,
        (int X, int Y, int Z) block,
        ReadOnlySpan<byte> parameters,
        int dynamicSharedBytes = 0
    )
    {
        int threads = block.X * block.Y * block.Z;
        if (threads is < 1 or > 1024)
            throw new PtxFaultException($"{kernel.Name}: a block of {threads} threads");
        if (parameters.Length < kernel.ParameterBytes)
            throw new PtxFaultException(
                $"{kernel.Name}: {parameters.Length} bytes of parameters, it takes {kernel.ParameterBytes}"
            );
        var launch = new PtxLaunch(kernel, memory, grid, block, kernel.SharedBytes + dynamicSharedBytes, parameters.ToArray());
        try
        {
            Parallel.For(
                0,
                grid.X * grid.Y * grid.Z,
                index =>
                {
                    using var one = new PtxBlock(launch, (index % grid.X, index / grid.X % grid.Y, index / grid.X / grid.Y));
                    Interlocked.Add(ref _executed, one.Run());
                }
            );
        }
        catch (AggregateException e)
        {
            throw e.InnerExceptions.OfType<PtxFaultException>().FirstOrDefault() ?? e.InnerException!;
        }
    }
}
