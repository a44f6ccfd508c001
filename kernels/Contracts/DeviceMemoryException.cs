namespace AfaNative.Kernels.Contracts;

/// <summary>A device has not enough memory; the message says how much was asked for and what to lower.</summary>
public sealed class DeviceMemoryException(string message, Exception inner) : OutOfMemoryException(message, inner);
