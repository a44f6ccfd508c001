namespace AfaNative.Kernels.Contracts;

/// <summary>
/// Concatenation along channels: a [E or 1, Rows, ChannelsA], b [E or 1, Rows, ChannelsB], y [E, Rows, ChannelsA + ChannelsB].
/// </summary>
public readonly record struct ConcatShape(int Experts, long Rows, int ChannelsA, int ChannelsB, bool SharedA, bool SharedB);

/// <summary>Addition: a and b [E or 1, Count], y [E, Count]; y may be a or b when that one is not shared.</summary>
public readonly record struct AddShape(int Experts, long Count, bool SharedA, bool SharedB);
