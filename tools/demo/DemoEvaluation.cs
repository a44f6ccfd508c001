using System.Globalization;
using System.Text.Json;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Files;
using AfaNative.Engine.Models;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Sampling.Samplers;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Demo;

/// <summary>What is compared, and on how much.</summary>
public sealed record DemoEvaluationOptions
{
    /// <summary>Folder of <see cref="DemoTraining"/>'s results.</summary>
    public required string Training { get; init; }

    /// <summary>Prompts that mix two families.</summary>
    public int MixedPrompts { get; init; } = 300;

    /// <summary>Prompts of each family alone.</summary>
    public int FamilyPrompts { get; init; } = 50;

    /// <summary>Pictures of every prompt.</summary>
    public int Seeds { get; init; } = 2;

    /// <summary>Sampling steps.</summary>
    public int Steps { get; init; } = 20;

    /// <summary>How noise becomes a picture, for every method.</summary>
    public SamplerChoice Sampler { get; init; } = SamplerChoice.Default;

    /// <summary>Classifier-free guidance.</summary>
    public float Guidance { get; init; } = 4;

    /// <summary>Edge of a picture.</summary>
    public int Size { get; init; } = new DemoOptions().Size;

    /// <summary>Other mixed prompts that merges are chosen on.</summary>
    public int ValidationPrompts { get; init; } = 64;

    /// <summary>Merged models that autoMBW scores.</summary>
    public int Trials { get; init; } = 40;

    /// <summary>The methods that draw; of the others only what is there already is shown.</summary>
    public IReadOnlyList<string> Only { get; init; } = DemoEvaluation.Methods;

    /// <summary>Held-out scenes for the denoising error; 0 leaves it out.</summary>
    public int ErrorScenes { get; init; } = 128;

    /// <summary>Decides prompts and pictures; no scene of the training has it.</summary>
    public ulong Seed { get; init; } = 4000;
}

/// <summary>One picture's verdict.</summary>
/// <param name="Method">Who drew it.</param>
/// <param name="Class">mixed, or family-0 to family-2.</param>
/// <param name="Prompt">Which prompt of the class.</param>
/// <param name="Seed">Which picture of the prompt.</param>
/// <param name="Correct">All as asked.</param>
/// <param name="Objects">Share of the objects asked for.</param>
public sealed record DemoVerdict(string Method, string Class, int Prompt, int Seed, bool Correct, double Objects);

/// <summary>
/// The paper's comparison on a world where pictures can be judged exactly: each expert, static merges (equal weights, block
/// weights by preset and by search), fused noise (mean and MagicFusion), AFA
/// untrained and trained, and trained AFA at half the steps. All draw the same prompts from the same noise. Every verdict is a
/// line of JSON as soon as it exists; a run cut off goes on.
/// </summary>
public sealed class DemoEvaluation(IDevice device, DemoEvaluationOptions options, string results)
{
    private const int Batch = 32;

    /// <summary>In the order they are run.</summary>
    public static IReadOnlyList<string> Methods { get; } =
    [
        "expert 0",
        "expert 1",
        "expert 2",
        "base",
        "weighted merge",
        "MBW",
        "autoMBW",
        "noise mean",
        "MagicFusion",
        "AFA untrained",
        "AFA",
        "AFA, half the steps",
    ];

    /// <summary>Classes of prompts.</summary>
    public static IReadOnlyList<string> Classes { get; } =
    ["mixed", .. Enumerable.Range(0, Scene.Families).Select(f => $"family-{f}")];

    private string Stage(string name) => Path.Combine(options.Training, name);

    // They draw with the predictions of another line of the table.
    private static readonly string[] s_noError = ["MagicFusion", "AFA, half the steps"];

    private string Log => Path.Combine(results, "verdicts.jsonl");

    private string ErrorLog => Path.Combine(results, "errors.jsonl");

    /// <summary>Denoising errors measured so far.</summary>
    public IReadOnlyList<DemoError> Errors => [.. JsonLines.Read(ErrorLog, Entry<DemoError>).Entries.Select(e => e.Value)];

    /// <summary>Lines of the logs that are left out, as a last one that was cut off; what they told is done again.</summary>
    public IReadOnlyList<string> Warnings => _warnings;

    private readonly List<string> _warnings = [];

    /// <summary>
    /// The base is among the results: aggregators trained on adopted experts (<see cref="DemoTraining.Adopt"/>) have none, and it
    /// is left out.
    /// </summary>
    public bool HasBase => Directory.Exists(Stage("base"));

    /// <summary>The prompts of a class.</summary>
    public string[] Prompts(string @class)
    {
        bool mixed = @class == "mixed";
        SceneDistribution distribution = mixed
            ? SceneDistribution.Mixed
            : SceneDistribution.OfFamily(@class[^1] - '0') with
            {
                TwoObjects = 0.5,
            };
        ulong seed = options.Seed + (ulong)Classes.ToList().IndexOf(@class);
        return
        [
            .. Enumerable
                .Range(0, mixed ? options.MixedPrompts : options.FamilyPrompts)
                .Select(i => SceneGrammar.Describe(SceneSampler.Draw(distribution, seed, (ulong)i), seed, (ulong)i)),
        ];
    }

