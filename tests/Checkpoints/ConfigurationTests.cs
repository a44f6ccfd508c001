using System.Text.Json.Nodes;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Models;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Kernels.Devices.Planning;
using AfaNative.Synthesis;
using AfaNative.Tests.Support;
using Xunit;

namespace AfaNative.Tests.Checkpoints;

/// <summary>
/// Configurations with values no network has: one sentence with file and key, before memory is taken. What is not acted on is
/// said.
/// </summary>
public sealed class ConfigurationTests(ConfigurationTests.Model model) : IClassFixture<ConfigurationTests.Model>
{
    private const string UNet = "unet/config.json",
        Vae = "vae/config.json",
        Text = "text_encoder/config.json",
        Aggregator = "aggregator_0/config.json",
        Whole = "model_config.json";

    [Theory]
    [InlineData(UNet, "attention_head_dim", "0")]
    [InlineData(UNet, "attention_head_dim", "[8, 0, 8, 8]")]
    [InlineData(UNet, "attention_head_dim", "5")]
    [InlineData(UNet, "attention_head_dim", "[4, 4]")]
    [InlineData(UNet, "num_attention_heads", "-3")]
    [InlineData(UNet, "norm_num_groups", "0")]
    [InlineData(UNet, "norm_num_groups", "7")]
    [InlineData(UNet, "norm_num_groups", "-8")]
    [InlineData(UNet, "in_channels", "0")]
    [InlineData(UNet, "out_channels", "2147483647")]
    [InlineData(UNet, "in_channels", "2147483648")]
    [InlineData(UNet, "block_out_channels", "[32, 64, 64, 2147483616]")]
    [InlineData(UNet, "block_out_channels", "[]")]
    [InlineData(UNet, "block_out_channels", "[0, 64, 64, 64]")]
    [InlineData(UNet, "block_out_channels", "\"wide\"")]
    [InlineData(UNet, "layers_per_block", "2000000000")]
    [InlineData(UNet, "layers_per_block", "0")]
    [InlineData(UNet, "cross_attention_dim", "-1")]
    [InlineData(UNet, "cross_attention_dim", "2000000000")]
    [InlineData(UNet, "transformer_layers_per_block", "1000000")]
    [InlineData(UNet, "norm_eps", "-1")]
    [InlineData(UNet, "norm_eps", "1e999")]
    [InlineData(UNet, "sample_size", "-64")]
    [InlineData(UNet, "act_fn", "\"gelu\"")]
    [InlineData(UNet, "class_embed_type", "\"timestep\"")]
    [InlineData(UNet, "addition_embed_type", "\"text_time\"")]
    [InlineData(UNet, "time_cond_proj_dim", "256")]
    [InlineData(UNet, "mid_block_type", "\"UNetMidBlock2D\"")]
    [InlineData(UNet, "resnet_time_scale_shift", "\"scale_shift\"")]
    [InlineData(UNet, "flip_sin_to_cos", "false")]
    [InlineData(UNet, "freq_shift", "1")]
    [InlineData(UNet, "center_input_sample", "true")]
    [InlineData(UNet, "only_cross_attention", "[true, false, false, false]")]
    [InlineData(UNet, "conv_in_kernel", "5")]
    [InlineData(UNet, "attention_type", "\"gated\"")]
    [InlineData(UNet, "timestep_post_act", "\"silu\"")]
    [InlineData(UNet, "down_block_types", "[\"AttnDownBlock2D\", \"DownBlock2D\", \"DownBlock2D\", \"DownBlock2D\"]")]
    [InlineData(Vae, "norm_num_groups", "0")]
    [InlineData(Vae, "norm_num_groups", "5")]
    [InlineData(Vae, "latent_channels", "-4")]
    [InlineData(Vae, "latent_channels", "1000000000")]
    [InlineData(Vae, "block_out_channels", "[8, 8, 8, 8, 8, 8, 8, 8, 8]")]
    [InlineData(Vae, "layers_per_block", "99999999")]
    [InlineData(Vae, "scaling_factor", "0")]
    [InlineData(Vae, "scaling_factor", "1e400")]
    [InlineData(Vae, "scaling_factor", "\"nan\"")]
    [InlineData(Vae, "in_channels", "4")]
    [InlineData(Vae, "out_channels", "6")]
    [InlineData(Vae, "use_quant_conv", "false")]
    [InlineData(Vae, "shift_factor", "0.1159")]
    [InlineData(Vae, "latents_mean", "[0.1, 0.2, 0.3, 0.4]")]
    [InlineData(Vae, "mid_block_add_attention", "false")]
    [InlineData(Vae, "up_block_types", "[\"UpDecoderBlock2D\"]")]
    [InlineData(Text, "num_attention_heads", "0")]
    [InlineData(Text, "num_attention_heads", "5")]
    [InlineData(Text, "vocab_size", "2147483647")]
    [InlineData(Text, "vocab_size", "0")]
    [InlineData(Text, "hidden_size", "-32")]
    [InlineData(Text, "num_hidden_layers", "1000000000")]
    [InlineData(Text, "max_position_embeddings", "0")]
    [InlineData(Text, "max_position_embeddings", "2000000000")]
    [InlineData(Text, "intermediate_size", "0")]
    [InlineData(Text, "layer_norm_eps", "0")]
    [InlineData(Text, "eos_token_id", "-1")]
    [InlineData(Text, "eos_token_id", "[1, 2]")]
    [InlineData(Text, "hidden_act", "\"relu\"")]
    [InlineData(Text, "hidden_act", "null123")]
    [InlineData(Text, "model_type", "\"t5\"")]
    [InlineData(Aggregator, "num_attn_heads", "0")]
    [InlineData(Aggregator, "num_attn_heads", "7")]
    [InlineData(Aggregator, "hidden_size", "2147483616")]
    [InlineData(Aggregator, "hidden_size", "48")]
    [InlineData(Aggregator, "num_layers", "-1")]
    [InlineData(Aggregator, "num_layers", "1000000000")]
    [InlineData(Aggregator, "num_experts", "0")]
    [InlineData(Aggregator, "in_channels", "1.5")]
    [InlineData(Aggregator, "cross_attn_dim", "0")]
    [InlineData(Whole, "num_models", "\"two\"")]
    [InlineData(Whole, "num_models", "7")]
    [InlineData(Whole, "num_aggregators", "-1")]
    public void Absurd_values_are_named(string file, string key, string value)
    {
        long before = GC.GetTotalAllocatedBytes();
        string message = With(
            file,
            json => json.Insert(json.LastIndexOf('}'), $", \"{key}\": {value}\n"),
            key,
            () => Assert.Throws<CheckpointException>(Load).Message
        );
        Assert.StartsWith(
            Path.Combine(model.Path, file.Replace('/', Path.DirectorySeparatorChar)),
            message,
            StringComparison.Ordinal
        );
        if (value != "null123" && key is not "num_models" and not "num_aggregators")
            Assert.Contains($"'{key}'", message, StringComparison.Ordinal);
        Assert.True(GC.GetTotalAllocatedBytes() - before < 100 << 20);
    }

