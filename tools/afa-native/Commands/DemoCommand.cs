using System.CommandLine;
using System.Globalization;
using AfaNative.Demo;
using AfaNative.Engine.Files;
using AfaNative.Engine.Imaging;
using AfaNative.Engine.Sampling.Samplers;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Tool.Commands;

/// <summary>
/// <c>afa-native demo</c>: the procedural world of coloured shapes, and an ensemble trained on it from nothing.
/// </summary>
internal static class DemoCommand
{
    public static Command Create() =>
        new("demo", "A small world of coloured shapes: look at it, or train an ensemble on it from nothing but seeds.")
        {
            Train(),
            Evaluate(),
            Scenes(),
        };

    private static Command Train()
    {
        var output = new Option<string>("--out", "-o")
        {
            Description = "Folder of the stages' results.",
            DefaultValueFactory = _ => "demo-run",
        };
        var stage = new Option<string?>("--stage")
        {
            Description = $"One stage ({string.Join(", ", DemoTraining.Stages)}) instead of all that are not done.",
        };
        var miniature = new Option<bool>("--miniature")
        {
            Description = "All of the chain in a minute or two, to see that it works: nothing is learnt.",
        };
        var experts = new Option<string?>("--experts")
        {
            Description =
                "Takes autoencoder and experts of this trained demo ensemble instead of training them: the aggregators "
                + "alone are trained, anew.",
        };
        var seed = new Option<ulong>("--seed", "-s") { Description = "Decides everything.", DefaultValueFactory = _ => 1 };
        Option<string> device = Devices.DeviceOption();
        Option<int> threads = Devices.ThreadsOption();
        var command = new Command(
            "train",
            "Trains the demo ensemble stage by stage: VAE, base, three experts, aggregators. A run that was stopped goes "
                + "on where it was."
        )
        {
            output,
            stage,
            experts,
            miniature,
            seed,
            device,
            threads,
        };
        command.SetAction(
            (r, cancellation) =>
                Task.Run(
                    () =>
                    {
                        using OutputLock held = Claims.Folder(r.GetValue(output)!);
                        using IDevice on = Devices.Open(r.GetValue(device)!, r.GetValue(threads), "f32");
                        var training = new DemoTraining(
                            on,
                            r.GetValue(output)!,
                            (r.GetValue(miniature) ? DemoOptions.Miniature : new DemoOptions()) with
                            {
                                Seed = r.GetValue(seed),
                            }
                        );
                        if (r.GetValue(experts) is { } adopted)
                            training.Adopt(adopted);
                        // Adopted experts leave the aggregators alone to train.
                        foreach (
                            string name in r.GetValue(stage) is { } one ? [one]
                            : r.GetValue(experts) is null ? DemoTraining.Stages
                            : ["sabw"]
                        )
                        {
                            if (training.IsDone(name))
                            {
                                Terminal.Note($"{name}: done already ({training.Result(name)})");
                                continue;
                            }

                            ProgressLine? preparing = null,
                                steps = null;
                            double mean = 0;
                            int first = 0;
                            training.Run(
                                name,
                                new DemoProgress(
                                    (done, of) => (preparing ??= new ProgressLine($"{name}: encoding", of)).Report(done),
                                    (step, of) =>
                                    {
                                        // A running mean over about a hundred updates.
                                        mean = mean == 0 ? step.Loss : mean + (step.Loss - mean) / Math.Min(step.Step, 100);
                                        if (steps is null)
                                            first = step.Step - 1;
                                        (steps ??= new ProgressLine($"{name}: update", of - first)).Report(
                                            step.Step - first,
                                            string.Create(CultureInfo.InvariantCulture, $"loss {mean:F5}")
                                        );
                                    }
                                ),
                                cancellation
                            );
                            Terminal.Result(training.Result(name));
                        }

                        return 0;
                    },
                    cancellation
                )
        );
        return command;
    }

