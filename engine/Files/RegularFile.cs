using System.Buffers.Binary;
using System.Runtime.InteropServices;
using AfaNative.Engine.Core;

namespace AfaNative.Engine.Files;

/// <summary>What a path leads to, links followed.</summary>
public enum FileKind
{
    /// <summary>Nothing, or a link to nothing.</summary>
    Missing,

    /// <summary>A file with a length, whose reading ends.</summary>
    Regular,

    /// <summary>A folder.</summary>
    Folder,

    /// <summary>A named pipe: opening one waits for somebody at its other end.</summary>
    Pipe,

    /// <summary>A socket.</summary>
    Socket,

    /// <summary>A terminal, a disk, <c>/dev/zero</c>: reading one may never end.</summary>
    Device,
}

/// <summary>
/// Opens files that people name, and only those that are files: pipes, sockets and devices are refused before they can block or
/// never end.
/// </summary>
public static unsafe class RegularFile
{
    /// <summary>What a path leads to; where the system cannot say, whatever is no folder counts as a file.</summary>
    public static FileKind Kind(string path) => Look(path).Kind;

    /// <summary>Opens a file for reading.</summary>
    /// <param name="path">The file; links are followed.</param>
    /// <param name="what">What is expected there: the error speaks of it.</param>
    /// <param name="bufferSize">Bytes of the stream's buffer; 0 for none.</param>
    /// <exception cref="CheckpointException">There is none, it is no regular file, or it cannot be opened.</exception>
    public static FileStream Open(string path, string what = "a file", int bufferSize = 4096)
    {
        Check(path, what);
        try
        {
            return new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw Unreadable(path, what, e);
        }
    }

    /// <summary>All bytes of a file.</summary>
    /// <param name="path">The file; links are followed.</param>
    /// <param name="what">What is expected there: the error speaks of it.</param>
    /// <param name="most">The longest it may be, in bytes.</param>
    /// <exception cref="CheckpointException">There is none, it is no regular file, too long, or cannot be read.</exception>
    public static byte[] ReadAllBytes(string path, string what = "a file", long most = int.MaxValue)
    {
        using FileStream stream = Open(path, what, 0);
        try
        {
            if (stream.Length > Math.Min(most, Array.MaxLength))
                throw new CheckpointException($"{path}: expected {what} of at most {most} bytes, but it has {stream.Length}.");
            var bytes = new byte[stream.Length];
            stream.ReadExactly(bytes);
            return bytes;
        }
        catch (IOException e)
        {
            throw Unreadable(path, what, e);
        }
    }

    /// <summary>Whether two files hold the same bytes; read no further than to the first difference.</summary>
    /// <exception cref="CheckpointException">One is no regular file, or cannot be read.</exception>
    public static bool AreEqual(string one, string other)
    {
        using FileStream a = Open(one, bufferSize: 0),
            b = Open(other, bufferSize: 0);
        if (a.Length != b.Length)
            return false;
        byte[] left = new byte[1 << 16],
            right = new byte[1 << 16];
        for (int read; (read = a.ReadAtLeast(left, left.Length, throwOnEndOfStream: false)) > 0; )
        {
            if (
                b.ReadAtLeast(right, right.Length, throwOnEndOfStream: false) != read
                || !left.AsSpan(0, read).SequenceEqual(right.AsSpan(0, read))
            )
                return false;
        }

        return true;
    }

    /// <summary>Refuses what is no regular file, without opening it.</summary>
    /// <exception cref="CheckpointException">There is none, or it is a folder, a pipe, a socket or a device.</exception>
    public static void Check(string path, string what = "a file")
    {
        ArgumentNullException.ThrowIfNull(path);
        if (path.Length == 0 || path.Contains('\0', StringComparison.Ordinal))
            throw new CheckpointException($"'{Printable.Shortened(path)}': expected the path of {what}.");
        FileKind kind = Kind(path);
        if (kind == FileKind.Regular)
            return;
        throw new CheckpointException(
            kind == FileKind.Missing
                ? $"{path}: expected {what}, but there is none."
                : $"{path}: expected {what}, but it is {Name(kind)}."
        );
    }