    [Theory]
    [InlineData(UNet, "attention_window", "7")]
    [InlineData(Vae, "temporal_compression", "4")]
    [InlineData(Text, "rope_theta", "10000")]
    [InlineData(Aggregator, "dropout_rate", "0.5")]
    [InlineData(Whole, "model_weights", "[1, 2]")]
    [InlineData(UNet, "_class_name", "\"UNetMotionModel\"")]
    [InlineData(Vae, "_class_name", "\"AsymmetricAutoencoderKL\"")]
    [InlineData("model_index.json", "controlnet", "[\"diffusers\", \"ControlNetModel\"]")]
    [InlineData("model_index.json", "_class_name", "\"StableDiffusionXLPipeline\"")]
    public void Unknown_keys_are_warned_of(string file, string key, string value) =>
        With(
            file,
            json => json.Insert(json.LastIndexOf('}'), $", \"{key}\": {value}\n"),
            key,
            () =>
            {
                using DiffusionModel loaded = Load();
                string warning = Assert.Single(
                    loaded.Warnings,
                    w => w.Contains(key == "_class_name" ? value.Trim('"') : $"'{key}'", StringComparison.Ordinal)
                );
                Assert.StartsWith(
                    Path.Combine(model.Path, file.Replace('/', Path.DirectorySeparatorChar)),
                    warning,
                    StringComparison.Ordinal
                );
                return "";
            }
        );

    [Fact]
    public void What_diffusers_and_transformers_write_is_known()
    {
        With(
            UNet,
            json =>
                json.Insert(
                    json.LastIndexOf('}'),
                    """
                    , "_diffusers_version": "0.42.1", "addition_embed_type": null, "addition_embed_type_num_heads": 64,
                    "addition_time_embed_dim": null, "attention_type": "default", "center_input_sample": false,
                    "class_embed_type": null, "class_embeddings_concat": false, "conv_in_kernel": 3, "conv_out_kernel": 3,
                    "cross_attention_norm": null, "downsample_padding": 1, "dropout": 0.0,
                    "dual_cross_attention": false, "encoder_hid_dim": null, "encoder_hid_dim_type": null,
                    "flip_sin_to_cos": true, "freq_shift": 0, "mid_block_only_cross_attention": null,
                    "mid_block_scale_factor": 1,
                    "mid_block_type": "UNetMidBlock2DCrossAttn", "num_attention_heads": null, "num_class_embeds": null,
                    "only_cross_attention": false, "projection_class_embeddings_input_dim": null,
                    "resnet_out_scale_factor": 1.0, "resnet_skip_time_act": false, "resnet_time_scale_shift": "default",
                    "reverse_transformer_layers_per_block": null, "time_cond_proj_dim": null,
                    "time_embedding_act_fn": null, "time_embedding_dim": null, "time_embedding_type": "positional",
                    "timestep_post_act": null, "transformer_layers_per_block": 1, "upcast_attention": false,
                    "use_linear_projection": false

                    """
                ),
            null,
            () =>
            {
                Assert.Empty(UNetConfig.Load(Path.Combine(model.Path, "unet")).Warnings);
                return "";
            }
        );
        With(
            Vae,
            json =>
                json.Insert(
                    json.LastIndexOf('}'),
                    """
                    , "_diffusers_version": "0.42.1", "force_upcast": true, "latents_mean": null, "latents_std": null,
                    "mid_block_add_attention": true, "sample_size": 512, "shift_factor": null,
                    "use_post_quant_conv": true, "use_quant_conv": true

                    """
                ),
            null,
            () =>
            {
                Assert.Empty(VaeConfig.Load(Path.Combine(model.Path, "vae")).Warnings);
                return "";
            }
        );
        With(
            Text,
            json =>
                json.Insert(
                    json.LastIndexOf('}'),
                    """
                    , "_name_or_path": "x", "attention_dropout": 0.0, "bos_token_id": 0, "dropout": 0.0,
                    "initializer_factor": 1.0, "initializer_range": 0.02, "model_type": "clip_text_model", "pad_token_id": 1,
                    "projection_dim": 768, "torch_dtype": "float16", "transformers_version": "4.33.0"

                    """
                ),
            null,
            () =>
            {
                Assert.Empty(ClipTextConfig.Load(Path.Combine(model.Path, "text_encoder")).Warnings);
                return "";
            }
        );
    }