    private static Command Evaluate()
    {
        var training = new Option<string>("--training")
        {
            Description = "Folder of demo train's results.",
            DefaultValueFactory = _ => "demo-run",
        };
        var output = new Option<string>("--out", "-o")
        {
            Description = "Folder for verdicts and the report; a run that was stopped goes on.",
            DefaultValueFactory = _ => "demo-results",
        };
        var defaults = new DemoEvaluationOptions { Training = "" };
        var mixed = new Option<int>("--prompts")
        {
            Description = "Prompts that mix two families of shapes.",
            DefaultValueFactory = _ => defaults.MixedPrompts,
        }.Within(1, 1000000);
        var family = new Option<int>("--family-prompts")
        {
            Description = "Prompts of each family alone.",
            DefaultValueFactory = _ => defaults.FamilyPrompts,
        }.Within(0, 1000000);
        var seeds = new Option<int>("--seeds")
        {
            Description = "Pictures of every prompt.",
            DefaultValueFactory = _ => defaults.Seeds,
        }.Within(1, 1000000);
        var steps = new Option<int>("--steps")
        {
            Description = "Sampling steps.",
            DefaultValueFactory = _ => defaults.Steps,
        }.Within(1, Limits.Steps);
        var sampler = new Option<string>("--sampler")
        {
            Description = "How noise becomes a picture, for every method (afa-native samplers lists them).",
            DefaultValueFactory = _ => defaults.Sampler.Id,
        };
        var guidance = new Option<float>("--guidance", "--cfg-scale")
        {
            Description = "Classifier-free guidance.",
            DefaultValueFactory = _ => defaults.Guidance,
        }.Within(0, Limits.Guidance);
        var trials = new Option<int>("--trials")
        {
            Description = "Merged models that autoMBW scores.",
            DefaultValueFactory = _ => defaults.Trials,
        }.Within(1, 1000000);
        var method = new Option<string[]>("--method")
        {
            Description = "Only this method of the comparison; may be given several times. What is there already stays.",
        };
        method.AcceptOnlyFromAmong([.. DemoEvaluation.Methods]);
        Option<string> device = Devices.DeviceOption();
        Option<int> threads = Devices.ThreadsOption();
        var command = new Command(
            "evaluate",
            "Compares experts, merges, fused noise and AFA on held-out prompts, judged exactly."
        )
        {
            training,
            output,
            mixed,
            family,
            seeds,
            steps,
            sampler,
            guidance,
            trials,
            method,
            device,
            threads,
        };
        command.SetAction(
            (r, cancellation) =>
                Task.Run(
                    () =>
                    {
                        using IDevice on = Devices.Open(r.GetValue(device)!, r.GetValue(threads), "f32");
                        var options = new DemoEvaluationOptions
                        {
                            Training = r.GetValue(training)!,
                            MixedPrompts = r.GetValue(mixed),
                            FamilyPrompts = r.GetValue(family),
                            Seeds = r.GetValue(seeds),
                            Steps = r.GetValue(steps),
                            Sampler = SamplerChoice.Find(r.GetValue(sampler)!),
                            Guidance = r.GetValue(guidance),
                            Trials = r.GetValue(trials),
                            Only = r.GetValue(method) is { Length: > 0 } chosen ? chosen : DemoEvaluation.Methods,
                        };
                        string results = r.GetValue(output)!;
                        using OutputLock held = Claims.Folder(results);
                        ProgressLine? line = null;
                        string last = "";
                        var evaluation = new DemoEvaluation(on, options, results);
                        if (!evaluation.HasBase)
                            Terminal.Note($"{options.Training} has no base: it is left out of the comparison");
                        IReadOnlyList<DemoVerdict> verdicts = evaluation.Run(
                            (what, done, of) =>
                            {
                                if (what != last)
                                    (last, line) = (what, new ProgressLine(what, of));
                                line!.Report(done);
                            },
                            cancellation
                        );
                        foreach (string warning in evaluation.Warnings)
                            Terminal.Warn(warning);
                        string report = DemoReport.Page(options, verdicts, evaluation.Errors);
                        DemoCharts.Write(verdicts, results);
                        WholeFile.WriteText(Path.Combine(results, "report.md"), report);
                        Terminal.Result(report);
                        return 0;
                    },
                    cancellation
                )
        );
        return command;
    }

    private static Command Scenes()
    {
        var output = new Option<string>("--out", "-o")
        {
            Description = "Folder for pictures and captions.",
            DefaultValueFactory = _ => "demo-scenes",
        };
        var count = new Option<int>("--count", "-n") { Description = "Pictures.", DefaultValueFactory = _ => 16 }.Within(
            1,
            Limits.Count
        );
        var size = new Option<int>("--size")
        {
            Description = "Edge in pixels.",
            DefaultValueFactory = _ => new DemoOptions().Size,
        }.Within(16, 2048);
        var mixed = new Option<bool>("--mixed") { Description = "Only two objects of different families." }.Within(1, 1000000);
        var seed = new Option<ulong>("--seed", "-s") { Description = "Decides the scenes." };
        var command = new Command("scenes", "Draws scenes of the demo world with their captions, as train takes them.")
        {
            output,
            count,
            size,
            mixed,
            seed,
        };
        command.SetAction(r =>
        {
            int n = r.GetValue(count),
                edge = r.GetValue(size);
            string folder = r.GetValue(output)!;
            Directory.CreateDirectory(folder);
            for (int i = 0; i < n; i++)
            {
                Scene scene = SceneSampler.Draw(
                    r.GetValue(mixed) ? SceneDistribution.Mixed : SceneDistribution.All,
                    r.GetValue(seed),
                    (ulong)i
                );
                string path = Path.Combine(folder, i.ToString("D5", CultureInfo.InvariantCulture));
                PictureNames.WriteSame(path + ".png", RgbImage.FromFloat(SceneRenderer.Render(scene, edge), edge, edge));
                PictureNames.WriteSame(path + ".txt", SceneGrammar.Describe(scene, r.GetValue(seed), (ulong)i) + "\n");
            }

            Terminal.Result(folder);
            return 0;
        });
        return command;
    }
}