    /// <summary>Runs what is not in the log yet and returns all verdicts.</summary>
    public IReadOnlyList<DemoVerdict> Run(Action<string, int, int>? progress = null, CancellationToken cancellation = default)
    {
        string[] missing = [.. DemoTraining.Stages.Append("average").Where(s => s != "base" && !Directory.Exists(Stage(s)))];
        if (missing.Length > 0)
            throw new AfaException(
                $"{options.Training}: the results of demo train were expected there; {string.Join(", ", missing)} "
                    + $"{(missing.Length == 1 ? "is" : "are")} missing."
            );
        using OutputLock held = OutputLock.TakeFolder(results);
        List<DemoVerdict> verdicts = Repaired<DemoVerdict>(Log, _ => true);
        // A method is measured on all scenes or not at all.
        Dictionary<string, int> scenes = Errors.GroupBy(e => e.Method).ToDictionary(g => g.Key, g => g.Count());
        List<DemoError> known = Repaired<DemoError>(ErrorLog, e => scenes[e.Method] >= options.ErrorScenes);
        foreach (string method in Methods.Where(m => options.Only.Contains(m) && (m != "base" || HasBase)))
        {
            var done = verdicts.Where(v => v.Method == method).Select(v => (v.Class, v.Prompt, v.Seed)).ToHashSet();
            (string Class, int Prompt, string Text, int Seed)[] open =
            [
                .. Classes
                    .SelectMany(c =>
                        Prompts(c).SelectMany((text, i) => Enumerable.Range(0, options.Seeds).Select(s => (c, i, text, s)))
                    )
                    .Where(p => !done.Contains((p.c, p.i, p.s))),
            ];
            bool measured = options.ErrorScenes == 0 || s_noError.Contains(method) || known.Any(e => e.Method == method);
            if (open.Length == 0 && measured)
                continue;
            using Drawer drawer = Open(method, progress, cancellation);
            if (!measured)
            {
                double[] errors = DemoDenoising.Measure(
                    drawer.Model,
                    options.Size,
                    options.ErrorScenes,
                    options.Seed + 900,
                    cancellation
                );
                JsonLines.Append(ErrorLog, errors.Select((e, i) => JsonSerializer.Serialize(new DemoError(method, i, e))));
            }

            for (int at = 0; at < open.Length; at += Batch)
            {
                (string Class, int Prompt, string Text, int Seed)[] part = open[at..Math.Min(open.Length, at + Batch)];
                DemoVerdict[] came =
                [
                    .. Judge(
                            drawer,
                            [.. part.Select(p => p.Text)],
                            [.. part.Select(p => Noise(p.Class, p.Prompt, p.Seed))],
                            cancellation
                        )
                        .Select(
                            (v, i) => new DemoVerdict(method, part[i].Class, part[i].Prompt, part[i].Seed, v.Correct, v.Objects)
                        ),
                ];
                JsonLines.Append(Log, came.Select(v => JsonSerializer.Serialize(v)));
                verdicts.AddRange(came);
                progress?.Invoke(method, at + part.Length, open.Length);
            }
        }

        return verdicts;
    }

    // The noise of a picture depends on prompt and number alone: methods are compared picture by picture.
    private ulong Noise(string @class, int prompt, int seed) =>
        options.Seed * 1_000_003 + (ulong)Classes.ToList().IndexOf(@class) * 100_000 + (ulong)prompt * 16 + (ulong)seed;

    private List<T> Repaired<T>(string path, Func<T, bool> keep)
    {
        JsonLog<T> log = JsonLines.Read(path, Entry<T>);
        _warnings.AddRange(log.Damage);
        JsonLine<T>[] kept = [.. log.Entries.Where(e => keep(e.Value))];
        if (log.Damage.Count > 0 || kept.Length < log.Entries.Count)
            JsonLines.Rewrite(path, kept.Select(e => e.Text));
        return [.. kept.Select(e => e.Value)];
    }

    private static T Entry<T>(JsonElement entry) => entry.Deserialize<T>() ?? throw new FormatException();

    private IEnumerable<SceneVerdict> Judge(Drawer drawer, string[] prompts, ulong[] seeds, CancellationToken cancellation)
    {
        var generation = new GenerationOptions
        {
            Prompt = "",
            Prompts = prompts,
            Seeds = seeds,
            Width = options.Size,
            Height = options.Size,
            Steps = drawer.Steps,
            Sampler = options.Sampler,
            GuidanceScale = options.Guidance,
            Fusion = drawer.Fusion,
        };
        IReadOnlyList<float[]> pictures = new TextToImagePipeline(drawer.Model).Generate(generation, null, cancellation);
        return pictures.Select((p, i) => SceneScorer.Judge(p, options.Size, SceneGrammar.Parse(prompts[i])));
    }

