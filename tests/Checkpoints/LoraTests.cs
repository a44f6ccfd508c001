using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Pipeline;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Synthesis;
using AfaNative.Tests.Support;
using Xunit;

namespace AfaNative.Tests.Checkpoints;

/// <summary>LoRAs in the styles people have them, against weights changed by hand.</summary>
public sealed class LoraTests : IDisposable
{
    private const int Rank = 3;
    private const float Alpha = 6;

    // Attention, feed-forward, a 1x1 and a 3x3 convolution of the U-Net, and two layers of the text encoder.
    private static readonly (string Component, string Module)[] s_layers =
    [
        ("unet", "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"),
        ("unet", "mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0"),
        ("unet", "up_blocks.1.attentions.0.transformer_blocks.0.ff.net.0.proj"),
        ("unet", "down_blocks.1.attentions.1.proj_in"),
        ("unet", "down_blocks.0.resnets.1.conv1"),
        ("text_encoder", "text_model.encoder.layers.0.self_attn.q_proj"),
        ("text_encoder", "text_model.encoder.layers.1.mlp.fc1"),
    ];

    private readonly TemporaryFolder _folder = new();
    private readonly string _model;

    public LoraTests()
    {
        _model = _folder.File("model");
        TinyModels.Write(_model, new SyntheticOptions { Experts = 2, Seed = 3 });
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Weights_change_by_alpha_over_rank_times_up_and_down_in_every_style()
    {
        float[] plain = Draw(_model, expert: 0);
        string changed = ByHand(0.75);
        float[] expected = Draw(changed, expert: 0);
        Assert.NotEqual(plain, expected);
        foreach (string style in (string[])["kohya", "peft", "diffusers", "old"])
            Assert.Equal(expected, Draw(_model, 0, new LoraRequest(Write(style), 0.75)));
        // Twice half of it is all of it, to rounding; no weight is nothing.
        float[] halves = Draw(_model, 0, new LoraRequest(Write("kohya"), 0.375), new LoraRequest(Write("peft"), 0.375));
        Assert.True(halves.Zip(expected).Max(p => Math.Abs(p.First - p.Second)) < 1e-3);
        Assert.Equal(plain, Draw(_model, 0, new LoraRequest(Write("kohya"), 0)));
    }

    [Fact]
    public void One_expert_can_have_it_alone()
    {
        string lora = Write("kohya");
        Assert.Contains(
            "would have no effect",
            Assert.Throws<AfaException>(() => Draw(_model, 1, new LoraRequest(lora, 1, 0))).Message
        );
        Assert.Equal(Draw(_model, 0, new LoraRequest(lora)), Draw(_model, 0, new LoraRequest(lora, 1, 0)));
        float[] both = Draw(_model, null, new LoraRequest(lora)),
            first = Draw(_model, null, new LoraRequest(lora, 1, 0));
        Assert.NotEqual(both, first);
        Assert.NotEqual(Draw(_model, null), first);
        Assert.Contains(
            "experts 0 to 1",
            Assert.Throws<AfaException>(() => Draw(_model, null, new LoraRequest(lora, 1, 2))).Message
        );
    }

    [Fact]
    public void What_does_not_fit_is_named()
    {
        void Refused(string expected, params TensorEntry[] tensors)
        {
            string path = _folder.File("bad.safetensors");
            SafetensorsWriter.Write(path, tensors);
            Assert.Contains(expected, Assert.Throws<CheckpointException>(() => Draw(_model, 0, new LoraRequest(path))).Message);
        }

        TensorEntry Tensor(string name, params long[] shape) =>
            TensorEntry.FromFloat32(name, shape, new float[shape.Aggregate(1L, (a, b) => a * b)]);
        Refused("holds no LoRA layers", Tensor("conv_in.weight", 4, 4));
        Refused(
            "Stable Diffusion XL",
            Tensor("lora_te2_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight", 2, 32),
            Tensor("lora_te2_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight", 32, 2)
        );
        Refused(
            "made for another base model",
            Tensor("lora_unet_down_blocks_7_attentions_0_proj_in.lora_down.weight", 2, 32),
            Tensor("lora_unet_down_blocks_7_attentions_0_proj_in.lora_up.weight", 32, 2)
        );
        Refused(
            "the model's is [32, 32]",
            Tensor("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight", 2, 320),
            Tensor("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_up.weight", 320, 2)
        );
        Refused("has no", Tensor("lora_unet_conv_in.lora_down.weight", 2, 32));
        Refused("LoHa", Tensor("lora_unet_conv_in.hada_w1_a", 2, 32));
        Refused("neither of a U-Net", Tensor("something.lora_down.weight", 2, 32), Tensor("something.lora_up.weight", 32, 2));
    }

    [Theory]
    [InlineData("a.safetensors", "a.safetensors", 1, null)]
    [InlineData("a.safetensors:0.8", "a.safetensors", 0.8, null)]
    [InlineData("dir/a.safetensors:-0.5@2", "dir/a.safetensors", -0.5, 2)]
    [InlineData("a.safetensors@1", "a.safetensors", 1, 1)]
    [InlineData("C:/a.safetensors", "C:/a.safetensors", 1, null)]
    public void Requests_are_read_as_written(string text, string path, double weight, int? expert) =>
        Assert.Equal(new LoraRequest(path, weight, expert), LoraRequest.Parse(text));

    private static float[] Draw(string model, int? expert, params LoraRequest[] loras)
    {
        using var device = new CpuDevice(2);
        using DiffusionModel loaded = DiffusionModel.Load(device, EnsembleFolder.Open(model), expert, loras: loras);
        return new TextToImagePipeline(loaded).Generate(
            new GenerationOptions
            {
                Prompt = "a red circle",
                Steps = 2,
                Width = 32,
                Height = 32,
                Seeds = [1],
            }
        )[0];
    }

    private static (float[] Down, float[] Up, long[] Shape) Matrices(Checkpoint checkpoint, string module)
    {
        checkpoint.TryGet(module + ".weight", out _, out SafetensorsTensor? tensor);
        long outputs = tensor!.Shape[0],
            inputs = tensor.ElementCount / outputs;
        var random = new System.Random(module.Length);
        float[] Values(long count) => [.. Enumerable.Range(0, (int)count).Select(_ => random.NextSingle() - 0.5f)];
        return (Values(Rank * inputs), Values(outputs * Rank), [.. tensor.Shape]);
    }

    private Checkpoint Open(string component) =>
        Checkpoint.Open(Path.Combine(_model, component), "diffusion_pytorch_model", "model");

    private string Write(string style)
    {
        var tensors = new List<TensorEntry>();
        foreach ((string component, string module) in s_layers)
        {
            using Checkpoint checkpoint = Open(component);
            (float[] down, float[] up, long[] shape) = Matrices(checkpoint, module);
            long[] downShape = [Rank, .. shape[1..]],
                upShape = shape.Length == 4 ? [shape[0], Rank, 1, 1] : [shape[0], Rank];
            string dotted = (component == "unet" ? "unet." : "text_encoder.") + module;
            (string a, string b, string alpha) = style switch
            {
                "kohya" => Kohya($"lora_{(component == "unet" ? "unet" : "te")}_{module.Replace('.', '_')}"),
                "peft" => (dotted + ".lora_A.weight", dotted + ".lora_B.weight", dotted + ".alpha"),
                "diffusers" => (dotted + ".lora.down.weight", dotted + ".lora.up.weight", dotted + ".alpha"),
                _ => Old(dotted),
            };
            tensors.Add(TensorEntry.FromFloat32(a, downShape, down));
            tensors.Add(TensorEntry.FromFloat32(b, upShape, up));
            tensors.Add(TensorEntry.FromFloat32(alpha, [], [Alpha]));
        }

        string path = _folder.File(style + ".safetensors");
        SafetensorsWriter.Write(path, tensors);
        return path;

        (string, string, string) Kohya(string name) => (name + ".lora_down.weight", name + ".lora_up.weight", name + ".alpha");

        // The attention's processor in between, without the output's list.
        (string, string, string) Old(string name)
        {
            foreach (string attention in (string[])[".attn1.", ".attn2."])
                name = name.Replace(attention, attention + "processor.").Replace("to_out.0", "to_out");
            return name.Contains("processor")
                ? (name + "_lora.down.weight", name + "_lora.up.weight", name + ".alpha")
                : (name + ".lora.down.weight", name + ".lora.up.weight", name + ".alpha");
        }
    }

    private string ByHand(double weight)
    {
        string copy = _folder.File("changed");
        foreach (string file in Directory.EnumerateFiles(_model, "*", SearchOption.AllDirectories))
        {
            string to = Path.Combine(copy, Path.GetRelativePath(_model, file));
            Directory.CreateDirectory(Path.GetDirectoryName(to)!);
            File.Copy(file, to);
        }

        foreach (string component in (string[])["unet", "text_encoder"])
        {
            using Checkpoint checkpoint = Open(component);
            var tensors = new List<TensorEntry>();
            foreach (string name in checkpoint.Names)
            {
                checkpoint.TryGet(name, out SafetensorsFile? file, out SafetensorsTensor? tensor);
                float[] values = file!.ReadFloat32(name);
                if (s_layers.FirstOrDefault(l => l.Component == component && l.Module + ".weight" == name).Module is { } module)
                {
                    (float[] down, float[] up, _) = Matrices(checkpoint, module);
                    int inputs = down.Length / Rank;
                    for (int i = 0; i < values.Length; i++)
                    {
                        double sum = 0;
                        for (int r = 0; r < Rank; r++)
                            sum += (double)up[i / inputs * Rank + r] * down[r * inputs + i % inputs];
                        values[i] = (float)(values[i] + weight * Alpha / Rank * sum);
                    }
                }

                tensors.Add(TensorEntry.FromFloat32(name, [.. tensor!.Shape], values));
            }

            SafetensorsWriter.Write(Directory.EnumerateFiles(Path.Combine(copy, component), "*.safetensors").Single(), tensors);
        }

        return copy;
    }
}
