using System.Globalization;
using System.Reflection;
using System.Runtime.InteropServices;
using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.CPU;
using ILGPU.Runtime.Cuda;
using ILGPU.Runtime.OpenCL;

namespace AfaNative.Kernels.Contracts;

/// <summary>
/// A device that a list shows: what to write after <c>--device</c>, what it is, and why it cannot be used (or null).
/// </summary>
public sealed record DeviceDescription(string Name, string Description, string? Unusable);
