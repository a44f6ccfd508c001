using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Pipeline;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Synthesis;
using AfaNative.Tests.Support;
using Xunit;

namespace AfaNative.Tests.Checkpoints;

/// <summary>Single-file checkpoints: recognised, refused, sampled, assembled and merged.</summary>
public sealed class SingleFileTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly string _base,
        _file;

    public SingleFileTests()
    {
        _base = _folder.File("base");
        _file = _folder.File("a.safetensors");
        TinyModels.Write(
            _base,
            new SyntheticOptions
            {
                Experts = 3,
                Type = ElementType.Float16,
                Seed = 7,
            }
        );
        TinyModels.Write(
            _file,
            new SyntheticOptions
            {
                Experts = 3,
                Type = ElementType.Float16,
                Seed = 7,
                SingleFile = true,
            }
        );
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void A_single_file_draws_what_its_folder_draws()
    {
        using var device = new CpuDevice(2);
        var options = new GenerationOptions
        {
            Prompt = "a b",
            Steps = 2,
            Width = 64,
            Height = 64,
            Seeds = [3],
        };
        using DiffusionModel folder = DiffusionModel.Load(device, _base, expert: 0),
            file = DiffusionModel.Load(device, EnsembleFolder.OpenSingleFile(_file, _base));
        Assert.Equal(new TextToImagePipeline(folder).Generate(options)[0], new TextToImagePipeline(file).Generate(options)[0]);
        Assert.Contains("`base`", Assert.Throws<CheckpointException>(() => EnsembleFolder.OpenSingleFile(_file, null)).Message);
    }

    [Fact]
    public void Extras_are_reported_and_older_names_understood()
    {
        string other = Rewrite(
            "extras.safetensors",
            e => e.Name.Contains("text_model.") ? e with { Name = e.Name.Replace("text_model.", "") } : e,
            [
                TensorEntry.FromFloat32("model_ema.diffusion_modelinput_blocks00weight", [1], [1]),
                TensorEntry.FromFloat32("model_ema.decay", [1], [1]),
                TensorEntry.FromFloat32("betas", [2], [1, 2]),
                new TensorEntry(
                    "cond_stage_model.transformer.embeddings.position_ids",
                    ElementType.Int64,
                    [1, 1],
                    s => s.Write(new byte[8])
                ),
            ]
        );
        SingleFileContents contents = SingleFile.Describe(other);
        Assert.Equal((684, 244, 36, 2), (contents.UNet, contents.Vae, contents.Text, contents.Ema));
        Assert.Equal(["betas", "cond_stage_model.transformer.embeddings.position_ids"], contents.Ignored);
        Assert.Contains("2 EMA copies not used", contents.ToString());
        string created = _folder.File("one");
        EnsembleBuilder.Create(created, new EnsembleOptions { Base = _base, Experts = [other] });
        SameTensors(Path.Combine(_base, "unet"), Path.Combine(created, "unet"));
        SameTensors(Path.Combine(_base, "text_encoder"), Path.Combine(created, "text_encoder"));
    }

    [Theory]
    [InlineData("lora_unet_down_blocks_0.lora_up.weight", "LoRA")]
    [InlineData("down.lora_A.weight", "LoRA")]
    [InlineData("emb_params", "textual-inversion")]
    [InlineData("conditioner.embedders.1.model.ln_final.weight", "XL")]
    [InlineData("cond_stage_model.model.transformer.resblocks.0.ln_1.weight", "2.x")]
    [InlineData("control_model.input_blocks.0.0.weight", "ControlNet")]
    public void Other_kinds_are_named(string key, string kind)
    {
        string path = _folder.File("other.safetensors");
        SafetensorsWriter.Write(path, [TensorEntry.FromFloat32(key, [1], [1])]);
        var error = Assert.Throws<CheckpointException>(() => SingleFile.Describe(path));
        Assert.Contains(kind, error.Message);
        Assert.Contains("other.safetensors", error.Message);
    }

    [Fact]
    public void An_inpainting_model_is_named_and_a_missing_tensor_too()
    {
        string inpainting = Rewrite(
            "inpainting.safetensors",
            e =>
                e.Name == "model.diffusion_model.input_blocks.0.0.weight"
                    ? TensorEntry.FromFloat32(e.Name, [32, 9, 3, 3], new float[32 * 81])
                    : e,
            []
        );
        Assert.Contains(
            "inpainting",
            Assert
                .Throws<CheckpointException>(() =>
                    EnsembleBuilder.Create(_folder.File("x"), new EnsembleOptions { Base = _base, Experts = [inpainting] })
                )
                .Message
        );
        string torn = Rewrite("torn.safetensors", e => e.Name == "model.diffusion_model.out.2.weight" ? null : e, []);
        Assert.Contains(
            "conv_out.weight",
            Assert
                .Throws<CheckpointException>(() =>
                    EnsembleBuilder.Create(_folder.File("x"), new EnsembleOptions { Base = _base, Experts = [_file, torn] })
                )
                .Message
        );
        Assert.False(Directory.Exists(_folder.File("x")) || Directory.EnumerateFileSystemEntries(_folder.Path, ".*").Any());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void An_ensemble_of_files_averages_until_it_is_trained(bool link)
    {
        string output = _folder.File("ensemble"),
            second = _folder.File("a-1.safetensors");
        EnsembleBuilder.Create(
            output,
            new EnsembleOptions
            {
                Base = _base,
                Experts = [_file, second, Path.Combine(_base)],
                HiddenSize = 64,
                Layers = 1,
                Heads = 4,
                Link = link,
                Vae = second,
            }
        );
        EnsembleFolder folder = EnsembleFolder.Open(output);
        Assert.Equal((3, 3, 25), (folder.UNets.Count, folder.TextEncoders.Count, folder.Aggregators.Count));
        SameTensors(Path.Combine(_base, "additional_unet_0"), folder.UNets[1]);
        SameTensors(Path.Combine(_base, "unet"), folder.UNets[2]);
        SameTensors(Path.Combine(_base, "vae"), folder.Vae);
        Assert.Equal(
            link,
            new FileInfo(Path.Combine(folder.UNets[0], "diffusion_pytorch_model.safetensors")).LinkTarget is not null
        );
        using var device = new CpuDevice(2);
        using DiffusionModel model = DiffusionModel.Load(device, output);
        var weights = new List<float>();
        new TextToImagePipeline(model).GenerateLatents(
            new GenerationOptions
            {
                Prompt = "a",
                Steps = 1,
                Width = 64,
                Height = 64,
                Seeds = [1],
            },
            new GenerationObserver { Aggregation = (_, _, _, maps) => weights.AddRange(new Ops(device).Download(maps)) }
        );
        Assert.All(weights, w => Assert.Equal(1f / 3, w, 1e-6f));
        Assert.Throws<AfaException>(() =>
            EnsembleBuilder.Create(output, new EnsembleOptions { Base = _base, Experts = [_file] })
        );
    }

    internal static void SameTensors(string expected, string came)
    {
        using Checkpoint a = Checkpoint.Open(expected, "diffusion_pytorch_model", "model", "aggregator"),
            b = Checkpoint.Open(came, "diffusion_pytorch_model", "model", "aggregator");
        foreach (string name in a.Names)
        {
            a.TryGet(name, out SafetensorsFile? left, out SafetensorsTensor? one);
            Assert.True(b.TryGet(name, out SafetensorsFile? right, out SafetensorsTensor? other), name);
            Assert.Equal(one!.Type, other.Type);
            Assert.True(left!.Bytes(one).SequenceEqual(right.Bytes(other)), name);
        }
    }

    private string Rewrite(string name, Func<TensorEntry, TensorEntry?> change, TensorEntry[] more)
    {
        string path = _folder.File(name);
        using SafetensorsFile file = SafetensorsFile.Open(_file);
        SafetensorsWriter.Write(
            path,
            [
                .. file
                    .Tensors.Values.Select(t => change(new TensorEntry(t.Name, t.Type, t.Shape, s => s.Write(file.Bytes(t)))))
                    .OfType<TensorEntry>(),
                .. more,
            ]
        );
        return path;
    }
}
