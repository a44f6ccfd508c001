using System.Text.Json.Nodes;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Models;
using AfaNative.Engine.Training;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Synthesis;
using AfaNative.Tests.Support;
using AfaNative.Tests.Tool;
using AfaNative.Verification;
using Xunit;

namespace AfaNative.Tests.Verification;

/// <summary>What verify compares, leaves out and says.</summary>
public sealed class VerifyTests
{
    private static string Compact => Path.Combine(AppContext.BaseDirectory, "goldens");

    [Fact]
    public void Steps_along_a_gradient_that_is_rounding_are_left_out_as_the_gradient_is()
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(2);
        // At width 32 every channel is a group of its own: the norm takes this bias away again, and its gradient is rounding.
        const string Noise = "aggregator_0.res_block.conv1.bias",
            Real = "aggregator_0.conv_out.weight";
        WriteTrainingCase(folder, device);
        Dictionary<string, float[]> after = Read(folder.File("weights_after_3_adamw.safetensors"));
        Dictionary<string, float[]> before = Read(Path.Combine(folder.Path, "model", "aggregator_0", "aggregator.safetensors"));

        // The other implementation's rounding has the other sign.
        Mirror(Noise);
        CaseResult result = CaseRunner.Run(folder.Path, device, gradients: true);
        Assert.True(result.Verdict == CaseVerdict.Passed, result.Detail);
        foreach (string name in new[] { "grad." + Noise, "after." + Noise })
        {
            TensorComparison left = Assert.Single(result.Tensors, t => t.Name == name);
            Assert.Equal(CaseVerdict.Skipped, left.Verdict);
            Assert.Contains("rounding", left.Detail);
        }

        Assert.Equal(CaseVerdict.Passed, Assert.Single(result.Tensors, t => t.Name == "after." + Real).Verdict);
        Assert.Equal(result.Comparisons, result.Tensors.Count(t => t.Verdict != CaseVerdict.Skipped));

        // A gradient that is none is no excuse.
        Mirror(Real);
        result = CaseRunner.Run(folder.Path, device, gradients: true);
        Assert.Equal(CaseVerdict.Failed, result.Verdict);
        Assert.Contains("after." + Real, result.Detail);

