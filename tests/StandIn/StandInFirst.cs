using System.Runtime.CompilerServices;

namespace AfaNative.Tests.StandIn;

/// <summary>
/// ILGPU looks for the driver once a process: the stand-in has to be there before any test asks for devices, in whatever order
/// they run.
/// </summary>
internal static class StandInFirst
{
    [ModuleInitializer]
    internal static void Load() => _ = StandInCuda.TryLoad(out _);
}
