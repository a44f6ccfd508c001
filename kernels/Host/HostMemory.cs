using System.Runtime.InteropServices;

namespace AfaNative.Kernels.Host;

/// <summary>Native memory for maps, weights and packed blocks, to be freed with <see cref="NativeMemory.AlignedFree"/>.</summary>
internal static unsafe class HostMemory
{
    private const long HugePage = 2 << 20;

    /// <summary>
    /// Aligned to 64 bytes at least. Linux is asked for 2 MiB pages where a block holds whole ones: they spare the translation
    /// buffers, and take no more memory.
    /// </summary>
    public static void* Allocate(long bytes)
    {
        bool huge = bytes >= 2 * HugePage;
        void* memory = NativeMemory.AlignedAlloc((nuint)Math.Max(bytes, 64), huge ? (nuint)HugePage : 64);
        if (huge && OperatingSystem.IsLinux())
        {
            // MADV_DONTNEED (4): memory that was used before, in small pages, would keep them. MADV_HUGEPAGE (14).
            nuint whole = (nuint)(bytes / HugePage * HugePage);
            _ = Madvise((nint)memory, whole, 4);
            _ = Madvise((nint)memory, whole, 14);
        }

        return memory;
    }

    [DllImport("libc", EntryPoint = "madvise")]
    private static extern int Madvise(nint address, nuint length, int advice);
}
