using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Kernels.Contracts;
using AfaNative.Synthesis;
using AfaNative.Tests.Checkpoints;
using AfaNative.Tests.Support;
using Xunit;

namespace AfaNative.Tests.Ensemble;

/// <summary>Merges against plain arithmetic and against each other.</summary>
public sealed class ModelMergeTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly string[] _models;

    public ModelMergeTests()
    {
        _models = [_folder.File("a"), _folder.File("b.safetensors"), _folder.File("c")];
        for (int i = 0; i < 3; i++)
            TinyModels.Write(
                _models[i],
                new SyntheticOptions
                {
                    Seed = (ulong)i,
                    Type = i == 0 ? ElementType.Float32 : ElementType.Float16,
                    SingleFile = i == 1,
                }
            );
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void All_the_weight_on_one_model_is_that_model()
    {
        ModelMerge.Write(_folder.File("m"), MergeOptions.Weighted(_models, [1, 0, 0]));
        foreach (string component in (string[])["unet", "text_encoder", "vae"])
            SingleFileTests.SameTensors(Path.Combine(_models[0], component), Path.Combine(_folder.File("m"), component));
        Assert.True(File.Exists(Path.Combine(_folder.File("m"), "tokenizer", "vocab.json")));
        Assert.Throws<AfaException>(() => ModelMerge.Write(_folder.File("m"), MergeOptions.Weighted(_models, [1, 1, 1])));
    }

    [Fact]
    public void What_a_model_was_made_with_and_the_base_has_not_is_refused_or_named()
    {
        string schedule = Path.Combine(_models[2], "scheduler", "scheduler_config.json");
        string text = File.ReadAllText(schedule);
        File.WriteAllText(schedule, text.Replace("\"epsilon\"", "\"v_prediction\"", StringComparison.Ordinal));
        string refused = Assert
            .Throws<AfaException>(() =>
                ModelMerge.Write(_folder.File("m"), MergeOptions.Weighted([_models[0], _models[2]], [1, 1]))
            )
            .Message;
        Assert.Contains("must predict the same", refused);
        Assert.False(Directory.Exists(_folder.File("m")));
        File.WriteAllText(schedule, text);
        File.AppendAllText(Path.Combine(_models[2], "tokenizer", "merges.txt"), "\n");
        var warnings = new List<string>();
        ModelMerge.Write(_folder.File("m"), MergeOptions.Weighted([_models[0], _models[2]], [1, 1]), warn: warnings.Add);
        Assert.Contains(warnings, w => w.Contains("another tokenizer", StringComparison.Ordinal));
        TinyModels.Write(_folder.File("three"), new SyntheticOptions { Experts = 3 });
        ModelMerge.Write(
            _folder.File("n"),
            MergeOptions.Weighted([_models[0], _folder.File("three")], [1, 1]),
            warn: warnings.Add
        );
        Assert.Contains(
            warnings,
            w => w.Contains("an ensemble of 3 experts, of which the first alone is taken", StringComparison.Ordinal)
        );
    }

    [Fact]
    public void Weighted_sums_are_plain_arithmetic()
    {
        ModelMerge.Write(_folder.File("m"), MergeOptions.Weighted(_models, [2, 1, 1]));
        foreach (
            (string component, string name) in ((string, string)[])
                [("unet", "down_blocks.1.resnets.0.conv1.weight"), ("text_encoder", "text_model.encoder.layers.1.mlp.fc1.weight")]
        )
        {
            float[] a = Values(_models[0], component, name),
                b = Values(_models[1], component, name),
                c = Values(_models[2], component, name),
                m = Values(_folder.File("m"), component, name);
            for (int i = 0; i < m.Length; i++)
                Assert.Equal((float)(0.5 * a[i] + 0.25 * b[i] + 0.25 * c[i]), m[i]);
        }
    }

    [Fact]
    public void Equal_block_weights_are_a_weighted_merge_in_either_layout()
    {
        string[] two = _models[..2];
        ModelMerge.Write(_folder.File("w"), MergeOptions.Weighted(two, [0.7, 0.3]));
        ModelMerge.Write(_folder.File("m"), MergeOptions.BlockWeighted(two, [BlockWeights.Parse("0.3")], [0.3]));
        ModelMerge.Write(
            _folder.File("f.safetensors"),
            MergeOptions.BlockWeighted(two, [BlockWeights.Parse("0.7"), BlockWeights.Parse("0.3")], [0.7, 0.3])
        );
        foreach (string component in (string[])["unet", "text_encoder", "vae"])
        {
            SingleFileTests.SameTensors(Path.Combine(_folder.File("w"), component), Path.Combine(_folder.File("m"), component));
            SingleFileTests.SameTensors(Path.Combine(_folder.File("w"), component), _folder.File("f.safetensors"));
        }
    }

    [Fact]
    public void Each_block_has_its_own_weight()
    {
        double[] alphas = [.. Enumerable.Range(0, 25).Select(i => i / 32.0)];
        ModelMerge.Write(_folder.File("m"), MergeOptions.BlockWeighted([_models[0], _models[2]], [alphas], [0]));
        (string Name, int Block)[] tensors =
        [
            ("time_embedding.linear_1.weight", 0),
            ("conv_in.weight", 0),
            ("down_blocks.0.resnets.0.conv1.weight", 1),
            ("down_blocks.0.downsamplers.0.conv.weight", 3),
            ("down_blocks.1.attentions.1.proj_in.weight", 5),
            ("down_blocks.3.resnets.1.conv2.weight", 11),
            ("mid_block.attentions.0.proj_in.weight", 12),
            ("up_blocks.0.resnets.0.conv1.weight", 13),
            ("up_blocks.0.upsamplers.0.conv.weight", 15),
            ("up_blocks.3.attentions.2.proj_out.weight", 24),
            ("conv_out.weight", 24),
        ];
        foreach ((string name, int block) in tensors)
        {
            Assert.Equal(block, BlockWeights.IndexOf(name));
            float[] a = Values(_models[0], "unet", name),
                b = Values(_models[2], "unet", name),
                m = Values(_folder.File("m"), "unet", name);
            for (int i = 0; i < m.Length; i++)
                Assert.Equal((float)((1 - alphas[block]) * a[i] + alphas[block] * b[i]), m[i]);
        }

        SingleFileTests.SameTensors(Path.Combine(_models[0], "text_encoder"), Path.Combine(_folder.File("m"), "text_encoder"));
    }

    [Fact]
    public void A_difference_is_added()
    {
        ModelMerge.Write(_folder.File("m"), MergeOptions.AddDifference(_models[0], _models[1], _models[2], 0.5));
        const string name = "up_blocks.2.resnets.1.conv1.weight";
        float[] a = Values(_models[0], "unet", name),
            b = Values(_models[1], "unet", name),
            c = Values(_models[2], "unet", name),
            m = Values(_folder.File("m"), "unet", name);
        for (int i = 0; i < m.Length; i++)
            Assert.Equal((float)(a[i] + 0.5 * b[i] - 0.5 * c[i]), m[i]);
    }

    [Fact]
    public void Weights_that_make_no_sense_are_refused()
    {
        Assert.Contains("3 weights, 2 came", Assert.Throws<AfaException>(() => MergeOptions.Weighted(_models, [1, 1])).Message);
        Assert.Contains(
            "cannot be divided",
            Assert.Throws<AfaException>(() => MergeOptions.Weighted(_models, [1, -1, 0])).Message
        );
        Assert.Contains("25 numbers", Assert.Throws<AfaException>(() => BlockWeights.Parse("0.1,0.2")).Message);
        Assert.Contains("no preset", Assert.Throws<AfaException>(() => BlockWeights.Parse("zigzag")).Message);
        Assert.All(BlockWeights.Presets, p => Assert.All(BlockWeights.Parse(p), w => Assert.InRange(w, 0, 1)));
        Assert.Equal(1, BlockWeights.Parse("a")[12]);
        Assert.Equal(0, BlockWeights.Parse("v")[12]);
        Assert.Contains(
            "`base`",
            Assert
                .Throws<AfaException>(() =>
                    ModelMerge.Write(_folder.File("m"), MergeOptions.Weighted([_models[1], _models[1]], [1, 1]))
                )
                .Message
        );
    }

    private static float[] Values(string model, string component, string name)
    {
        using Checkpoint checkpoint = File.Exists(model)
            ? Checkpoint.OpenFile(model)
            : Checkpoint.Open(Path.Combine(model, component), "diffusion_pytorch_model", "model");
        Assert.True(checkpoint.TryGet(name, out SafetensorsFile? file, out SafetensorsTensor? tensor), name);
        return file.ReadFloat32(tensor.Name);
    }
}
