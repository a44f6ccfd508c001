using System.Collections.Immutable;
using System.Globalization;
using AfaNative.Engine.Core;

namespace AfaNative.Engine.Files;

/// <summary>
/// A claim on an output that only one process at a time may write: a run's folder, a model, a log. It is a lock of the operating
/// system on a file beside it, or in it, and dies with its process. Where the file system has no locks, a process
/// of the same machine is still seen, and <see cref="Warnings"/> says the rest.
/// </summary>
public sealed class OutputLock : IDisposable
{
    internal const string InsideName = ".afa-native.lock",
        HolderSuffix = ".holder";

    // What this flow of control holds already: who holds a run may write its model.
    private static readonly AsyncLocal<ImmutableHashSet<string>> s_held = new();

    private readonly string? _path;
    private readonly string _key;
    private readonly IReadOnlyList<string> _created;
    private FileStream? _stream;

    private OutputLock(
        string key,
        string? path,
        FileStream? stream,
        IReadOnlyList<string> created,
        IReadOnlyList<string> warnings
    ) => (_key, _path, _stream, _created, Warnings) = (key, path, stream, created, warnings);

    /// <summary>What could not be made sure.</summary>
    public IReadOnlyList<string> Warnings { get; }

    /// <summary>Claims a folder that this run keeps writing in; it is created where it is not there.</summary>
    /// <exception cref="AfaException">Another process holds it; the message says which and since when. Or it cannot be
    /// created.</exception>
    public static OutputLock TakeFolder(string folder)
    {
        string full = RealPath.Of(folder);
        return Take(folder, full, () => Path.Combine(full, InsideName));
    }

    /// <summary>Claims a file or folder that is to be created.</summary>
    /// <exception cref="AfaException">Another process holds it; the message says which and since when. Or its folder cannot be
    /// created.</exception>
    public static OutputLock Take(string path)
    {
        string full = RealPath.Of(path);
        return Take(
            path,
            full,
            () =>
            {
                string parent = Path.GetDirectoryName(full) ?? full,
                    name = Path.GetFileName(full);
                // A mounted volume's parent may be read-only, and is not what others mount.
                if (Directory.Exists(full) && (WholeFolder.IsMountPoint(full) || !WholeFolder.CanCreateIn(parent)))
                    return Path.Combine(full, InsideName);
                return Path.Combine(parent, name.Length > 80 ? $".{Hash(name)}{InsideName}" : $".{name}{InsideName}");
            }
        );
    }

    /// <summary>Gives the claim back.</summary>
    public void Dispose()
    {
        if (_stream is null)
            return;
        s_held.Value = (s_held.Value ?? []).Remove(_key);
        try
        {
            // The names go while the lock is held: who opened the file before finds that it is not the one any more.
            File.Delete(_path + HolderSuffix);
            if (!OperatingSystem.IsWindows())
                File.Delete(_path!);
            _stream.Dispose();
            if (OperatingSystem.IsWindows())
                File.Delete(_path!);
            // Folders that nothing came into go again, innermost first.
            foreach (string folder in _created.Where(f => !Directory.EnumerateFileSystemEntries(f).Any()))
                Directory.Delete(folder);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // An empty file that stays is taken over by the next process.
            _stream.Dispose();
        }

        _stream = null;
    }

    private static OutputLock Take(string shown, string key, Func<string> place)
    {
        ImmutableHashSet<string> held = s_held.Value ?? [];
        if (held.Contains(key))
            return new OutputLock(key, null, null, [], []);
        try
        {
            string path = place();
            List<string> created = Create(Path.GetDirectoryName(path)!);
            FileStream stream = Open(shown, path);
            var warnings = new List<string>();
            try
            {
                if (!Works(path))
                {
                    if (
                        Holder(path) is { } other
                        && ProcessIdentity.IsRunning(other.Identity) == true
                        && other.Identity != ProcessIdentity.Current
                    )
                        throw Held(shown, other.Text);
                    warnings.Add(
                        $"{shown}: its file system has no locks: nothing keeps a second program from writing there at the "
                            + $"same time"
                    );
                }

                File.WriteAllText(path + HolderSuffix, $"{ProcessIdentity.Current}\n{Myself()}\n");
            }
            catch
            {
                stream.Dispose();
                throw;
            }

            s_held.Value = held.Add(key);
            return new OutputLock(key, path, stream, created, warnings);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new AfaException($"{shown}: it could not be claimed for writing: {WholeFile.Reason(e)}", e);
        }
    }

