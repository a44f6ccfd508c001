using System.Diagnostics;
using System.Text.Json;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Imaging;
using AfaNative.Engine.Training;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Kernels.Gpu;
using AfaNative.Tests.Ensemble;
using AfaNative.Tests.Support;
using AfaNative.Tests.Tool;
using Xunit;

namespace AfaNative.Tests.Training;

/// <summary>
/// A tiny ensemble with zero-initialised aggregators and a folder of generated pictures, made once for all tests, which only read
/// them.
/// </summary>
public sealed class TinyTraining : IDisposable
{
    private static readonly SharedFolder s_folder = new(Write);

    public string Model => Path.Combine(s_folder.Path, "model");

    public string Data => Path.Combine(s_folder.Path, "data");

    /// <summary>Fails where a test of the class wrote into them.</summary>
    public void Dispose() => s_folder.CheckUntouched();

    private static void Write(string folder)
    {
        using var tiny = new TinyEnsemble();
        string model = Path.Combine(folder, "model"),
            data = Path.Combine(folder, "data");
        SharedFolder.Copy(tiny.Path, model);
        foreach (string aggregator in Directory.EnumerateDirectories(model, "aggregator_*"))
        {
            string path = Path.Combine(aggregator, "aggregator.safetensors");
            List<TensorEntry> entries = [];
            using (SafetensorsFile file = SafetensorsFile.Open(path))
            {
                foreach ((string name, SafetensorsTensor tensor) in file.Tensors)
                {
                    float[] values = file.ReadFloat32(name);
                    if (name == "conv_out.weight")
                        Array.Clear(values);
                    entries.Add(TensorEntry.FromFloat32(name, [.. tensor.Shape], values));
                }
            }

            SafetensorsWriter.Write(path, entries);
        }

        Directory.CreateDirectory(data);
        (string Name, byte R, byte G, byte B)[] colors =
        [
            ("red", 220, 40, 40),
            ("green", 40, 200, 60),
            ("blue", 40, 60, 220),
            ("yellow", 230, 220, 50),
        ];
        for (int i = 0; i < 16; i++)
        {
            (string name, byte r, byte g, byte b) = colors[i % 4];
            var image = RgbImage.Filled(70, 64, (230, 230, 230));
            image.FillRectangle(8 + i, 10 + i, 30, 28, (r, g, b));
            PngFile.Write(Path.Combine(data, $"{i:D2}.png"), image, null);
            File.WriteAllText(Path.Combine(data, $"{i:D2}.txt"), $"a {name} square");
        }
    }
}

public sealed class TrainerTests(TinyTraining tiny) : IClassFixture<TinyTraining>
{
    private static TrainingOptions Options =>
        new()
        {
            Steps = 200,
            Size = 64,
            LearningRate = 2e-3,
            Holdout = 4,
            EvaluateEvery = 200,
            SaveEvery = 1000,
            Seed = 5,
        };