        void Mirror(string name)
        {
            float[] start = before[name["aggregator_0.".Length..]],
                end = after[name];
            for (int i = 0; i < end.Length; i++)
                end[i] = 2 * start[i] - end[i];
            Write(folder.File("weights_after_3_adamw.safetensors"), after);
        }
    }

    [Fact]
    public void Every_tensor_is_listed()
    {
        using var folder = new TemporaryFolder();
        (int code, string text, string error) = InProcess.Run(
            "verify",
            "--filter",
            "resnet_block",
            "--verbose",
            "--json",
            folder.File("result.json")
        );
        Assert.True(code == 0, error);
        JsonNode first = JsonNode.Parse(File.ReadAllText(folder.File("result.json")))!["cases"]![0]!;
        string[] names = [.. first["tensors"]!.AsArray().Select(t => (string)t!["name"]!)];
        Assert.True(names.Length > 5, string.Join(", ", names));
        Assert.Equal((int)first["comparisons"]!, names.Length);
        foreach (JsonNode? tensor in first["tensors"]!.AsArray())
        {
            Assert.Equal("passed", (string)tensor!["verdict"]!);
            Assert.True((double)tensor["max_rel"]! <= (double)tensor["tolerance"]!);
            Assert.NotNull(tensor["max_abs"]);
            Assert.Contains($"  {tensor["name"]} ", text);
        }

        Assert.Equal(["result.json"], Directory.GetFiles(folder.Path).Select(Path.GetFileName));
        Assert.DoesNotContain("out.y ", InProcess.Run("verify", "--filter", "resnet_block").Output);
    }

    [Fact]
    public void A_filter_that_matches_nothing_is_named()
    {
        (int code, string text, string error) = InProcess.Run("verify", "--filter", "no-such-case");
        Assert.Equal(1, code);
        Assert.Contains("--filter 'no-such-case' matches none of the 70 cases in", error);
        Assert.Equal("", text);
        using var folder = new TemporaryFolder();
        (code, _, error) = InProcess.Run("verify", "--cases", folder.Path);
        Assert.Equal(1, code);
        Assert.Contains("no folder in it holds a case.json", error);
    }

    [Theory]
    [InlineData("""{ "id": "x", "op": "act" }""", false, "tensors.safetensors")]
    [InlineData("""{ "id": "x", "op": "act" }""", true, "case.json has no 'params'")]
    [InlineData("""{ "id": "x", "op": "act", "params": 3 }""", true, "case.json has no 'fn'")]
    [InlineData("""{ "id": "x", "op": "act", "params": { "fn": 3 } }""", true, "not as a case of kind 'act' has them")]
    [InlineData("""{ "id": "x", "op": "scheduler" }""", true, "'scheduler' is missing")]
    [InlineData("""{ "id": "x", "op": "clip_tokenizer", "vocab": "nowhere" }""", true, "'nowhere' was not found")]
    [InlineData("""{ "id": "x", "op": "ldm_single_file" }""", true, "'file' is missing")]
    [InlineData("""{ "id": "x", "op": "ldm_key_mapping", "mapping": 3 }""", true, "not as a case of kind")]
    [InlineData("""{ "id": "x" }""", true, "'op' is missing")]
    [InlineData("""{ "id": 4, "op": "act" }""", true, "'id' should be a text")]
    [InlineData("[]", true, "expected a JSON object")]
    [InlineData("{", true, "not valid JSON")]
    public void An_odd_case_fails_with_one_sentence(string json, bool tensors, string expected)
    {
        using var folder = new TemporaryFolder();
        folder.Write("case.json", json);
        if (tensors)
            File.Copy(Path.Combine(Compact, "ops", "act_silu", "tensors.safetensors"), folder.File("tensors.safetensors"));
        using var device = new CpuDevice(1);
        CaseResult result = CaseRunner.Run(folder.Path, device, gradients: true);
        Assert.Equal(CaseVerdict.Failed, result.Verdict);
        Assert.Contains(expected, result.Detail);
        Assert.DoesNotContain("Exception", result.Detail);
        Assert.DoesNotContain('\n', result.Detail);
    }

    [Fact]
    public void Folders_of_cases_may_hold_links_that_lead_back()
    {
        if (OperatingSystem.IsWindows())
            Assert.Skip("links need rights there");
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder.File("a"));
        folder.Write("a/case.json", "{}");
        Directory.CreateSymbolicLink(folder.File("a/back"), folder.Path);
        Directory.CreateSymbolicLink(folder.File("a/more"), folder.Path);
        Assert.Single(CaseRunner.Find(folder.Path));
    }

    // Three steps of this engine's own, as another implementation would record them.
    private static void WriteTrainingCase(TemporaryFolder folder, CpuDevice device)
    {
        string path = Path.Combine(folder.Path, "model");
        TinyModels.Write(path, new SyntheticOptions { Experts = 2, Seed = 3 });
        EnsembleFolder model = EnsembleFolder.Open(path);
        UNetConfig config = UNetConfig.Load(model.UNets[0]);
        float[] sample = Numbers(1, 4 * 64),
            target = Numbers(2, 4 * 64),
            text = Numbers(3, 2 * 7 * config.CrossAttentionDim);
        (UNetModel unet, CheckpointParameters frozen) = DiffusionModel.ReadComponent(
            device,
            model.UNets,
            p => new UNetModel(p, config)
        );
        using (frozen)
        {
            using TrainedAggregators trained = TrainedAggregators.Load(device, model.Aggregators);
            var optimizer = new Optimizer(new AdamW(), [.. trained.Parameters.Select(p => p.Parameter)]);
            var ensemble = new AfaEnsemble(unet, trained.Aggregators);
            var losses = new JsonArray();
            var gradients = new Dictionary<string, float[]>();
            for (int step = 0; step < 4; step++)
            {
                var ops = new Ops(device);
                using var tape = new Tape(device, trained.Parameters.Select(p => p.Parameter));
                using TensorScope scope = ops.Scope();
                Tensor latents = ops.UploadNchw(sample, new Shape(1, 1, 8, 8, 4));
                Tensor context = ops.Upload(text, new Shape(2, 1, 7, 1, config.CrossAttentionDim));
                ops.Tape = tape;
                Tensor predicted = ensemble.Predict(ops, latents, [500f], new Conditioning(context));
                ops.Tape = null;
                float[] noise = ops.DownloadNchw(predicted);
                losses.Add(Losses.MeanSquaredError(noise, target));
                if (step == 0)
                    Write(
                        folder.File("io.safetensors"),
                        new()
                        {
                            ["0.out.noise_pred"] = noise,
                            ["0.in.sample"] = sample,
                            ["0.in.target"] = target,
                            ["0.in.timestep"] = [500f],
                            ["0.in.ctx"] = text,
                        },
                        config
                    );
                if (step == 3)
                    break;
                trained.ZeroGradients();
                tape.Backward((predicted, ops.UploadNchw(Losses.MeanSquaredErrorGradient(noise, target, 1), predicted.Shape)));
                if (step == 0)
                    foreach ((string name, Parameter p) in trained.Parameters)
                        gradients[name] = [.. p.Gradient];
                optimizer.Step();
            }

            Write(folder.File("grads.safetensors"), gradients);
            Write(
                folder.File("weights_after_3_adamw.safetensors"),
                trained.Parameters.ToDictionary(p => p.Name, p => p.Parameter.Values)
            );
            JsonNode rule = JsonNode.Parse("""{ "lr": 1e-4, "weight_decay": 0.01, "betas": [0.9, 0.999], "eps": 1e-8 }""")!;
            folder.Write(
                "case.json",
                new JsonObject
                {
                    ["id"] = "trained",
                    ["op"] = "afa",
                    ["training"] = new JsonObject { ["adamw"] = rule, ["losses_before_step_1_2_3_and_after"] = losses },
                }.ToJsonString()
            );
        }
    }

    private static float[] Numbers(ulong seed, int count)
    {
        var values = new float[count];
        AfaNative.Kernels.Random.GaussianNoise.Fill(values, seed, 0);
        return values;
    }

    private static Dictionary<string, float[]> Read(string path)
    {
        using SafetensorsFile file = SafetensorsFile.Open(path);
        return file.Tensors.Keys.ToDictionary(k => k, file.ReadFloat32);
    }

    private static void Write(string path, Dictionary<string, float[]> tensors, UNetConfig? config = null) =>
        SafetensorsWriter.Write(
            path,
            [
                .. tensors.Select(t =>
                    TensorEntry.FromFloat32(
                        t.Key,
                        t.Value.Length == 1 || config is null ? [t.Value.Length]
                            : t.Key.EndsWith("ctx", StringComparison.Ordinal) ? [2, 1, 7, config.CrossAttentionDim]
                            : [1, 4, 8, 8],
                        t.Value
                    )
                ),
            ]
        );
}
