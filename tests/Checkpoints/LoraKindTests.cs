using System.Text.Json;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Models;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Prompts;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Synthesis;
using AfaNative.Tests.Support;
using Xunit;

namespace AfaNative.Tests.Checkpoints;

/// <summary>Every style of a LoRA's names, what its metadata says, and the kinds of changes it may hold.</summary>
public sealed class LoraKindTests : IDisposable
{
    private const string Query = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q";

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    public static TheoryData<string> Styles =>
        [
            "kohya",
            "kohya te1",
            "original",
            "peft",
            "peft adapter",
            "peft in unet",
            "diffusers",
            "diffusers no prefix",
            "lycoris",
            "attn procs",
            "attn procs no prefix",
            "linear layer",
            "old text",
            "comfy",
        ];

    [Theory]
    [InlineData("unet.down.0.lora_A.scale_weight")]
    [InlineData("unet.down.0.lora_B.scale_input")]
    public void A_scale_beside_the_weights_is_no_adapter(string name)
    {
        Assert.Null(LoraKey.Parse(name));
        Assert.Equal("weights with scales of their own", LoraKey.Foreign(name));
    }

    [Theory]
    [MemberData(nameof(Styles))]
    public void Every_layer_is_found_in_every_style(string style)
    {
        string[] unet = Names(p => new UNetModel(p, new UNetConfig())),
            text = Names(p => new ClipTextEncoder(p, new ClipTextConfig()));
        var expected = new Dictionary<string, string>();
        var tensors = new List<TensorEntry>();
        foreach (
            (string component, string module) in Modules(unet)
                .Select(m => ("unet", m))
                .Concat(Modules(text).Select(m => ("text_encoder", m)))
        )
        {
            if (Name(style, component, module) is not { } names)
                continue;
            expected.Add(names.Down, component + " " + module);
            tensors.Add(Tensor(names.Down, 2, 3));
            tensors.Add(Tensor(names.Up, 4, 2));
        }

        Assert.True(expected.Count > 20);
        string path = Write(tensors);
        using LoraFile file = LoraFile.Open(path);
        file.Bind("unet", unet);
        file.Bind("text_encoder", text);
        Assert.Empty(file.Warnings);
        var found = new Dictionary<string, string>();
        foreach (string component in (string[])["unet", "text_encoder"])
        {
            foreach ((string module, LoraLayer layer) in file.Bound(component))
                found.Add(layer.Parts[LoraPart.Down].Name, component + " " + module);
        }

        Assert.Equal(expected, found);
    }

    [Fact]
    public void Layers_are_named_as_the_programs_name_them()
    {
        if (Shared("lycoris/key_styles/case.json") is not { } path)
            return;
        string[] unet = Names(p => new UNetModel(p, new UNetConfig())),
            text = Names(p => new ClipTextEncoder(p, new ClipTextConfig()));
        using JsonDocument json = JsonDocument.Parse(File.ReadAllBytes(path));
        string?[][] rows =
        [
            .. json
                .RootElement.GetProperty("rows")
                .EnumerateArray()
                .Select(r => r.EnumerateArray().Select(c => c.GetString()).ToArray()),
        ];
        HashSet<string> all = [.. Modules(unet).Concat(Modules(text))];
        foreach (
            (int column, string down, string up) in ((int, string, string)[])
                [
                    (2, ".lora_down.weight", ".lora_up.weight"),
                    (3, ".lora_down.weight", ".lora_up.weight"),
                    (4, ".down.weight", ".up.weight"),
                    (5, ".lora_A.weight", ".lora_B.weight"),
                    (6, ".lora_A.weight", ".lora_B.weight"),
                    (6, ".lora.down.weight", ".lora.up.weight"),
                    (7, ".lora_down.weight", ".lora_up.weight"),
                ]
        )
        {
            string?[][] named = [.. rows.Where(r => r[column] is not null && all.Contains(r[0]!))];
            Assert.True(named.Length > 100);
            using LoraFile file = LoraFile.Open(
                Write([.. named.SelectMany(r => (TensorEntry[])[Tensor(r[column] + down, 1, 1), Tensor(r[column] + up, 1, 1)])])
            );
            file.Bind("unet", unet);
            file.Bind("text_encoder", text);
            foreach (string?[] row in named)
                Assert.Equal(
                    row[column] + down,
                    file.Bound(row[0]!.StartsWith("text_model", StringComparison.Ordinal) ? "text_encoder" : "unet")[row[0]!]
                        .Parts[LoraPart.Down]
                        .Name
                );
        }
    }