    [Fact]
    public void Two_hundred_updates_fall_clearly_below_the_average_of_the_experts()
    {
        using var folder = new TemporaryFolder();
        var evaluations = new List<TrainingEvaluation>();
        var steps = new List<TrainingUpdate>();
        using (var device = new CpuDevice(2))
        using (AggregatorTrainer trainer = Trainer(device, folder.File("run"), Options))
            trainer.Train(steps.Add, evaluations.Add);
        Assert.Equal(200, steps.Count);
        Assert.Equal([0, 200], evaluations.Select(e => e.Step));
        // Zero-initialised aggregators average: every weight is 1/N, and a held-out loss is what averaging gives.
        Assert.All(evaluations[0].Weights, w => Assert.All(w, x => Assert.Equal(1 / 3.0, x, 1e-6)));
        Assert.True(
            evaluations[1].Loss < 0.97 * evaluations[0].Loss,
            $"held-out loss {evaluations[0].Loss:F4} became {evaluations[1].Loss:F4}"
        );
        Assert.True(evaluations[1].FromUniform.Max() > 0.01);

        // What was trained samples, and the log says what happened.
        string[] log = File.ReadAllLines(Path.Combine(folder.File("run"), "log.jsonl"));
        Assert.Equal(202, log.Length);
        using (JsonDocument last = JsonDocument.Parse(log[^1]))
            Assert.Equal("evaluation", last.RootElement.GetProperty("kind").GetString());
        TrainingReport.Write(folder.File("run"), folder.File("report.html"));
        string page = File.ReadAllText(folder.File("report.html"));
        Assert.Contains("200 updates", page);
        Assert.Contains("expert 2", page);
        Assert.Equal(5, page.Split("<svg").Length);
        Assert.DoesNotContain("http", page);
        Assert.Equal(25, page.Split("<tr><td>").Length - 1);
        Assert.Equal(0xE3069283u, TensorBoardWriter.Crc("123456789"u8));
        Assert.Single(Directory.GetFiles(Path.Combine(folder.File("run"), "tensorboard")));
        using var cpu = new CpuDevice(2);
        using DiffusionModel model = DiffusionModel.Load(cpu, Path.Combine(folder.File("run"), "model"));
        Assert.Equal(25, model.Ensemble.AggregationPoints);
    }