    /// <summary>A kind in words, with its article.</summary>
    public static string Name(FileKind kind) =>
        kind switch
        {
            FileKind.Missing => "nothing, or a link to nothing",
            FileKind.Regular => "a file",
            FileKind.Folder => "a folder",
            FileKind.Pipe => "a named pipe",
            FileKind.Socket => "a socket",
            _ => "a device",
        };

    /// <summary>What a path leads to, and what tells it from everything else on the machine however it is reached.</summary>
    internal static (FileKind Kind, string Identity) Look(string path)
    {
        if (OperatingSystem.IsLinux() && !s_withoutStatus)
        {
            try
            {
                // struct statx, the same on every processor: mode at 28, inode at 32, device at 136 and 140.
                byte* status = stackalloc byte[256];
                if (Status(AtCurrentFolder, path, 0, Basic, status) != 0)
                    return (FileKind.Missing, path);
                var bytes = new ReadOnlySpan<byte>(status, 256);
                string identity = Convert.ToHexString(bytes.Slice(136, 8)) + Convert.ToHexString(bytes.Slice(32, 8));
                return (
                    (BinaryPrimitives.ReadUInt16LittleEndian(bytes[28..]) & 0xF000) switch
                    {
                        0x8000 => FileKind.Regular,
                        0x4000 => FileKind.Folder,
                        0x1000 => FileKind.Pipe,
                        0xC000 => FileKind.Socket,
                        _ => FileKind.Device,
                    },
                    identity
                );
            }
            catch (Exception e) when (e is EntryPointNotFoundException or DllNotFoundException)
            {
                // A C library older than the call.
                s_withoutStatus = true;
            }
        }

        string full = Path.GetFullPath(path);
        try
        {
            FileSystemInfo info = Directory.Exists(full) ? new DirectoryInfo(full) : new FileInfo(full);
            string real = info.ResolveLinkTarget(returnFinalTarget: true)?.FullName ?? full;
            if (info is DirectoryInfo)
                return (FileKind.Folder, real);
            if (!info.Exists)
                return (FileKind.Missing, full);
            return ((info.Attributes & FileAttributes.Device) != 0 ? FileKind.Device : FileKind.Regular, real);
        }
        catch (IOException)
        {
            // A link to itself leads nowhere.
            return (FileKind.Missing, full);
        }
    }

    /// <summary>
    /// What changes whenever a file's contents may have: where it lies, its size, and when contents and status last changed. The
    /// time of the status cannot be set back, unlike that of the contents. Null where the
    /// system does not tell.
    /// </summary>
    internal static (string Stamp, DateTime Changed)? Stamp(string path)
    {
        if (!OperatingSystem.IsLinux() || s_withoutStatus)
            return null;
        try
        {
            // In struct statx: inode at 32, size at 40, change of status at 96, of contents at 112 (seconds, then nanoseconds),
            // device at 136.
            byte* status = stackalloc byte[256];
            if (Status(AtCurrentFolder, path, 0, Basic, status) != 0)
                return null;
            var bytes = new ReadOnlySpan<byte>(status, 256);
            string stamp =
                Convert.ToHexString(bytes.Slice(32, 16))
                + Convert.ToHexString(bytes.Slice(96, 12))
                + Convert.ToHexString(bytes.Slice(112, 12))
                + Convert.ToHexString(bytes.Slice(136, 8));
            return (stamp, DateTime.UnixEpoch.AddSeconds(BinaryPrimitives.ReadInt64LittleEndian(bytes[96..])));
        }
        catch (Exception e) when (e is EntryPointNotFoundException or DllNotFoundException)
        {
            s_withoutStatus = true;
            return null;
        }
    }

    private const int AtCurrentFolder = -100;
    private const uint Basic = 0x7FF;
    private static bool s_withoutStatus;

    [DllImport("libc", EntryPoint = "statx")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int Status(
        int folder,
        [MarshalAs(UnmanagedType.LPUTF8Str)] string path,
        int flags,
        uint mask,
        byte* status
    );

    private static CheckpointException Unreadable(string path, string what, Exception e) =>
        new($"{path}: expected {what}, but it cannot be read: {e.Message}", e);
}