    // The folders that were not there, innermost first.
    private static List<string> Create(string folder)
    {
        var created = new List<string>();
        for (string? at = folder; at is not null && !Directory.Exists(at); at = Path.GetDirectoryName(at))
            created.Add(at);
        Directory.CreateDirectory(folder);
        return created;
    }

    private static FileStream Open(string shown, string path)
    {
        for (int attempt = 0; ; )
        {
            FileStream stream;
            try
            {
                stream = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, 1);
            }
            catch (IOException e) when (IsHeld(e))
            {
                // A holder says who it is a moment after it has the lock; one that is dead is just being swept away.
                (string Identity, string Text)? holder = Holder(path);
                if (++attempt > 20 || (holder is not null && ProcessIdentity.IsRunning(holder.Value.Identity) != false))
                    throw Held(shown, holder?.Text);
                Thread.Sleep(10);
                continue;
            }

            // The holder before may have removed the file between its opening and its locking: a length nobody else gives it
            // shows whether it still has its name.
            stream.SetLength(1 + System.Random.Shared.Next(1 << 20));
            if (new FileInfo(path) is { Exists: true } named && named.Length == stream.Length)
                return stream;
            stream.Dispose();
        }
    }

    /// <summary>Removes a lock that a dead process left; one that is held stays.</summary>
    internal static void Sweep(string path)
    {
        if (Holder(path) is not { } holder || ProcessIdentity.IsRunning(holder.Identity) != false)
            return;
        try
        {
            using var stream = new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.None, 1);
            File.Delete(path + HolderSuffix);
            if (!OperatingSystem.IsWindows())
                File.Delete(path);
        }
        catch (IOException e) when (IsHeld(e))
        {
            // Somebody has taken it over.
        }
    }

    // A second handle is refused by a lock that works, also in the same process.
    private static bool Works(string path)
    {
        try
        {
            using var second = new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.None, 1);
            return false;
        }
        catch (IOException e) when (IsHeld(e))
        {
            return true;
        }
    }

    private static (string Identity, string Text)? Holder(string path)
    {
        try
        {
            return File.ReadAllLines(path + HolderSuffix) is { Length: >= 2 } lines ? (lines[0], lines[1]) : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The lock counts; who holds it is only told.
            return null;
        }
    }

    private static AfaException Held(string shown, string? who) =>
        new($"{shown}: another program is writing there{(who is null ? "" : $" ({who})")}; nothing was written.");

    private static string Myself()
    {
        string[] words = Environment.GetCommandLineArgs();
        string command = string.Join(
            ' ',
            words
                .Skip(1)
                .TakeWhile(w => w.Length > 0 && char.IsAsciiLetter(w[0]) && w.All(c => char.IsAsciiLetterOrDigit(c) || c == '-'))
                .Take(2)
                .Prepend(Path.GetFileNameWithoutExtension(words[0]))
        );
        return string.Create(
            CultureInfo.InvariantCulture,
            $"{command}, process {Environment.ProcessId} on {Environment.MachineName}, since "
                + $"{DateTime.UtcNow:yyyy-MM-dd HH:mm:ss} UTC"
        );
    }

    // EWOULDBLOCK, or Windows' sharing violation.
    private static bool IsHeld(IOException e) =>
        OperatingSystem.IsWindows() ? (e.HResult & 0xFFFF) is 32 or 33 : e.HResult == (OperatingSystem.IsLinux() ? 11 : 35);

    private static string Hash(string name)
    {
        ulong hash = 14695981039346656037;
        foreach (char c in name)
            hash = (hash ^ c) * 1099511628211;
        return hash.ToString("x16", CultureInfo.InvariantCulture);
    }
}
