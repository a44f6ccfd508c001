using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Files;
using AfaNative.Engine.Imaging;
using AfaNative.Engine.Sampling.Samplers;
using AfaNative.Tests.Ensemble;
using AfaNative.Tests.Imaging;
using Xunit;

namespace AfaNative.Tests.Tool;

/// <summary>Pictures drawn again from what they record, those of others as well; what cannot be had again is said.</summary>
public sealed class FromPictureTests(TinyEnsemble tiny) : IClassFixture<TinyEnsemble>, IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void One_made_from_a_picture_asks_for_it_and_is_the_same_again()
    {
        File.WriteAllBytes(
            _folder.File("photo.png"),
            PictureFileTests.Png(
                64,
                32,
                8,
                6,
                [
                    .. Enumerable
                        .Range(0, 64 * 32)
                        .SelectMany(i => (byte[])[(byte)(4 * i), (byte)(i / 8), 90, (byte)(i % 64 < 32 ? 255 : 0)]),
                ]
            )
        );
        File.WriteAllBytes(
            _folder.File("mask.png"),
            PictureFileTests.Png(64, 32, 8, 0, [.. Enumerable.Range(0, 64 * 32).Select(i => (byte)(i % 64 < 32 ? 255 : 0))])
        );
        (string first, string text, string error) = Draw(
            "a",
            "--prompt",
            "a red circle",
            "--init-image",
            _folder.File("photo.png"),
            "--mask",
            _folder.File("mask.png"),
            "--background",
            "#00ff00",
            "--strength",
            "0.6",
            "--width",
            "32",
            "--height",
            "32",
            "--steps",
            "3"
        );
        Assert.Contains("64x32 pixels are brought to 32x32: what is too much is cut off", error);
        Assert.Contains("Denoising strength: 0.6", text);
        Assert.Contains(
            $"Init image hash: {FileHash.Short([_folder.File("photo.png")])}, Mask hash: "
                + $"{FileHash.Short([_folder.File("mask.png")])}, Resize mode: crop, Background: #00ff00, ",
            text
        );
        Refused("the picture was made from another one (Denoising strength: 0.6, hash ", "--from", first);
        Refused("part of the picture was repainted", "--from", first, "--init-image", _folder.File("photo.png"));
        (string second, _, error) = Draw(
            "b",
            "--from",
            first,
            "--init-image",
            _folder.File("photo.png"),
            "--mask",
            _folder.File("mask.png")
        );
        Assert.Equal(File.ReadAllBytes(first), File.ReadAllBytes(second));
        Assert.DoesNotContain("another file", error);
        // Another picture is said to be; without one it is drawn from noise only when asked.
        (_, _, error) = Draw("c", "--from", first, "--init-image", _folder.File("mask.png"), "--mask", "none");
        Assert.Contains("made from another file than this one", error);
        Assert.DoesNotContain("Denoising", Draw("d", "--from", first, "--init-image", "none").Text);
        // One edge keeps the proportion.
        Assert.Contains(
            "Size: 16x8, ",
            Draw("e", "--prompt", "x", "--init-image", _folder.File("photo.png"), "--width", "16", "--steps", "2").Text
        );
        Refused("--resize is for --init-image", "--prompt", "x", "--resize", "fill");
        Refused(
            "--background: expected a colour",
            "--prompt",
            "x",
            "--init-image",
            _folder.File("photo.png"),
            "--background",
            "whitish"
        );
    }

    [Fact]
    public void Loras_vae_and_expert_come_back_by_name_and_hash()
    {
        string ink = WriteLora("loras/ink.safetensors", 4),
            vae = _folder.File("vaes/other.safetensors");
        Directory.CreateDirectory(_folder.File("vaes"));
        File.Copy(Directory.GetFiles(Path.Combine(tiny.Path, "vae"), "*.safetensors").Single(), vae);
        (string first, string text, _) = Draw(
            "a",
            "--prompt",
            "a red circle",
            "--expert",
            "1",
            "--lora",
            ink + ":0.8",
            "--vae",
            Path.Combine(tiny.Path, "vae"),
            "--vae-tiling",
            "on",
            "--steps",
            "2",
            "--width",
            "32",
            "--height",
            "32"
        );
        Assert.Contains("Expert: 1, LoRAs: \"ink:0.8\", Lora hashes: \"ink: ", text);
        Assert.Contains("VAE: vae, VAE tiling: on", text);
        Refused("drawn with the LoRA 'ink' (weight 0.8) (hash ", "--from", first);
        (string second, _, string error) = Draw("b", "--from", first, "--lora-dir", _folder.File("loras"));
        Assert.Equal(File.ReadAllBytes(first), File.ReadAllBytes(second));
        Assert.DoesNotContain("another file", error);
        Assert.DoesNotContain("drawn by other weights", error);
        (_, text, error) = Draw("c", "--from", first, "--lora", "none", "--vae", "none", "--expert", "0");
        Assert.DoesNotContain("LoRA", text);
        Assert.Contains("drawn with the LoRA 'ink'", error);
        WriteLora("loras/ink.safetensors", 5);
        Assert.Contains(
            "the LoRA 'ink' is now another file",
            Draw("d", "--from", first, "--lora-dir", _folder.File("loras")).Error
        );
    }

    [Fact]
    public void MagicFusion_comes_back_with_its_settings()
    {
        (string first, string text, _) = Draw(
            "a",
            "--prompt",
            "a red circle",
            "--fusion",
            "magic",
            "--magic-weights",
            "1",
            "0.5",
            "2",
            "--magic-switch",
            "400",
            "--guidance",
            "3",
            "--steps",
            "2",
            "--width",
            "32",
            "--height",
            "32"
        );
        Assert.Contains("Fusion: MagicFusion, Magic weights: 1 + 0.5 + 2, Magic switch: 400", text);
        Assert.Equal(File.ReadAllBytes(first), File.ReadAllBytes(Draw("b", "--from", first).File));
    }

    [Fact]
    public void Pictures_of_A1111_are_drawn_as_it_did_as_far_as_can_be()
    {
        const string Line = "Steps: 2, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 3, Seed: 9, Size: 32x32, ";
        string theirs = Theirs(
            "theirs.png",
            Line
                + "Model hash: 0123456789, Token merging ratio: 0.5, VAE hash: 0011223344, "
                + "VAE: lost.safetensors, TI hashes: \"easy: 112233\", Version: v1.10.1\nTemplate: a {b|c}"
        );
        (_, string text, string error) = Draw("a", "--from", theirs);
        Assert.StartsWith(
            "a cat\nNegative prompt: dog\nSteps: 2, Sampler: DPM++ 2M Karras, CFG scale: 3, Seed: 9, Size: "
                + "32x32, RNG: GPU, ",
            text
        );
        Assert.Contains("not taken over, since this program does not know it: Token merging ratio: 0.5\n", error);
        Assert.Contains("decoded by the VAE 'lost.safetensors' (hash 0011223344)", error);
        Assert.Contains("used the embedding 'easy'", error);
        Refused(
            "'Sampler: DPM++ 2M, Schedule type: SGM Uniform', which this program does not have",
            "--from",
            Theirs("sgm.png", Line.Replace("Karras", "SGM Uniform", StringComparison.Ordinal) + "Version: v1.10.1")
        );
        Refused("random numbers are 'TPU'", "--from", Theirs("tpu.png", Line + "RNG: TPU"));
        Refused("joined by 'glue'", "--from", Theirs("glue.png", Line + "Fusion: glue, Version: AfaNative 0.1.0"));
        Refused("--init-image FILE names that", "--from", Theirs("img.png", Line + "Denoising strength: 0.4, Version: v1.10.1"));
        Refused("'CFG scale: much', which is no number", "--from", Theirs("much.png", "Steps: 2, CFG scale: much, Seed: 1"));
    }

    [Fact]
    public void Prompts_are_looked_at_before_anything_is_loaded()
    {
        Refused("nest more than 250 deep", "--prompt", new string('(', 300));
        _folder.Write("prompts.txt", "a\n(b:99999)\n");
        Refused("prompts.txt, line 2: The prompt weighs 'b' by 99999", "--prompts", _folder.File("prompts.txt"), "--count", "1");
        (_, _, string error) = Draw(
            "a",
            "--prompt",
            "a [cat:dog:0.5] AND <hypernet:h:1>",
            "--steps",
            "1",
            "--width",
            "32",
            "--height",
            "32"
        );
        Assert.Contains("warning: prompt editing is not supported yet: '[cat:dog:0.5]'", error);
        Assert.Contains("warning: AND does not join prompts yet", error);
        Assert.Contains("warning: only <lora:...> is a tag here: '<hypernet:h:1>'", error);
    }

    private string Theirs(string name, string settings)
    {
        PngFile.Write(_folder.File(name), new RgbImage(1, 1, new byte[3]), "a cat\nNegative prompt: dog\n" + settings);
        return _folder.File(name);
    }

    private (string File, string Text, string Error) Draw(string output, params string[] arguments)
    {
        string[] seed = arguments.Contains("--from") ? [] : ["--seed", "2"];
        (int code, _, string error) = InProcess.Run([
            "sample",
            tiny.Path,
            .. arguments,
            .. seed,
            "--count",
            "1",
            "--out",
            _folder.File(output),
        ]);
        Assert.True(code == 0, error);
        string file = Directory.GetFiles(_folder.File(output)).Single();
        return (file, PictureText.Read(file), error.ReplaceLineEndings("\n"));
    }

    private void Refused(string expected, params string[] arguments)
    {
        (int code, _, string error) = InProcess.Run(["sample", tiny.Path, .. arguments, "--out", _folder.File("refused")]);
        Assert.Equal(1, code);
        Assert.Contains(expected, string.Join(' ', error.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)));
        Assert.False(Directory.Exists(_folder.File("refused")));
    }

    private string WriteLora(string name, int seed)
    {
        var random = new System.Random(seed);
        TensorEntry Matrix(string tensor, params long[] shape) =>
            TensorEntry.FromFloat32(
                tensor,
                shape,
                [.. Enumerable.Range(0, (int)shape.Aggregate(1L, (a, b) => a * b)).Select(_ => random.NextSingle() - 0.5f)]
            );
        string path = _folder.File(name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        SafetensorsWriter.Write(
            path,
            [Matrix("lora_unet_conv_in.lora_down.weight", 2, 4, 3, 3), Matrix("lora_unet_conv_in.lora_up.weight", 32, 2, 1, 1)]
        );
        return path;
    }
}
