using System.Buffers.Binary;
using System.CommandLine;
using System.Text;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Models;
using AfaNative.Engine.Prompts;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Sampling.Samplers;
using AfaNative.Synthesis;
using AfaNative.Tests.Support;
using AfaNative.Tool;
using AfaNative.Tool.Bench;
using AfaNative.Tool.Commands;

namespace AfaNative.Tests.Fuzz;

/// <summary>Every reader of what users bring, with good inputs made in code.</summary>
internal sealed partial class FuzzTargets : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    /// <summary>The readers by name.</summary>
    public static IReadOnlyList<string> Readers { get; } =
    [
        "safetensors",
        "lora",
        "configuration",
        "options",
        "prompt-file",
        "png-text",
        "captions",
        "prompt",
        "picture",
        "tokenizer",
        "embedding",
        "report",
    ];

    /// <summary>What one reader is fed.</summary>
    public IReadOnlyList<FuzzTarget> Of(string reader) =>
        reader switch
        {
            "safetensors" => [SafetensorsFileTarget(), SafetensorsHeaderTarget(), IndexTarget()],
            "lora" => [LoraTarget()],
            "configuration" => [.. ConfigurationTargets()],
            "options" => [OptionsTarget("json"), OptionsTarget("yaml")],
            "prompt-file" => [PromptFileTarget()],
            "png-text" => [PngTarget(), ParametersTarget()],
            "captions" => [CaptionsTarget("metadata.jsonl"), CaptionsTarget("records.json"), CaptionsTarget("a.txt")],
            "prompt" => [PromptTarget()],
            "picture" => [PictureTarget()],
            "tokenizer" => [.. TokenizerTargets()],
            "embedding" => [EmbeddingTarget()],
            "report" => [ReportTarget()],
            _ => throw new ArgumentException(reader),
        };

    public void Dispose() => _folder.Dispose();

    private static byte[] Utf8(string text) => Encoding.UTF8.GetBytes(text);

    private string Put(string name, byte[] bytes)
    {
        string path = _folder.File(name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllBytes(path, bytes);
        return path;
    }

    private static byte[] Safetensors(string header, int data = 512)
    {
        byte[] text = Utf8(header),
            file = new byte[8 + text.Length + data];
        BinaryPrimitives.WriteInt64LittleEndian(file, text.Length);
        text.CopyTo(file, 8);
        for (int i = 0; i < data; i++)
            file[8 + text.Length + i] = (byte)(i % 61);
        return file;
    }

    private static readonly string[] s_tensorWords =
    [
        "\"dtype\":\"F32\"",
        "F16",
        "BF16",
        "F64",
        "F8_E4M3",
        "F8_E5M2",
        "I64",
        "I32",
        "U8",
        "BOOL",
        "\"shape\":[",
        "\"shape\":[]",
        "\"data_offsets\":[0,16]",
        "__metadata__",
        "[4294967296,4294967296]",
        "[0]",
        "[-1,4]",
        "\"a\":",
        ",",
        ":",
        "{",
        "}",
        "9223372036854775807",
    ];

    private static readonly string[] s_headers =
    [
        """
            {"__metadata__":{"format":"pt","b":"c"},"a":{"dtype":"F32","shape":[2,4],"data_offsets":[0,32]},
            "b":{"dtype":"F16","shape":[8],"data_offsets":[32,48]}}
            """,
        """
            {"x":{"dtype":"I64","shape":[2],"data_offsets":[0,16]},"y":{"dtype":"BF16","shape":[2,2],
            "data_offsets":[16,24]},"z":{"dtype":"U8","shape":[0],"data_offsets":[24,24]}}
            """,
        """
            {"unet.conv_in.weight":{"dtype":"F8_E4M3","shape":[4,4],"data_offsets":[0,16]},"s":{"dtype":"F64",
            "shape":[],"data_offsets":[16,24]}}
            """,
    ];

    private void ReadSafetensors(byte[] bytes)
    {
        string path = Put("a.safetensors", bytes);
        using (SafetensorsFile file = SafetensorsFile.Open(path))
        {
            foreach (SafetensorsTensor tensor in file.Tensors.Values)
            {
                Try(() => file.ReadFloat32(tensor.Name));
                Try(() => file.ReadInt64(tensor.Name));
            }
        }

        Try(() => SingleFile.Describe(path));
    }

    // A fault of one part must not hide another's.
    private static void Try(Action read)
    {
        try
        {
            read();
        }
        catch (AfaException) { }
    }

    private FuzzTarget SafetensorsFileTarget() =>
        new("safetensors-file", [.. s_headers.Select(h => Safetensors(h))], s_tensorWords, ReadSafetensors);

    private FuzzTarget SafetensorsHeaderTarget() =>
        new(
            "safetensors-header",
            [.. s_headers.Select(Utf8)],
            s_tensorWords,
            header => ReadSafetensors(Safetensors(Encoding.Latin1.GetString(header), 64))
        );

    private FuzzTarget IndexTarget()
    {
        Put("sharded/model-00001.safetensors", Safetensors(s_headers[0], 48));
        return new FuzzTarget(
            "safetensors-index",
            [
                Utf8(
                    """
                    {"metadata":{"total_size":48},"weight_map":{"a":"model-00001.safetensors",
                    "b":"model-00001.safetensors"}}
                    """
                ),
            ],
            ["weight_map", "model-00001.safetensors", "../a", "/etc/passwd", "\"a\":", "\0", "model.safetensors.index.json", "."],
            bytes =>
            {
                Put("sharded/model.safetensors.index.json", bytes);
                using Checkpoint checkpoint = Checkpoint.Open(_folder.File("sharded"), "model");
                foreach (string name in checkpoint.Names)
                    checkpoint.TryGet(name, out _, out _);
            }
        );
    }

    private FuzzTarget LoraTarget()
    {
        string[] headers =
        [
            Pair(
                "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q",
                "lora_down.weight",
                "lora_up.weight",
                alpha: true
            ),
            Pair(
                "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k",
                "lora_A.weight",
                "lora_B.weight",
                alpha: false
            ),
            Pair(
                "text_model.encoder.layers.0.self_attn.q_proj",
                "lora_linear_layer.down.weight",
                "lora_linear_layer.up.weight",
                alpha: true
            ),
            Pair(
                "base_model.model.unet.mid_block.attentions.0.proj_in",
                "lora_A.default.weight",
                "lora_B.default.weight",
                alpha: false
            ),
        ];
        string[] words =
        [
            .. s_tensorWords,
            "lora_magnitude_vector",
            ".alpha",
            "dora_scale",
            "lora_te_",
            "lora_unet_",
            "text_encoder.",
            "unet.",
            ".lora_B.bias",
            "bundle_emb.x.string_to_param.*",
            ".diff",
            "w_norm",
            "hada_w1_a",
            "lokr_w1",
            "lora_mid.weight",
            "lora_adapter_metadata",
            "ss_network_alpha",
            "\\\"unet.alpha_pattern\\\":{\\\"(a{1,1000}){1,1000}\\\":1}",
            "{\\\"unet.r\\\": 4, \\\"unet.lora_alpha\\\": 8}",
            "[4,0]",
            "[0,4]",
        ];
        return new FuzzTarget(
            "lora",
            [.. headers.Select(h => Safetensors(h, 76))],
            words,
            bytes =>
            {
                using LoraFile lora = LoraFile.Open(Put("l.safetensors", bytes));
                Change("unet", "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q");
                Change("unet", "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k");
                Change("unet", "mid_block.attentions.0.proj_in");
                Change("text_encoder", "text_model.encoder.layers.0.self_attn.q_proj");

                void Change(string component, string layer) =>
                    Try(() =>
                    {
                        lora.Bind(component, [layer + ".weight", layer + ".bias"]);
                        lora.Add(component, layer + ".weight", [4, 4], 1, () => new float[16]);
                        lora.Add(component, layer + ".bias", [4], 1, () => new float[4]);
                    });
            }
        );

        static string Pair(string name, string down, string up, bool alpha) =>
            "{\"__metadata__\":{\"lora_adapter_metadata\":\"{\\\"unet.r\\\":2,\\\"unet.lora_alpha\\\":4}\"},"
            + $"\"{name}.{down}\":{{\"dtype\":\"F32\",\"shape\":[2,4],\"data_offsets\":[0,32]}},"
            + $"\"{name}.{up}\":{{\"dtype\":\"F32\",\"shape\":[4,2],\"data_offsets\":[32,64]}}"
            + (
                alpha
                    ? $",\"{name}.alpha\":{{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[64,68]}}}}"
                    : ",\"o\":{\"dtype\":\"U8\",\"shape\":[12],\"data_offsets\":[64,76]}}"
            );
    }

    private IEnumerable<FuzzTarget> ConfigurationTargets()
    {
        string model = _folder.File("model");
        TinyModels.Write(model, new SyntheticOptions { Experts = 2, Seed = 1 });
        yield return Config(
            "scheduler",
            "scheduler/scheduler_config.json",
            [
                """
                {"_class_name":"EulerDiscreteScheduler","beta_start":0.00085,"beta_end":0.012,
                "beta_schedule":"scaled_linear","num_train_timesteps":1000,"prediction_type":"v_prediction",
                "timestep_spacing":"linspace","use_karras_sigmas":true}
                """,
                """
                {"_class_name":"DPMSolverMultistepScheduler","algorithm_type":"sde-dpmsolver++","solver_order":2,
                "lower_order_final":true,"trained_betas":[0.1,0.2],"clip_sample":false,"steps_offset":1,
                "set_alpha_to_one":false}
                """,
            ],
            folder =>
            {
                var schedule = new NoiseSchedule(SchedulerConfig.Load(folder));
                Sampler sampler = SamplerChoice.Default.Create(schedule, 5, 0);
                sampler.Step(0, new float[4], new float[4], new float[4]);
            }
        );
        yield return Config(
            "unet",
            "unet/config.json",
            [],
            folder =>
            {
                UNetConfig config = UNetConfig.Load(folder);
                _ = new UNetModel(new ParameterList(), config);
            }
        );
        yield return Config(
            "vae",
            "vae/config.json",
            [],
            folder =>
            {
                VaeConfig config = VaeConfig.Load(folder);
                _ = new VaeModel(new ParameterList(), config);
            }
        );
        yield return Config(
            "text",
            "text_encoder/config.json",
            [],
            folder =>
            {
                ClipTextConfig config = ClipTextConfig.Load(folder);
                _ = new ClipTextEncoder(new ParameterList(), config);
            }
        );
        yield return Config(
            "aggregator",
            "aggregator_0/config.json",
            [],
            folder =>
            {
                SabwConfig config = SabwConfig.Load(folder);
                _ = new Sabw(new ParameterList(), config);
            }
        );
        yield return Config("model", "model_config.json", [], _ => EnsembleFolder.Open(model));
        yield return Config("index", "model_index.json", [], _ => EnsembleFolder.Open(model));

        FuzzTarget Config(string name, string file, string[] more, Action<string> read)
        {
            string path = Path.Combine(model, file);
            byte[] good = File.ReadAllBytes(path);
            string[] words =
            [
                .. Encoding.UTF8.GetString(good).Split('"').Where((_, i) => i % 2 == 1).Distinct().Select(k => $"\"{k}\":"),
                "null",
                "[]",
                "[1,2]",
                "\"x\"",
                "{}",
                "true",
                "1e9",
                "0",
                "-1",
            ];
            return new FuzzTarget(
                "configuration-" + name,
                [good, .. more.Select(Utf8)],
                words,
                bytes =>
                {
                    File.WriteAllBytes(path, bytes);
                    try
                    {
                        read(Path.GetDirectoryName(path)!);
                    }
                    finally
                    {
                        File.WriteAllBytes(path, good);
                    }
                }
            );
        }
    }

    private FuzzTarget EmbeddingTarget() =>
        new(
            "embedding",
            [
                Safetensors("""{"emb_params":{"dtype":"F32","shape":[2,32],"data_offsets":[0,256]}}""", 256),
                Safetensors("""{"<cat-toy>":{"dtype":"F16","shape":[32],"data_offsets":[0,64]}}""", 64),
                Safetensors(
                    """
                    {"string_to_param.*":{"dtype":"BF16","shape":[1,32],"data_offsets":[0,64]},"step":{"dtype":"I64",
                    "shape":[1],"data_offsets":[64,72]}}
                    """,
                    72
                ),
            ],
            [.. s_tensorWords, "emb_params", "string_to_param.*", "clip_g", "clip_l", "[1,32]", "[75,32]", "[768]"],
            bytes =>
            {
                TextEmbedding embedding = EmbeddingFile.Read(new EmbeddingRequest(Put("e.safetensors", bytes)), 32, 75);
                embedding.Hash();
            }
        );

    private FuzzTarget ReportTarget()
    {
        byte[] report = Utf8(
            """
            {"kind":"kernels","device":"cpu","hardware":"2 threads","precision":"f32","weights":"f32","date":"",
            "roofline":{"tflops":1,"gbs":1,"source":""},"kernels":[{"name":"add","op":"add","sizes":{"count":1},
            "calls":0,"samples":3,"median_ms":1,"q1_ms":1,"q3_ms":1,"spread_ms":0,"min_ms":1,"tflops":0,"gbs":1,
            "of_roofline":1}]}
            """
        );
        byte[] shape = Utf8("""{"op": "conv2d", "height": 8, "width": 6, "in": 5, "out": 7, "stride": 2}""");
        byte[] networks = Utf8(
            """
            {"storage":"f32","hardware":"x","cases":[{"case":"unet_forward","experts":1,"batch":1,"latent":8,
            "mode":"eager","ms":1,"min":1,"max":1,"ops":[{"name":"a","calls":1,"ms":1,"tflops":1,"gbs":1,
            "of_roofline":1}]}]}
            """
        );
        string[] words =
        [
            "\"kernels\":",
            "\"median_ms\":",
            "\"op\":",
            "\"linear\"",
            "\"cases\":",
            "null",
            "\"ops\":",
            "[]",
            "\"geglu\": true",
            "\"kernel\": 3",
        ];
        return new FuzzTarget(
            "report",
            [report, shape, networks],
            words,
            bytes =>
            {
                string path = Put("r.json", bytes);
                Try(() => KernelReport.Read(path));
                Try(() => ReportTable.Write([path]));
                StandardShapes.Read(path);
            }
        );
    }
}