    private Drawer Open(string method, Action<string, int, int>? progress, CancellationToken cancellation)
    {
        string trained = Stage("sabw");
        EnsembleFolder apart = EnsembleFolder.Open(trained).WithoutAggregators();
        return method switch
        {
            "base" => new Drawer(DiffusionModel.Load(device, Stage("base")), options.Steps),
            "weighted merge" => Merged(Weights([1, 1, 1])),
            "MBW" => Merged(BestPreset(progress, cancellation)),
            "autoMBW" => Merged(Searched(progress, cancellation)),
            "noise mean" => new Drawer(DiffusionModel.Load(device, apart), options.Steps, FusionMode.Mean),
            "MagicFusion" => new Drawer(DiffusionModel.Load(device, apart), options.Steps, FusionMode.Magic),
            "AFA untrained" => new Drawer(DiffusionModel.Load(device, Stage("average")), options.Steps),
            "AFA" => new Drawer(DiffusionModel.Load(device, trained), options.Steps),
            "AFA, half the steps" => new Drawer(DiffusionModel.Load(device, trained), Math.Max(1, options.Steps / 2)),
            _ => new Drawer(DiffusionModel.Load(device, trained, expert: method[^1] - '0'), options.Steps),
        };
    }

    private static double[][] Weights(double[] shares) =>
        [.. shares.Select(s => Enumerable.Repeat(s / shares.Sum(), BlockWeights.Count).ToArray())];

    private Drawer Merged(double[][] blocks)
    {
        DiffusionModel model = DiffusionModel.Load(device, Stage("expert-0"));
        Checkpoint[] unets = Experts();
        try
        {
            (UNetModel unet, MergedParameters parameters) = ModelMerge.LoadUNet(device, unets, model.Ensemble.Config, blocks);
            model.Replace(unet);
            return new Drawer(model, options.Steps) { Owned = parameters };
        }
        finally
        {
            foreach (Checkpoint unet in unets)
                unet.Dispose();
        }
    }

    private Checkpoint[] Experts() =>
        [
            .. Enumerable
                .Range(0, Scene.Families)
                .Select(n => Checkpoint.Open(Path.Combine(Stage($"expert-{n}"), "unet"), "diffusion_pytorch_model")),
        ];

    // Every way to give three curves over the blocks to three experts; the best on prompts that are not evaluated.
    private double[][] BestPreset(Action<string, int, int>? progress, CancellationToken cancellation)
    {
        double[] up = BlockWeights.Parse("linear-up"),
            down = BlockWeights.Parse("linear-down"),
            middle = BlockWeights.Parse("a");
        double[][][] candidates =
        [
            .. (
                (int[][])
                    [
                        [0, 1, 2],
                        [0, 2, 1],
                        [1, 0, 2],
                        [1, 2, 0],
                        [2, 0, 1],
                        [2, 1, 0],
                    ]
            ).Select(order =>
            {
                double[][] curves = [up, down, middle],
                    chosen = [.. order.Select(o => (double[])curves[o].Clone())];
                for (int k = 0; k < BlockWeights.Count; k++)
                {
                    double sum = chosen.Sum(c => c[k]);
                    foreach (double[] c in chosen)
                        c[k] /= sum;
                }

                return chosen;
            }),
        ];
        int done = 0;
        return candidates.MaxBy(c =>
        {
            double score = Validate(c, cancellation);
            progress?.Invoke("MBW: choosing", ++done, candidates.Length);
            return score;
        })!;
    }

    private double[][] Searched(Action<string, int, int>? progress, CancellationToken cancellation)
    {
        var search = new BlockWeightSearchOptions
        {
            Models = Scene.Families,
            Trials = options.Trials,
            Seed = options.Seed,
            Subject = string.Create(
                CultureInfo.InvariantCulture,
                $"{options.ValidationPrompts} mixed prompts of seed {options.Seed}"
            ),
        };
        return BlockWeightSearch
            .Run(
                search,
                b => Validate(b, cancellation),
                Path.Combine(results, "autombw.jsonl"),
                t => progress?.Invoke("autoMBW: searching", t.Trial + 1, options.Trials),
                cancellation,
                _warnings.Add
            )
            .Blocks;
    }

    private double Validate(double[][] blocks, CancellationToken cancellation)
    {
        ulong seed = options.Seed + 500;
        string[] prompts =
        [
            .. Enumerable
                .Range(0, options.ValidationPrompts)
                .Select(i => SceneGrammar.Describe(SceneSampler.Draw(SceneDistribution.Mixed, seed, (ulong)i), seed, (ulong)i)),
        ];
        using Drawer drawer = Merged(blocks);
        double sum = 0;
        for (int at = 0; at < prompts.Length; at += Batch)
        {
            string[] part = prompts[at..Math.Min(prompts.Length, at + Batch)];
            sum += Judge(drawer, part, [.. part.Select((_, i) => seed * 1_000_003 + (ulong)(at + i))], cancellation)
                .Sum(v => (v.Correct ? 1 : 0) + v.Objects);
        }

        return sum / prompts.Length;
    }

    private sealed record Drawer(DiffusionModel Model, int Steps, FusionMode Fusion = FusionMode.Afa) : IDisposable
    {
        public IDisposable? Owned { get; init; }

        public void Dispose()
        {
            Model.Dispose();
            Owned?.Dispose();
        }
    }
}
