using System.Text.Json.Nodes;
using AfaNative.Demo;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Sampling;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Tests.Tool;
using AfaNative.Tool.Commands;
using Xunit;

namespace AfaNative.Tests.Ensemble;

/// <summary>
/// What is written loads elsewhere: every configuration says what the weights and the other configurations say.
/// </summary>
public sealed class FolderConsistencyTests(TinyEnsemble tiny) : IClassFixture<TinyEnsemble>, IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void What_synth_writes_and_the_shipped_ensemble_fit()
    {
        Assert.Empty(FolderConsistency.Problems(tiny.Path));
        Assert.Empty(FolderConsistency.Problems(ModelDefaults.DemoFolder));
        Assert.Contains(
            "\"model_max_length\": 20",
            File.ReadAllText(Path.Combine(ModelDefaults.DemoFolder, "tokenizer", "tokenizer_config.json"))
        );
    }

    [Theory]
    [InlineData("tokenizer/tokenizer_config.json", "model_max_length", 20, "77 positions")]
    [InlineData("tokenizer/tokenizer_config.json", "model_max_length", 1e30, "any number of tokens")]
    [InlineData("text_encoder/config.json", "max_position_embeddings", 20, "20 positions")]
    [InlineData("text_encoder/config.json", "vocab_size", 2000, "knows 2014 tokens, text_encoder has 2000")]
    [InlineData("text_encoder/config.json", "vocab_size", 3000, "additional_text_encoder_0 has another architecture")]
    [InlineData("text_encoder/config.json", "hidden_size", 64, "64 wide")]
    [InlineData("text_encoder/config.json", "num_attention_heads", 5, "does not divide 32")]
    [InlineData("text_encoder/config.json", "eos_token_id", 49407, "states 49407 as eos_token_id, the tokenizer has 2013")]
    [InlineData("text_encoder/config.json", "bos_token_id", 49406, "states 49406 as bos_token_id, the tokenizer has 2012")]
    [InlineData("text_encoder/config.json", "pad_token_id", 7, "states 7 as pad_token_id")]
    [InlineData(
        "additional_text_encoder_0/config.json",
        "intermediate_size",
        128,
        "additional_text_encoder_0 has another architecture"
    )]
    [InlineData("unet/config.json", "cross_attention_dim", 64, "expects 64")]
    [InlineData("unet/config.json", "in_channels", 8, "4 latent channels")]
    [InlineData("unet/config.json", "out_channels", 8, "8 out_channels")]
    [InlineData("unet/config.json", "sample_size", 0, "'sample_size' is 0")]
    [InlineData("unet/config.json", "norm_num_groups", 7, "does not divide")]
    [InlineData("unet/config.json", "layers_per_block", 3, "aggregation points")]
    [InlineData("additional_unet_1/config.json", "attention_head_dim", 8, "additional_unet_1 has another architecture")]
    [InlineData("vae/config.json", "latent_channels", 8, "8 latent channels")]
    [InlineData("vae/config.json", "layers_per_block", 1, "tensors do not match")]
    [InlineData("scheduler/scheduler_config.json", "prediction_type", "flow", "prediction_type")]
    [InlineData("aggregator_3/config.json", "in_channels", 31, "aggregator_3 states 31 as in_channels")]
    [InlineData("aggregator_0/config.json", "num_experts", 2, "aggregator_0 states 2 as num_experts")]
    [InlineData("aggregator_0/config.json", "cross_attn_dim", 768, "cross_attn_dim")]
    [InlineData("aggregator_0/config.json", "temb_channels", 1280, "temb_channels")]
    [InlineData("aggregator_0/config.json", "num_attn_heads", 5, "num_attn_heads")]
    [InlineData("aggregator_24/config.json", "hidden_size", 64, "tensors do not match")]
    [InlineData("model_config.json", "num_aggregators", 24, "announces 3 models and 24 aggregators")]
    [InlineData("model_config.json", "num_models", null, "does not state 'num_models'")]
    [InlineData("model_index.json", "safety_checker", "part", "names safety_checker, which is not in the folder")]
    public void Every_part_that_does_not_fit_is_named(string file, string key, object? value, string expected)
    {
        string copy = Copy();
        Change(
            Path.Combine(copy, file),
            json =>
            {
                if (value is null)
                    json.Remove(key);
                else
                    json[key] = value switch
                    {
                        "part" => new JsonArray("stable_diffusion", "StableDiffusionSafetyChecker"),
                        string s => s,
                        int i => i,
                        double d => (JsonNode)d,
                        _ => throw new ArgumentException(null, nameof(value)),
                    };
            }
        );
        Assert.Contains(FolderConsistency.Problems(copy), p => p.Contains(expected, StringComparison.Ordinal));
        string message = Assert.Throws<CheckpointException>(() => FolderConsistency.Require(copy, "OUT")).Message;
        Assert.StartsWith("OUT: it would not load elsewhere", message);
        Assert.DoesNotContain(copy, message);
    }

    [Fact]
    public void Ids_that_transformers_always_wrote_are_no_fault()
    {
        string copy = Copy();
        Change(
            Path.Combine(copy, "text_encoder", "config.json"),
            json => (json["bos_token_id"], json["eos_token_id"], json["pad_token_id"]) = (0, 2, 1)
        );
        Assert.Empty(FolderConsistency.Problems(copy));
    }

    [Fact]
    public void A_base_that_says_otherwise_is_put_right_in_what_is_made_of_it_and_absent_parts_are_marked()
    {
        string copy = Copy(),
            output = _folder.File("ensemble");
        Change(Path.Combine(copy, "tokenizer", "tokenizer_config.json"), json => json["model_max_length"] = 20);
        Change(
            Path.Combine(copy, "model_index.json"),
            json =>
                (json["safety_checker"], json["requires_safety_checker"]) = (
                    new JsonArray("stable_diffusion", "StableDiffusionSafetyChecker"),
                    true
                )
        );
        EnsembleBuilder.Create(
            output,
            new EnsembleOptions
            {
                Base = copy,
                Experts = [copy, copy],
                HiddenSize = 64,
                Layers = 1,
            }
        );
        Assert.Empty(FolderConsistency.Problems(output));
        JsonNode tokenizer = JsonNode.Parse(File.ReadAllText(Path.Combine(output, "tokenizer", "tokenizer_config.json")))!,
            index = JsonNode.Parse(File.ReadAllText(Path.Combine(output, "model_index.json")))!;
        Assert.Equal(77, (int)tokenizer["model_max_length"]!);
        Assert.Equal("CLIPTokenizer", (string)tokenizer["tokenizer_class"]!);
        Assert.Null(index["safety_checker"]![0]);
        Assert.False((bool)index["requires_safety_checker"]!);
        // What cannot be put right is refused, and nothing is left.
        Change(Path.Combine(copy, "text_encoder", "config.json"), json => json["eos_token_id"] = 49407);
        Assert.Contains(
            "eos_token_id",
            Assert
                .Throws<CheckpointException>(() =>
                    EnsembleBuilder.Create(_folder.File("no"), new EnsembleOptions { Base = copy, Experts = [copy, copy] })
                )
                .Message
        );
        Assert.Contains(
            "eos_token_id",
            Assert
                .Throws<CheckpointException>(() =>
                    ModelMerge.Write(_folder.File("merged"), MergeOptions.Weighted([copy, copy], [1, 1]))
                )
                .Message
        );
        Assert.DoesNotContain(
            Directory.EnumerateFileSystemEntries(_folder.Path),
            e =>
                Path.GetFileName(e).StartsWith("no", StringComparison.Ordinal)
                || Path.GetFileName(e).StartsWith("merged", StringComparison.Ordinal)
        );
    }

    [Theory]
    [InlineData(32, "takes 64 or more, not 32")]
    [InlineData(0, "from 64 on, not 0")]
    [InlineData(100, "multiple of 32 from 64 on, not 100")]
    public void Aggregators_that_cannot_see_the_time_step_are_refused(int width, string expected)
    {
        Assert.Contains(
            expected,
            Assert
                .Throws<AfaException>(() =>
                    EnsembleBuilder.Create(
                        _folder.File("out"),
                        new EnsembleOptions
                        {
                            Base = tiny.Path,
                            Experts = [tiny.Path, tiny.Path],
                            HiddenSize = width,
                            Heads = 4,
                        }
                    )
                )
                .Message
        );
        Assert.False(Directory.Exists(_folder.File("out")));
    }

    [Fact]
    public void Narrow_aggregators_that_are_there_are_warned_about()
    {
        using var device = new CpuDevice(1);
        using (DiffusionModel model = DiffusionModel.Load(device, tiny.Path))
            Assert.Contains("25 aggregators are 32 wide", Assert.Single(model.Warnings));
        using (DiffusionModel model = DiffusionModel.Load(device, tiny.Path, expert: 1))
            Assert.Empty(model.Warnings);
        Assert.Empty(
            AggregatorWidth.Warnings([
                new SabwConfig
                {
                    InChannels = 4,
                    NumExperts = 2,
                    HiddenSize = 64,
                },
            ])
        );
    }

    [Fact]
    public void What_the_authors_loader_does_not_look_at_is_said()
    {
        Assert.Empty(AuthorsLoader.Notes(SchedulerConfig.StableDiffusion));
        Assert.Contains(
            "will not sample there (prediction_type is v_prediction",
            Assert.Single(
                AuthorsLoader.Notes(SchedulerConfig.StableDiffusion with { PredictionType = PredictionType.VPrediction })
            )
        );
        Assert.Contains(
            "betas run from 0.00085 to 0.02",
            Assert.Single(AuthorsLoader.Notes(SchedulerConfig.StableDiffusion with { BetaEnd = 0.02 }))
        );
        Assert.Contains(
            "a little otherwise",
            Assert.Single(AuthorsLoader.Notes(SchedulerConfig.StableDiffusion with { ClipSample = true }))
        );
        Assert.Contains("does not read `scheduler/`", DemoCard.Text(new DemoOptions()));
        string model = Copy();
        Change(Path.Combine(model, "scheduler", "scheduler_config.json"), json => json["prediction_type"] = "v_prediction");
        (int code, _, string error) = InProcess.Run(
            "ensemble",
            "create",
            _folder.File("v"),
            "--base",
            model,
            "--expert",
            model,
            model,
            "--hidden-size",
            "64",
            "--layers",
            "1"
        );
        Assert.True(code == 0, error);
        Assert.Contains("this ensemble will not sample there", error.ReplaceLineEndings(" "));
        Assert.Contains("will not sample there", InProcess.Run("ensemble", "info", _folder.File("v")).Error);
        Assert.Contains("cannot see the time step", InProcess.Run("ensemble", "info", tiny.Path).Error);
    }

    [Fact]
    public void Sizes_left_out_are_the_models_own()
    {
        Assert.Equal(128, NativeSize.Of(EnsembleFolder.Open(tiny.Path)));
        string copy = Copy();
        Change(Path.Combine(copy, "unet", "config.json"), json => json["sample_size"] = 8);
        Assert.Equal(64, NativeSize.Of(EnsembleFolder.Open(copy)));
        Change(Path.Combine(copy, "unet", "config.json"), json => json["sample_size"] = 1 << 30);
        Assert.Contains(
            "sample_size",
            Assert.Throws<CheckpointException>(() => NativeSize.Of(EnsembleFolder.Open(copy))).Message
        );
    }

    // Configurations copied, weights by link.
    private string Copy()
    {
        string to = _folder.File("copy");
        foreach (string file in Directory.EnumerateFiles(tiny.Path, "*", SearchOption.AllDirectories))
        {
            string target = Path.Combine(to, Path.GetRelativePath(tiny.Path, file));
            Directory.CreateDirectory(Path.GetDirectoryName(target)!);
            if (file.EndsWith(".safetensors", StringComparison.Ordinal))
                File.CreateSymbolicLink(target, file);
            else
                File.Copy(file, target);
        }

        return to;
    }

    private static void Change(string path, Action<JsonObject> change)
    {
        JsonObject json = JsonNode.Parse(File.ReadAllText(path))!.AsObject();
        change(json);
        File.WriteAllText(path, json.ToJsonString());
    }
}
