using System.Runtime.InteropServices;

namespace AfaNative.Kernels.MachineCode;

/// <summary>
/// Memory for generated code: written first, then made executable and read-only, never both at once. It lives as long as the
/// process.
/// </summary>
internal static unsafe class CodeMemory
{
    private const int Read = 1,
        Write = 2,
        Execute = 4,
        PrivateAnonymous = 0x22;
    private const int CodeAlignment = 64;

    /// <summary>
    /// Places functions one after another and returns their addresses; null where the system refuses executable memory.
    /// </summary>
    public static nint[]? Publish(IReadOnlyList<byte[]> functions)
    {
        int length = functions.Sum(f => Padded(f.Length));
        void* memory = Map(null, (nuint)length, Read | Write, PrivateAnonymous, -1, 0);
        if ((nint)memory == -1)
            return null;
        // What is not code stops the process where it would run into it.
        new Span<byte>(memory, length).Fill(0xCC);
        var addresses = new nint[functions.Count];
        int at = 0;
        for (int i = 0; i < functions.Count; at += Padded(functions[i].Length), i++)
        {
            functions[i].CopyTo(new Span<byte>((byte*)memory + at, functions[i].Length));
            addresses[i] = (nint)memory + at;
        }

        if (Protect(memory, (nuint)length, Read | Execute) == 0)
            return addresses;
        _ = Unmap(memory, (nuint)length);
        return null;
    }

    private static int Padded(int length) => (length + CodeAlignment - 1) / CodeAlignment * CodeAlignment;

    [DllImport("libc", EntryPoint = "mmap")]
    private static extern void* Map(void* address, nuint length, int protection, int flags, int file, nint offset);

    [DllImport("libc", EntryPoint = "mprotect")]
    private static extern int Protect(void* address, nuint length, int protection);

    [DllImport("libc", EntryPoint = "munmap")]
    private static extern int Unmap(void* address, nuint length);
}
