using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Files;
using AfaNative.Engine.Training;
using AfaNative.Kernels.Devices.Cpu;
using Xunit;

namespace AfaNative.Tests.Training;

/// <summary>What a run may replace, and what not.</summary>
public sealed class TrainingRunTests(TinyTraining tiny) : IClassFixture<TinyTraining>, IDisposable
{
    private static readonly TrainingOptions s_options = new()
    {
        Steps = 1,
        Size = 64,
        Holdout = 0,
        Seed = 5,
    };
    private readonly TemporaryFolder _folder = new();
    private readonly CpuDevice _device = new(1);

    public void Dispose()
    {
        _device.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public void A_model_is_replaced_by_the_run_that_wrote_it_as_long_as_it_is_that()
    {
        string run = _folder.File("run"),
            aggregator = Path.Combine(run, "model", "aggregator_0", "aggregator.safetensors");
        Train(run, 1);
        byte[] first = File.ReadAllBytes(aggregator);
        Train(run, 2);
        Assert.NotEqual(first, File.ReadAllBytes(aggregator));
        Assert.Empty(Directory.EnumerateFileSystemEntries(run, ".afa-native*"));

        // As after a kill between taking the old model away and putting the new one there.
        string[] self = ProcessIdentity.Current.Split('-');
        string old = Path.Combine(run, $".afa-native-{self[0]}-1{self[1]}-{self[2]}-0123456789abcdef.model.old");
        Directory.Move(Path.Combine(run, "model"), old);
        Train(run, 3);
        Assert.False(Directory.Exists(old));

        File.WriteAllText(Path.Combine(run, "model", "notes.txt"), "mine");
        Assert.Contains("changed since", Assert.Throws<AfaException>(() => Train(run, 4)).Message);
        Assert.Equal("mine", File.ReadAllText(Path.Combine(run, "model", "notes.txt")));
    }

    [Fact]
    public void A_model_somebody_put_there_stays()
    {
        string run = _folder.File("run"),
            mine = Path.Combine(run, "model", "mine.safetensors");
        Directory.CreateDirectory(Path.Combine(run, "model"));
        File.WriteAllText(mine, "mine");
        Assert.Contains("did not write it", Assert.Throws<AfaException>(() => Train(run, 1)).Message);
        Assert.Equal("mine", File.ReadAllText(mine));
        Assert.False(Directory.Exists(Path.Combine(run, "checkpoints")));
    }

    [Fact]
    public void A_model_and_a_run_that_lie_in_each_other_are_refused()
    {
        if (OperatingSystem.IsWindows())
            Assert.Skip("links need rights there");
        string run = _folder.File("run"),
            model = Path.Combine(run, "model");
        Directory.CreateDirectory(run);
        CopyTree(tiny.Model, model);
        File.CreateSymbolicLink(_folder.File("link"), "run");
        Assert.Contains("it lies in", Refused(model, run));
        Assert.Contains("it lies in", Refused(Path.Combine(_folder.File("link"), "model"), run));
        Assert.Contains("it lies in", Refused(model, _folder.File("link")));
        Assert.Contains("the model that is trained", Refused(model, Path.Combine(model, "run")));
        Assert.Contains("it lies in", Refused(model, model));
        // A model elsewhere whose parts are links into the run's.
        string linked = _folder.File("linked");
        Directory.CreateDirectory(linked);
        foreach (string part in Directory.EnumerateDirectories(model))
            File.CreateSymbolicLink(Path.Combine(linked, Path.GetFileName(part)), part);
        Assert.Contains("leads into", Refused(linked, run));
        TrainingRun.Check(EnsembleFolder.Open(model), _folder.File("runs"));

        static string Refused(string model, string run) =>
            Assert.Throws<AfaException>(() => TrainingRun.Check(EnsembleFolder.Open(model), run)).Message;
    }

    [Fact]
    public void A_copy_of_a_checkpoint_is_neither_gone_on_from_nor_removed()
    {
        string run = _folder.File("run"),
            copy = Path.Combine(run, "checkpoints", "step-00000001-good");
        Train(run, 1);
        CopyTree(Path.Combine(run, "checkpoints", "step-00000001"), copy);
        Train(run, 2, keep: 1);
        Assert.Equal(
            ["step-00000001-good", "step-00000002"],
            Directory.GetDirectories(Path.Combine(run, "checkpoints")).Select(Path.GetFileName).Order(StringComparer.Ordinal)
        );
        Assert.EndsWith("step-00000002", TrainingCheckpoint.Newest(run));
    }

    [Fact]
    public void A_damaged_log_is_gone_on_with_and_what_is_no_log_stays()
    {
        string run = _folder.File("run"),
            log = Path.Combine(run, "log.jsonl");
        Train(run, 1);
        string whole = File.ReadAllText(log);
        File.WriteAllText(log, "\0\0\n" + whole + "{\"kind\":\"st");
        IReadOnlyList<string> warnings = Train(run, 2);
        Assert.Equal(2, warnings.Count);
        Assert.Contains("line 1 is no entry", warnings[0]);
        Assert.Contains("was cut off", warnings[1]);
        Assert.Equal(2, File.ReadAllLines(log).Length);
        Assert.StartsWith(whole, File.ReadAllText(log));

        string other = _folder.File("other");
        Directory.CreateDirectory(other);
        File.WriteAllText(Path.Combine(other, "log.jsonl"), "my diary\nof many years\n");
        Assert.Contains("no log of a training run", Assert.Throws<AfaException>(() => Train(other, 1)).Message);
        Assert.Equal("my diary\nof many years\n", File.ReadAllText(Path.Combine(other, "log.jsonl")));
    }

    private IReadOnlyList<string> Train(string run, int steps, int keep = 3)
    {
        EnsembleFolder folder = EnsembleFolder.Open(tiny.Model);
        var cache = new LatentCache(_folder.File("cache"), folder, 64, 5);
        TrainingRecord[] records = [.. TrainingRecords.Find(tiny.Data).Take(2)];
        using var trainer = new AggregatorTrainer(
            _device,
            folder,
            cache.Encode(_device, records),
            cache.EncodeCaption(_device, ""),
            s_options with
            {
                Steps = steps,
                Keep = keep,
            },
            run
        );
        trainer.Resume();
        trainer.Train();
        return [.. trainer.Warnings.Where(w => w.Contains("log.jsonl", StringComparison.Ordinal))];
    }

    internal static void CopyTree(string from, string to)
    {
        Directory.CreateDirectory(to);
        foreach (string file in Directory.EnumerateFiles(from))
            File.Copy(file, Path.Combine(to, Path.GetFileName(file)));
        foreach (string folder in Directory.EnumerateDirectories(from))
            CopyTree(folder, Path.Combine(to, Path.GetFileName(folder)));
    }
}