    [Fact]
    public void A_killed_run_goes_on_to_the_same_bytes()
    {
        using var folder = new TemporaryFolder();
        string whole = folder.File("whole"),
            killed = folder.File("killed");
        Assert.Equal(0, InProcess.Run(Arguments(whole)).Code);
        for (int attempt = 0; attempt < (Slow.IsAskedFor ? 4 : 1); attempt++)
        {
            // SIGKILL somewhere between two checkpoints: nothing of the program gets to say goodbye.
            int after = (Slow.IsAskedFor ? 3 : 6) + System.Random.Shared.Next(3);
            RunUntilKilled(after, [.. Arguments(killed), .. attempt > 0 ? new[] { "--resume" } : []]);
        }

        (int code, _, string error) = InProcess.Run([.. Arguments(killed), "--resume"]);
        Assert.True(code == 0, error);
        Assert.Equal(Bytes(whole), Bytes(killed));
        Assert.Equal(File.ReadAllLines(Path.Combine(whole, "log.jsonl")), File.ReadAllLines(Path.Combine(killed, "log.jsonl")));
        string[] kept = [.. Directory.GetDirectories(Path.Combine(killed, "checkpoints")).Order(StringComparer.Ordinal)];
        Assert.Equal(["step-00000012", "step-00000014"], kept.Select(Path.GetFileName));
        // The model has the running means, the checkpoint both.
        byte[] model = File.ReadAllBytes(Path.Combine(killed, "model", "aggregator_3", "aggregator.safetensors"));
        Assert.Equal(File.ReadAllBytes(Path.Combine(kept[1], "aggregator_3", "mean.safetensors")), model);
        Assert.NotEqual(File.ReadAllBytes(Path.Combine(kept[1], "aggregator_3", "aggregator.safetensors")), model);

        string[] Arguments(string run) =>
            [
                "train",
                tiny.Model,
                "--data",
                tiny.Data,
                "--out",
                run,
                "--steps",
                "14",
                "--size",
                "64",
                "--save-every",
                "4",
                "--keep",
                "2",
                "--evaluate-every",
                "6",
                "--holdout",
                "2",
                "--batch-size",
                "2",
                "--text-dropout",
                "0.5",
                "--ema",
                "0.9",
            ];

        static Dictionary<string, string> Bytes(string run) =>
            Directory
                .GetFiles(Path.Combine(run, "model"), "aggregator.safetensors", SearchOption.AllDirectories)
                .Where(f => f.Contains("aggregator_", StringComparison.Ordinal))
                .ToDictionary(
                    f => Path.GetRelativePath(run, f),
                    f => Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(File.ReadAllBytes(f)))
                );
    }

    [Fact]
    public void Threads_change_nothing_and_recomputing_only_rounding()
    {
        using var folder = new TemporaryFolder();
        double[][] losses =
        [
            .. new[] { (1, false), (2, false), (2, true) }.Select(
                (how, i) =>
                {
                    var steps = new List<TrainingUpdate>();
                    using var device = new CpuDevice(how.Item1);
                    using AggregatorTrainer trainer = Trainer(
                        device,
                        folder.File($"run{i}"),
                        Options with
                        {
                            Steps = 4,
                            Recompute = how.Item2,
                            BatchSize = 2,
                            Holdout = 0,
                        }
                    );
                    trainer.Train(steps.Add);
                    return steps.Select(s => s.Loss + s.GradientNorm).ToArray();
                }
            ),
        ];
        Assert.Equal(losses[0], losses[1]);
        // Without a tape ops are fused (an activation with its product), which rounds once less.
        Assert.All(losses[0].Zip(losses[2]), pair => Assert.Equal(pair.First, pair.Second, 1e-5));
    }

    [Fact]
    public void Accumulated_halves_are_the_whole_batch()
    {
        // Gradients of two passes of one picture, averaged, against one pass of both: the same pictures, but other noise streams,
        // so only the bookkeeping is compared.
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(2);
        using AggregatorTrainer trainer = Trainer(
            device,
            folder.File("run"),
            Options with
            {
                Steps = 2,
                Accumulate = 3,
                Holdout = 0,
            }
        );
        var steps = new List<TrainingUpdate>();
        trainer.Train(steps.Add);
        Assert.Equal([1, 2], steps.Select(s => s.Step));
        Assert.All(steps, s => Assert.InRange(s.Loss, 0.01, 10));
    }

    [Fact]
    public void Records_of_every_form_are_found_and_broken_pictures_named()
    {
        using var folder = new TemporaryFolder();
        string images = folder.File("images");
        Directory.CreateDirectory(images);
        File.Copy(Path.Combine(tiny.Data, "00.png"), Path.Combine(images, "a.png"));
        File.WriteAllText(Path.Combine(images, "broken.png"), "this is no picture");
        string authors = folder.File("records.json");
        File.WriteAllText(
            authors,
            """[{"image_file": "images/a.png", "text": "one"}"""
                + """, {"image_file": "images/broken.png", "text": "two"}, {"image_file": "images/gone.png", "text": "three"}]"""
        );
        File.WriteAllText(Path.Combine(images, "metadata.jsonl"), "{\"file_name\": \"a.png\", \"text\": \"one\"}\n\n");
        Assert.Equal([new TrainingRecord(Path.Combine(images, "a.png"), "one")], TrainingRecords.Find(images));
        Assert.Equal(16, TrainingRecords.Find(tiny.Data).Count);
        IReadOnlyList<TrainingRecord> records = TrainingRecords.Find(authors);
        Assert.Equal(3, records.Count);

        using var device = new CpuDevice(1);
        var cache = new LatentCache(folder.File("cache"), EnsembleFolder.Open(tiny.Model), 64, 1);
        Assert.Single(cache.Encode(device, records));
        Assert.Equal(["broken.png", "gone.png"], cache.Skipped.Select(s => Path.GetFileName(s.Image)));
        DateTime written = File.GetLastWriteTimeUtc(cache.Encode(device, records)[0].Latents);
        Assert.Equal(written, File.GetLastWriteTimeUtc(cache.Encode(device, records)[0].Latents));

        File.WriteAllText(authors, """[{"image_file": "a.png"}]""");
        Assert.Contains("record 1", Assert.Throws<AfaException>(() => TrainingRecords.Find(authors)).Message);
        Assert.Contains(
            "no training data",
            Assert.Throws<AfaException>(() => TrainingRecords.Find(folder.File("cache"))).Message
        );
    }

    [Fact]
    public void Crops_have_the_size_asked_for_and_depend_on_the_seed()
    {
        byte[] wide = File.ReadAllBytes(Path.Combine(tiny.Data, "03.png"));
        float[] a = TrainingPicture.Crop(wide, 32, 1);
        Assert.Equal(32 * 32 * 3, a.Length);
        Assert.All(a, v => Assert.InRange(v, -1f, 1f));
        Assert.Equal(a, TrainingPicture.Crop(wide, 32, 1));
        Assert.Contains(Enumerable.Range(2, 20), seed => !a.SequenceEqual(TrainingPicture.Crop(wide, 32, (ulong)seed)));
    }

    [Fact]
    public void Resuming_with_other_options_is_refused()
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        using (AggregatorTrainer trainer = Trainer(device, folder.File("run"), Options with { Steps = 1, Holdout = 0 }))
            trainer.Train();
        using AggregatorTrainer other = Trainer(
            device,
            folder.File("run"),
            Options with
            {
                Steps = 2,
                Holdout = 0,
                LearningRate = 1e-5,
            }
        );
        Assert.Contains("other options", Assert.Throws<AfaException>(() => other.Resume()).Message);
        using AggregatorTrainer longer = Trainer(device, folder.File("run"), Options with { Steps = 2, Holdout = 0 });
        Assert.True(longer.Resume());
        Assert.Equal(1, longer.Steps);
    }

    [Theory]
    [InlineData(LearningRateSchedule.Constant, 0, 0, 1)]
    [InlineData(LearningRateSchedule.Constant, 3, 0, 0.25)]
    [InlineData(LearningRateSchedule.Linear, 0, 50, 0.5)]
    [InlineData(LearningRateSchedule.Cosine, 0, 50, 0.5)]
    [InlineData(LearningRateSchedule.Cosine, 0, 25, 0.853553)]
    [InlineData(LearningRateSchedule.Linear, 20, 60, 0.5)]
    public void Schedules(LearningRateSchedule schedule, int warmup, int step, double expected) =>
        Assert.Equal(
            expected,
            new TrainingOptions
            {
                Steps = 100,
                Schedule = schedule,
                WarmupSteps = warmup,
            }.RateAt(step),
            1e-6
        );

    private AggregatorTrainer Trainer(IDevice device, string run, TrainingOptions options)
    {
        EnsembleFolder folder = EnsembleFolder.Open(tiny.Model);
        var cache = new LatentCache(Path.Combine(Path.GetDirectoryName(run)!, "cache"), folder, options.Size, options.Seed);
        return new AggregatorTrainer(
            device,
            folder,
            cache.Encode(device, TrainingRecords.Find(tiny.Data)),
            cache.EncodeCaption(device, ""),
            options,
            run
        );
    }

    // As soon as the log has that many lines more.
    private static void RunUntilKilled(int lines, string[] arguments)
    {
        string log = Path.Combine(arguments[Array.IndexOf(arguments, "--out") + 1], "log.jsonl");
        int before = File.Exists(log) ? CountLines(log) : 0;
        using Process process = Process.Start(
            new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, "afa-native.dll"), .. arguments])
            {
                RedirectStandardError = true,
                RedirectStandardOutput = true,
            }
        )!;
        Task<string> error = process.StandardError.ReadToEndAsync(),
            text = process.StandardOutput.ReadToEndAsync();
        var watch = Stopwatch.StartNew();
        while (!process.WaitForExit(10) && watch.Elapsed.TotalSeconds < 240)
        {
            if (File.Exists(log) && CountLines(log) >= before + lines)
                process.Kill();
        }

        Assert.True(process.HasExited, "nothing was written in four minutes");
        Assert.True(process.ExitCode is 0 or 137, error.Result + text.Result);
    }

    private static int CountLines(string path)
    {
        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        using var reader = new StreamReader(stream);
        int lines = 0;
        while (reader.ReadLine() is not null)
            lines++;
        return lines;
    }
}
