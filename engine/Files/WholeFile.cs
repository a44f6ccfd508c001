using System.Text;
using AfaNative.Engine.Core;

namespace AfaNative.Engine.Files;

/// <summary>
/// Writes files: whole, or not at all. They are written beside their place and renamed; a link is followed, and a device
/// (<c>/dev/stdout</c>) is written to as it is.
/// </summary>
public static class WholeFile
{
    /// <summary>Writes a file in place of what is there.</summary>
    /// <param name="path">The file.</param>
    /// <param name="fill">Writes its bytes.</param>
    /// <param name="durable">Waits until the bytes are on the disk.</param>
    /// <exception cref="AfaException">It cannot be written; what was there is as it was.</exception>
    public static void Write(string path, Action<Stream> fill, bool durable = false) =>
        Commit(path, fill, durable, replace: true);

    /// <summary>Writes text in UTF-8 in place of what is there.</summary>
    /// <exception cref="AfaException">It cannot be written; what was there is as it was.</exception>
    public static void WriteText(string path, string text) =>
        Write(path, stream => stream.Write(new UTF8Encoding(false).GetBytes(text)));

    /// <summary>Writes a file where none is: of several processes that want a name, one gets it.</summary>
    /// <returns>False where something is there already; it stays.</returns>
    /// <exception cref="AfaException">It cannot be written.</exception>
    public static bool WriteNew(string path, Action<Stream> fill, bool durable = false) =>
        !Path.Exists(path) && Commit(path, fill, durable, replace: false);

    /// <summary>Why a file could not be written, as the end of a sentence.</summary>
    internal static string Reason(Exception e) =>
        e switch
        {
            _ when IsDiskFull(e) => "the disk is full",
            DirectoryNotFoundException => "there is no such folder",
            UnauthorizedAccessException => "permission denied",
            _ => e.Message,
        };

    private static bool Commit(string path, Action<Stream> fill, bool durable, bool replace)
    {
        string? temporary = null;
        try
        {
            string full = RealPath.Full(path);
            if (IsDevice(full))
            {
                using var device = new FileStream(full, FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
                fill(device);
                return true;
            }

            full = RealPath.Of(full);
            if (Directory.Exists(full))
                throw new AfaException($"{path}: it is a folder; a file was to be written there.");
            temporary = TemporaryName.In(Path.GetDirectoryName(full)!);
            using (var stream = new FileStream(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1 << 16))
            {
                fill(stream);
                stream.Flush(flushToDisk: durable);
            }

            if (!replace && Path.Exists(full))
            {
                TemporaryName.Discard(temporary);
                return false;
            }

            // Without replacing, the file system decides who was first: the name is given by a link that must be new.
            File.Move(temporary, full, overwrite: replace);
            return true;
        }
        catch (Exception e)
        {
            if (temporary is not null)
                TemporaryName.Discard(temporary);
            if (e is IOException && !replace && Path.Exists(path))
                return false;
            if (e is IOException or UnauthorizedAccessException)
                throw new AfaException($"{path}: it could not be written: {Reason(e)}", e);
            throw;
        }
    }

    // A rename would put a file in the place of the device.
    private static bool IsDevice(string path) =>
        !OperatingSystem.IsWindows()
        && (path.StartsWith("/dev/", StringComparison.Ordinal) || path.StartsWith("/proc/", StringComparison.Ordinal))
        && !path.StartsWith("/dev/shm/", StringComparison.Ordinal);

    // ENOSPC and EDQUOT, and what Windows calls them.
    private static bool IsDiskFull(Exception e) =>
        e is IOException && (OperatingSystem.IsWindows() ? (e.HResult & 0xFFFF) is 39 or 112 : e.HResult is 28 or 122 or 69);
}
