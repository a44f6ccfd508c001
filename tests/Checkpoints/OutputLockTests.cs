using System.Globalization;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;
using Xunit;

namespace AfaNative.Tests.Checkpoints;

/// <summary>Claims on outputs within one process; <see cref="Tool.DataSafetyTests"/> has those of several.</summary>
public sealed class OutputLockTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Another_flow_of_control_is_refused_the_same_one_is_not_and_nothing_stays()
    {
        string path = _folder.File("a/b/out");
        using (OutputLock held = OutputLock.Take(path))
        {
            Assert.Empty(held.Warnings);
            using (OutputLock again = OutputLock.Take(path))
                Assert.Empty(again.Warnings);
            string message = Elsewhere(() => OutputLock.Take(path).Dispose())!;
            Assert.Contains("another program is writing there (", message);
            Assert.Contains(string.Create(CultureInfo.InvariantCulture, $"process {Environment.ProcessId} on "), message);
            Assert.Contains(" since 20", message);
            Assert.Null(Elsewhere(() => OutputLock.Take(_folder.File("a/b/other")).Dispose()));
        }

        Assert.Null(Elsewhere(() => OutputLock.Take(path).Dispose()));
        Assert.Empty(Directory.EnumerateFileSystemEntries(_folder.Path));
    }

    [Fact]
    public void A_link_and_what_it_leads_to_are_one()
    {
        if (OperatingSystem.IsWindows())
            Assert.Skip("links need rights there");
        Directory.CreateDirectory(_folder.File("run"));
        File.CreateSymbolicLink(_folder.File("link"), "run");
        using OutputLock held = OutputLock.TakeFolder(_folder.File("link"));
        Assert.NotNull(Elsewhere(() => OutputLock.TakeFolder(_folder.File("run")).Dispose()));
    }

    [Fact]
    public void What_a_dead_holder_left_is_taken_over()
    {
        File.WriteAllText(_folder.File(".out.afa-native.lock"), "left");
        File.WriteAllText(_folder.File(".out.afa-native.lock.holder"), "12-34-56\nsomebody long gone\n");
        using (OutputLock held = OutputLock.Take(_folder.File("out")))
            Assert.Contains(
                "process " + Environment.ProcessId.ToString(CultureInfo.InvariantCulture),
                File.ReadAllText(_folder.File(".out.afa-native.lock.holder"))
            );
        Assert.Empty(Directory.EnumerateFileSystemEntries(_folder.Path));
    }

    [Fact]
    public void Of_many_one_at_a_time_holds_it()
    {
        int inside = 0,
            most = 0,
            got = 0;
        var threads = Enumerable
            .Range(0, 8)
            .Select(_ => new Thread(() =>
            {
                for (int i = 0; i < 40; i++)
                {
                    try
                    {
                        using OutputLock held = OutputLock.Take(_folder.File("out"));
                        int now = Interlocked.Increment(ref inside);
                        InterlockedMax(ref most, now);
                        Interlocked.Increment(ref got);
                        Thread.Yield();
                        Interlocked.Decrement(ref inside);
                    }
                    catch (AfaException)
                    {
                        // Another thread has it.
                    }
                }
            }))
            .ToArray();
        foreach (Thread thread in threads)
            thread.Start();
        foreach (Thread thread in threads)
            thread.Join();
        Assert.Equal(1, most);
        Assert.True(got >= 8);
    }

    private static void InterlockedMax(ref int target, int value)
    {
        for (int seen = target; value > seen && Interlocked.CompareExchange(ref target, value, seen) != seen; )
            seen = target;
    }

    // What a program apart from this one is told, or null.
    private static string? Elsewhere(Action action)
    {
        string? message = null;
        var thread = new Thread(() =>
        {
            try
            {
                action();
            }
            catch (AfaException e)
            {
                message = e.Message;
            }
        });
        using (ExecutionContext.SuppressFlow())
            thread.Start();
        thread.Join();
        return message;
    }
}