    [Fact]
    public void A_whole_clips_configuration_has_the_text_halfs_in_it()
    {
        ClipTextConfig plain = ClipTextConfig.Load(Path.Combine(model.Path, "text_encoder"));
        With(
            Text,
            json =>
                $$"""{"architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": 768"""
                + $$""", "logit_scale_init_value": 2.6592, "vision_config": {"hidden_size": 1024}, "text_config": {{json}} }""",
            null,
            () =>
            {
                ClipTextConfig whole = ClipTextConfig.Load(Path.Combine(model.Path, "text_encoder"));
                Assert.Equal(System.Text.Json.JsonSerializer.Serialize(plain), System.Text.Json.JsonSerializer.Serialize(whole));
                Assert.Empty(whole.Warnings);
                return "";
            }
        );
    }

    [Theory]
    [InlineData("{\"act_fn\": \"\\ud800\"}")]
    [InlineData("{\"\\ud800\": 1}")]
    [InlineData("[1, 2]")]
    [InlineData("null")]
    [InlineData("")]
    [InlineData("{\"a\": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}")]
    [InlineData("{\"a\u001b[2J\": 1, \"block_out_channels\": [\"\u001b]0;x\u0007\"]}")]
    public void Broken_files_are_one_sentence(string text)
    {
        foreach (string file in (string[])[UNet, Vae, Text, Aggregator, Whole, "model_index.json"])
        {
            With(
                file,
                _ => text,
                null,
                () =>
                {
                    try
                    {
                        using DiffusionModel loaded = Load();
                        Assert.Contains(
                            "u001b",
                            text.Replace("\u001b", "u001b", StringComparison.Ordinal),
                            StringComparison.Ordinal
                        );
                    }
                    catch (CheckpointException e)
                    {
                        Assert.Contains(Path.GetFileName(file), e.Message, StringComparison.Ordinal);
                        Assert.DoesNotContain('\u001b', e.Message);
                    }

                    return "";
                }
            );
        }
    }

    [Fact]
    public void A_file_that_cannot_be_a_configuration_is_not_read()
    {
        With(
            UNet,
            _ => new string(' ', 5 << 20),
            null,
            () =>
            {
                Assert.Contains("at most", Assert.Throws<CheckpointException>(Load).Message, StringComparison.Ordinal);
                return "";
            }
        );
    }

    private DiffusionModel Load() => DiffusionModel.Load(model.Device, model.Path);

    // The file as changed while something is tried; a key that is there already is taken out first.
    private string With(string file, Func<string, string> change, string? key, Func<string> attempt)
    {
        string path = Path.Combine(model.Path, file),
            before = File.ReadAllText(path),
            plain = before;
        if (key is not null)
        {
            JsonObject json = JsonNode.Parse(before)!.AsObject();
            json.Remove(key);
            plain = json.ToJsonString();
        }

        try
        {
            File.WriteAllText(path, change(plain));
            return attempt();
        }
        finally
        {
            File.WriteAllText(path, before);
        }
    }

    /// <summary>A tiny ensemble that is loaded over and over.</summary>
    public sealed class Model : IDisposable
    {
        private readonly TemporaryFolder _folder = new();

        public Model()
        {
            Path = _folder.File("model");
            TinyModels.Write(Path, new SyntheticOptions { Experts = 2, Seed = 3 });
            Device = new PlanningDevice(new CpuDevice(1));
        }

        public string Path { get; }

        public PlanningDevice Device { get; }

        public void Dispose()
        {
            Device.Dispose();
            _folder.Dispose();
        }
    }
}