    [Theory]
    [InlineData("lora_linear")]
    [InlineData("lora_linear_noalpha")]
    [InlineData("lora_conv1_2d")]
    [InlineData("lora_conv1_4d")]
    [InlineData("lora_te")]
    [InlineData("locon_conv3")]
    [InlineData("locon_conv3_mid")]
    [InlineData("full_linear")]
    [InlineData("full_conv3")]
    [InlineData("bias_only")]
    [InlineData("norm")]
    [InlineData("dora_in")]
    [InlineData("dora_conv3_in")]
    [InlineData("style_peft")]
    [InlineData("style_kohya_ldm")]
    [InlineData("style_lora_linear_layer")]
    [InlineData("style_diffusers_attn_procs")]
    public void Changed_weights_are_those_of_other_programs(string name)
    {
        if (Shared($"lycoris/{name}/case.json") is not { } path)
            return;
        using JsonDocument json = JsonDocument.Parse(File.ReadAllBytes(path));
        string module = json.RootElement.GetProperty("target_diffusers").GetString()!,
            component = module.StartsWith("text_model", StringComparison.Ordinal) ? "text_encoder" : "unet",
            folder = Path.GetDirectoryName(path)!;
        using SafetensorsFile tensors = SafetensorsFile.Open(Path.Combine(folder, "tensors.safetensors"));
        using LoraFile file = LoraFile.Open(Path.Combine(folder, "adapter.safetensors"));
        file.Bind(component, [module + ".weight", module + ".bias"]);
        foreach (double strength in (double[])[0.6, 1])
        {
            foreach (string kind in (string[])["weight", "bias"])
            {
                string expected = string.Create(
                    System.Globalization.CultureInfo.InvariantCulture,
                    $"comfy.s{strength:F1}.{kind}"
                );
                if (!tensors.Tensors.TryGetValue(expected, out SafetensorsTensor? tensor))
                    continue;
                float[] values = tensors.ReadFloat32("base." + kind);
                file.Add(component, $"{module}.{kind}", tensor.Shape, strength, () => values);
                Assert.All(tensors.ReadFloat32(expected).Zip(values), p => Assert.Equal(p.First, p.Second, 3e-6f));
            }
        }
    }

