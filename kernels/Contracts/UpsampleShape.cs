namespace AfaNative.Kernels.Contracts;

/// <summary>
/// Nearest-neighbour resize of Maps = E * B maps, x [Maps, Height, Width, Channels] to y [Maps, OutHeight, OutWidth, Channels]:
/// source index = min(floor(i * (in / out)), in - 1) with in / out in float32, as torch computes it.
/// </summary>
public readonly record struct UpsampleShape(int Maps, int Height, int Width, int Channels, int OutHeight, int OutWidth);