    [Theory]
    [InlineData("loha_linear", "LoHa")]
    [InlineData("lokr_full", "LoKr")]
    [InlineData("ia3_in", "(IA)3")]
    [InlineData("oft", "OFT")]
    [InlineData("oft_rescale", "OFT")]
    [InlineData("oft_diag_old", "OFT")]
    [InlineData("boft", "OFT")]
    [InlineData("glora", "GLoRA")]
    [InlineData("set_weight", "replaced weights")]
    [InlineData("dora_loha", "LoHa")]
    public void Other_kinds_are_refused_by_name(string name, string kind)
    {
        if (Shared($"lycoris/{name}/adapter.safetensors") is not { } path)
            return;
        Assert.Contains(kind, Assert.Throws<CheckpointException>(() => LoraFile.Open(path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Lengths_replace_those_of_the_changed_rows()
    {
        // PEFT's way: rows of W + delta W, whatever they were, get the learnt lengths.
        float[] weight = [1, 2, 3, 4, 5, 6],
            down = [1, 0.5f, -1],
            up = [2, -1],
            lengths = [10, 20];
        foreach (
            (string name, long[] shape) in ((string, long[])[])
                [(".lora_magnitude_vector", [2]), (".lora_magnitude_vector.default.weight", [2]), (".dora_scale", [2, 1])]
        )
        {
            using LoraFile file = LoraFile.Open(
                Write([
                    TensorEntry.FromFloat32($"unet.{Query}.lora_A.weight", [1, 3], down),
                    TensorEntry.FromFloat32($"unet.{Query}.lora_B.weight", [2, 1], up),
                    TensorEntry.FromFloat32($"unet.{Query}{name}", shape, lengths),
                ])
            );
            file.Bind("unet", [Query + ".weight"]);
            float[] values = [.. weight];
            Assert.True(file.Add("unet", Query + ".weight", [2, 3], 0.5, () => values));
            for (int o = 0; o < 2; o++)
            {
                double[] changed = [.. Enumerable.Range(0, 3).Select(i => weight[3 * o + i] + (double)up[o] * down[i])];
                double norm = Math.Sqrt(changed.Sum(v => v * v));
                for (int i = 0; i < 3; i++)
                    Assert.Equal(0.5 * weight[3 * o + i] + 0.5 * lengths[o] * changed[i] / norm, values[3 * o + i], 1e-5);
            }
        }
    }

    [Theory]
    [InlineData("""{"r": 4, "lora_alpha": 8}""", 2)]
    [InlineData("""{"unet.r": 4, "unet.lora_alpha": 2, "text_encoder.r": 4, "text_encoder.lora_alpha": 40}""", 0.5)]
    [InlineData("""{"text_encoder.r": 4, "text_encoder.lora_alpha": 40}""", 1)]
    [InlineData("""{"r": 4, "lora_alpha": 8, "use_rslora": true}""", 4)]
    [InlineData("""{"r": 8, "rank_pattern": {"to_q": 4}, "lora_alpha": 8}""", 2)]
    [InlineData("""{"r": 4, "lora_alpha": 8, "alpha_pattern": {"attn1.to_q": 12, "to_q": 1}}""", 3)]
    [InlineData("""{"r": 4, "lora_alpha": 8, "alpha_pattern": {"o_q": 12, ".*mid.*": 1}}""", 2)]
    public void Alpha_may_stand_in_the_metadata_alone(string json, double scale)
    {
        foreach (bool beside in (bool[])[false, true])
        {
            string path = _folder.File(beside ? "adapter_model.safetensors" : "a.safetensors");
            SafetensorsWriter.Write(
                path,
                Pair(),
                beside ? null : new Dictionary<string, string> { ["lora_adapter_metadata"] = json }
            );
            if (beside)
                File.WriteAllText(_folder.File("adapter_config.json"), json);
            using LoraFile file = LoraFile.Open(path);
            file.Bind("unet", [Query + ".weight"]);
            Assert.Equal(scale, file.Bound("unet")[Query].Scale, 1e-12);
            Assert.Empty(file.Warnings);
        }
    }

    [Fact]
    public void An_alpha_beside_the_tensors_counts_before_the_metadatas()
    {
        string path = Write(
            [.. Pair(), TensorEntry.FromFloat32($"unet.{Query}.alpha", [], [6])],
            new Dictionary<string, string> { ["lora_adapter_metadata"] = """{"r": 4, "lora_alpha": 100}""" }
        );
        using LoraFile file = LoraFile.Open(path);
        file.Bind("unet", [Query + ".weight"]);
        Assert.Equal(1.5, file.Bound("unet")[Query].Scale);
    }

    [Theory]
    [InlineData("""{"r": 4, "lora_alpha": "x"}""", "'lora_alpha' should be a finite number")]
    [InlineData("""{"r": 0, "lora_alpha": 1}""", "'r' should be a number from 1 on")]
    [InlineData("""{"r": 4, "lora_alpha": 1e999}""", "'lora_alpha' should be a finite number")]
    [InlineData("""{"peft_type": "LOHA"}""", "'peft_type' should be \"LORA\"")]
    [InlineData("""{"alpha_pattern": {"(": 1}}""", "is no pattern")]
    [InlineData("""[1]""", "should be a JSON object")]
    [InlineData("""{""", "should be JSON")]
    public void Metadata_that_makes_no_sense_is_refused(string json, string expected)
    {
        string path = Write(Pair(), new Dictionary<string, string> { ["lora_adapter_metadata"] = json });
        string message = Assert.Throws<CheckpointException>(() => LoraFile.Open(path)).Message;
        Assert.Contains(expected, message, StringComparison.Ordinal);
        Assert.StartsWith(path, message, StringComparison.Ordinal);
    }

    [Fact]
    public void What_is_said_and_not_done_is_warned_of()
    {
        string path = Write(
            [
                .. Pair(),
                Tensor("some.thing", 1),
                Tensor("bundle_emb.word.string_to_param.*", 1, 4),
                TensorEntry.FromFloat32("lora_unet_conv_in.alpha", [], [1]),
            ],
            new Dictionary<string, string>
            {
                ["lora_adapter_metadata"] =
                    """{"r": 8, "lora_alpha": 8, "init_lora_weights": "pissa", "modules_to_save": ["x"]"""
                    + """, "lora_dropout": 0.1, "target_modules": ["to_q"]}""",
            }
        );
        using LoraFile file = LoraFile.Open(path);
        file.Bind("unet", [Query + ".weight"]);
        string all = string.Join('\n', file.Warnings);
        foreach (
            string part in (string[])
                [
                    "2 of its 5 tensors are of no kind",
                    "lora_unet_conv_in.alpha, some.thing",
                    "(word)",
                    "pissa",
                    "'modules_to_save'",
                    "the rank of " + Query + " is 4, not 8",
                ]
        )
            Assert.Contains(part, all, StringComparison.Ordinal);
        Assert.DoesNotContain("lora_dropout", all, StringComparison.Ordinal);
        using LoraFile noted = LoraFile.Open(Write(Pair(), new Dictionary<string, string> { ["ss_network_alpha"] = "1.0" }));
        Assert.Contains("an alpha of 1", Assert.Single(noted.Warnings), StringComparison.Ordinal);
    }

    [Fact]
    public void What_is_no_number_is_refused_with_file_and_key()
    {
        void Refused(string expected, params TensorEntry[] tensors)
        {
            string path = Write(tensors),
                message =
                    Assert
                        .Throws<CheckpointException>(() =>
                        {
                            using LoraFile file = LoraFile.Open(path);
                            file.Bind("unet", [Query + ".weight"]);
                            file.Add("unet", Query + ".weight", [4, 3], 1, () => new float[12]);
                        })
                        .Message;
            Assert.Contains(expected, message, StringComparison.Ordinal);
            Assert.Contains(path, message, StringComparison.Ordinal);
        }

        TensorEntry[] pair = Pair();
        Refused("alpha is NaN", [.. pair, TensorEntry.FromFloat32($"unet.{Query}.alpha", [], [float.NaN])]);
        Refused("alpha should be one number", [.. pair, TensorEntry.FromFloat32($"unet.{Query}.alpha", [2], [1, 1])]);
        Refused("rank 0", Tensor($"unet.{Query}.lora_A.weight", 0, 3), Tensor($"unet.{Query}.lora_B.weight", 4, 0));
        Refused(
            "lora_B.weight' holds 1 values that are no finite numbers",
            pair[0],
            TensorEntry.FromFloat32($"unet.{Query}.lora_B.weight", [4, 4], [.. Enumerable.Repeat(1f, 15), float.PositiveInfinity])
        );
        Refused("has no down", pair[1]);
        Refused("has none", pair[0], pair[1], Tensor($"unet.{Query}.lora_B.bias", 4));
        Refused("has no change of the weight", Tensor($"unet.{Query}.dora_scale", 1, 3));
        Refused("both the same part", [.. pair, Tensor($"unet.{Query}.lora_A.other.weight", 4, 3)]);
        Refused(
            "are both the model's",
            [.. pair, Tensor("lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q.diff", 4, 3)]
        );
        Refused(
            "holds U8",
            new TensorEntry($"unet.{Query}.lora_A.weight", ElementType.UInt8, [4, 3], s => s.Write(new byte[12])),
            pair[1]
        );
        Refused("diff has 2 values", Tensor($"unet.{Query}.diff", 2));
        foreach (string text in (string[])["x:nan", "x:inf", "x:0,8", "x:one"])
            Assert.Contains(
                "expected a number",
                Assert.Throws<AfaException>(() => LoraRequest.Parse(text)).Message,
                StringComparison.Ordinal
            );
        Assert.Throws<AfaException>(() => PromptLora.In("<lora:x:nan>"));
        Assert.Throws<AfaException>(() => PromptLora.In("<lora:x:0,8>"));
    }

    [Fact]
    public void Biases_and_norms_change_and_several_loras_are_rounded_once()
    {
        string model = _folder.File("model");
        TinyModels.Write(model, new SyntheticOptions { Type = ElementType.Float16, Seed = 3 });
        float[] plain = Draw(model);
        string[] kinds =
        [
            "lora_unet_conv_in.diff_b",
            "lora_unet_mid_block_resnets_0_norm1.w_norm",
            "lora_unet_mid_block_resnets_0_norm1.b_norm",
            "lora_te_text_model_final_layer_norm.b_norm",
        ];
        foreach (string kind in kinds)
        {
            int width = kind.Contains("mid_block", StringComparison.Ordinal) ? 64 : 32;
            string path = Write([TensorEntry.FromFloat32(kind, [width], [.. Enumerable.Repeat(0.5f, width)])]);
            Assert.NotEqual(plain, Draw(model, new LoraRequest(path)));
        }

        // A small part of the last place each: rounded after every one of them nothing would change, rounded once a hundred of
        // them do.
        string small = Write([
            TensorEntry.FromFloat32("lora_unet_conv_in.diff", [32, 4, 3, 3], [.. Enumerable.Repeat(1e-6f, 32 * 36)]),
        ]);
        float[] once = Draw(model, new LoraRequest(small, 100)),
            often = Draw(model, [.. Enumerable.Repeat(new LoraRequest(small), 100)]);
        float moved = once.Zip(plain).Max(p => Math.Abs(p.First - p.Second));
        Assert.True(moved > 0);
        Assert.True(once.Zip(often).Max(p => Math.Abs(p.First - p.Second)) < moved / 4);
        string large = Write([
            TensorEntry.FromFloat32("lora_unet_conv_in.diff", [32, 4, 3, 3], [.. Enumerable.Repeat(6e4f, 32 * 36)]),
        ]);
        string message = Assert.Throws<CheckpointException>(() => Draw(model, new LoraRequest(large, 2))).Message;
        Assert.Contains("'conv_in.weight' would hold", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Mutated_files_are_read_or_refused_in_a_sentence()
    {
        string mid = "lora_unet_down_blocks_0_resnets_0_conv1",
            path = Write(
                [
                    .. Pair(),
                    TensorEntry.FromFloat32($"unet.{Query}.lora_magnitude_vector", [4], [1, 2, 3, 4]),
                    Tensor(mid + ".lora_down.weight", 2, 3, 1, 1),
                    Tensor(mid + ".lora_mid.weight", 2, 2, 3, 3),
                    Tensor(mid + ".lora_up.weight", 4, 2, 1, 1),
                    TensorEntry.FromFloat32(mid + ".alpha", [], [1]),
                    Tensor("lora_unet_conv_in.diff", 4, 3),
                    Tensor("lora_unet_conv_in.dora_scale", 1, 3),
                    Tensor("lora_unet_conv_in.diff_b", 4),
                ],
                new Dictionary<string, string>
                {
                    ["lora_adapter_metadata"] = """{"r": 4, "lora_alpha": 8, "alpha_pattern": {"to_q": 2}}""",
                }
            );
        byte[] good = File.ReadAllBytes(path);
        int header = (int)BitConverter.ToInt64(good);
        var random = new System.Random(5);
        (string From, string To)[] swaps =
        [
            ("lora_A", "lora_B"),
            ("[4,3]", "[3,4]"),
            ("[4,3]", "[12]"),
            ("[2,2,3,3]", "[4,9]"),
            ("[2,2,3,3]", "[36]"),
            ("[2,3,1,1]", "[3,2,1,1]"),
            (".diff\"", ".alpha\""),
            ("[1,3]", "[3]"),
            ("F32", "I32"),
            ("unet.", "text_encoder."),
            ("_mid", "_up"),
            ("magnitude_vector", "A"),
            (".alpha", ".w_norm"),
            ("\\u0022r\\u0022: 4", "\\u0022r\\u0022: -4"),
            ("to_q\\u0022: 2", "(a+)+\\u0022: 2"),
            ("[4]", "[2,2]"),
            ("conv_in.", "conv_out."),
        ];
        string[] names = [Query + ".weight", "down_blocks.0.resnets.0.conv1.weight", "conv_in.weight", "conv_in.bias"];
        long[][] shapes =
        [
            [4, 3],
            [4, 3, 3, 3],
            [4, 3],
            [4],
        ];
        for (int i = 0; i < 600; i++)
        {
            byte[] bytes = [.. good];
            if (i % 3 == 0)
                bytes[random.Next(8, 8 + header)] ^= (byte)(1 << random.Next(8));
            else if (i % 3 == 1)
                bytes[random.Next(8 + header, bytes.Length)] = 0xFF;
            if (i % 2 == 0)
            {
                (string from, string to) = swaps[random.Next(swaps.Length)];
                byte[] json = System.Text.Encoding.Latin1.GetBytes(
                    System.Text.Encoding.Latin1.GetString(bytes, 8, header).Replace(from, to, StringComparison.Ordinal)
                );
                bytes = [.. BitConverter.GetBytes((long)json.Length), .. json, .. bytes[(8 + header)..]];
            }

            File.WriteAllBytes(path, bytes);
            try
            {
                using LoraFile file = LoraFile.Open(path);
                file.Bind("unet", names);
                file.Bind("text_encoder", ["text_model.final_layer_norm.weight"]);
                for (int n = 0; n < names.Length; n++)
                {
                    var values = new float[shapes[n].Aggregate(1L, (a, b) => a * b)];
                    file.Add("unet", names[n], shapes[n], 1, () => values);
                }
            }
            catch (CheckpointException e)
            {
                Assert.Contains(path, e.Message, StringComparison.Ordinal);
            }
        }
    }

    private static float[] Draw(string model, params LoraRequest[] loras)
    {
        using var device = new CpuDevice(2);
        using DiffusionModel loaded = DiffusionModel.Load(device, EnsembleFolder.Open(model), 0, loras: loras);
        return new TextToImagePipeline(loaded).Generate(
            new GenerationOptions
            {
                Prompt = "a red circle",
                Steps = 1,
                Width = 32,
                Height = 32,
                Seeds = [1],
            }
        )[0];
    }

    private static TensorEntry Tensor(string name, params long[] shape) =>
        TensorEntry.FromFloat32(name, shape, [.. Enumerable.Repeat(0.5f, (int)shape.Aggregate(1L, (a, b) => a * b))]);

    private static TensorEntry[] Pair() =>
        [Tensor($"unet.{Query}.lora_A.weight", 4, 3), Tensor($"unet.{Query}.lora_B.weight", 4, 4)];

    private static string[] Names(Action<Parameters> build)
    {
        var list = new ParameterList();
        build(list);
        return [.. list.Specs.Select(s => s.Name)];
    }

    private static IEnumerable<string> Modules(IEnumerable<string> tensors) =>
        tensors.Where(t => t.EndsWith(".weight", StringComparison.Ordinal)).Select(t => t[..^".weight".Length]);

    private static (string Down, string Up)? Name(string style, string component, string module)
    {
        bool unet = component == "unet",
            attention =
                module.Contains(".attn", StringComparison.Ordinal) || module.Contains(".self_attn.", StringComparison.Ordinal);
        string flat = module.Replace('.', '_'),
            prefix = unet ? "unet." : "text_encoder.";
        string old = module
            .Replace(".attn1.", ".attn1.processor.", StringComparison.Ordinal)
            .Replace(".attn2.", ".attn2.processor.", StringComparison.Ordinal)
            .Replace("to_out.0", "to_out", StringComparison.Ordinal);
        string? text =
            unet || !attention
                ? null
                : module
                    .Replace("q_proj", "to_q", StringComparison.Ordinal)
                    .Replace("k_proj", "to_k", StringComparison.Ordinal)
                    .Replace("v_proj", "to_v", StringComparison.Ordinal)
                    .Replace("out_proj", "to_out", StringComparison.Ordinal);
        string original = OriginalNames.Of(module + ".weight")[..^".weight".Length];
        return style switch
        {
            "kohya" => With($"lora_{(unet ? "unet" : "te")}_{flat}", ".lora_down.weight", ".lora_up.weight"),
            "kohya te1" => unet ? null : With("lora_te1_" + flat, ".lora_down.weight", ".lora_up.weight"),
            "original" => unet
                ? With(
                    "lora_unet_" + original["model.diffusion_model.".Length..].Replace('.', '_'),
                    ".lora_down.weight",
                    ".lora_up.weight"
                )
                : null,
            "peft" => With("base_model.model." + module, ".lora_A.weight", ".lora_B.weight"),
            "peft adapter" => With("base_model.model." + module, ".lora_A.default.weight", ".lora_B.default.weight"),
            "peft in unet" => With(prefix + "base_model.model." + module, ".lora_A.my-style.weight", ".lora_B.my-style.weight"),
            "diffusers" => With(prefix + module, ".lora.down.weight", ".lora.up.weight"),
            "diffusers no prefix" => With(module, ".lora_A.weight", ".lora_B.weight"),
            "lycoris" => With("lycoris_" + flat, ".lora_down.weight", ".lora_up.weight"),
            "attn procs" => unet && attention && old.Contains("processor.to_", StringComparison.Ordinal)
                ? With("unet." + old, "_lora.down.weight", "_lora.up.weight")
                : null,
            "attn procs no prefix" => unet && attention && old.Contains("processor.to_", StringComparison.Ordinal)
                ? With(old, "_lora.down.weight", "_lora.up.weight")
                : null,
            "linear layer" => With(prefix + module, ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
            "old text" => text is null ? null : With(prefix + text, "_lora.down.weight", "_lora.up.weight"),
            _ => unet
                ? With("diffusion_model." + original["model.diffusion_model.".Length..], ".lora_down.weight", ".lora_up.weight")
                : With("text_encoders.clip_l.transformer." + module, ".lora_down.weight", ".lora_up.weight"),
        };

        (string, string)? With(string layer, string down, string up) => (layer + down, layer + up);
    }

    private static string? Shared(string path) =>
        Environment.GetEnvironmentVariable("AFA_SHARED") is { Length: > 0 } shared
        && Path.Combine(shared, "goldens-more", "public", path) is var full
        && File.Exists(full)
            ? full
            : null;

    private string Write(IReadOnlyList<TensorEntry> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        string path = _folder.File($"{Guid.NewGuid():N}.safetensors");
        SafetensorsWriter.Write(path, tensors, metadata);
        return path;
    }
}
