using System.Text.Json.Nodes;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Imaging;
using AfaNative.Engine.Sampling.Samplers;
using AfaNative.Tests.Ensemble;
using Xunit;

namespace AfaNative.Tests.Tool;

/// <summary>Numbers in and out of <c>sample</c>, the sampler a model brings along, and settings that do nothing.</summary>
public sealed class TensorCommandTests(TinyEnsemble tiny) : IClassFixture<TinyEnsemble>
{
    private static readonly string[] s_picture =
    [
        "--prompt",
        "x",
        "--steps",
        "4",
        "--width",
        "32",
        "--height",
        "32",
        "--seed",
        "5",
    ];

    [Fact]
    public void Saved_latents_draw_the_same_picture_and_maps_go_to_a_file_each()
    {
        using var folder = new TemporaryFolder();
        string output = folder.File("out"),
            numbers = folder.File("numbers"),
            latents = Path.Combine(numbers, "00002-6-latents.safetensors");
        (int code, string text, string error) = InProcess.Run([
            "sample",
            tiny.Path,
            .. s_picture,
            "--count",
            "2",
            "--batch-size",
            "2",
            "--out",
            output,
            "--save-latents",
            numbers,
            "--save-steps",
            "0,last",
            "--save-maps",
            numbers,
        ]);
        Assert.True(code == 0, error);
        Assert.Equal(
            [
                "00001-5-latents.safetensors",
                "00001-5-maps.safetensors",
                "00002-6-latents.safetensors",
                "00002-6-maps.safetensors",
            ],
            Directory.GetFiles(numbers).Select(Path.GetFileName).Order(StringComparer.Ordinal)
        );
        Assert.Contains("00002-6.png", text);
        using (SafetensorsFile file = SafetensorsFile.Open(latents))
            Assert.Equal(
                ["latents", "latents.0", "latents.4", "latents.final", "prediction.0"],
                file.Tensors.Keys.Order(StringComparer.Ordinal)
            );
        using (SafetensorsFile file = SafetensorsFile.Open(Path.Combine(numbers, "00001-5-maps.safetensors")))
            Assert.Equal(4 * 25, file.Tensors.Count);

        // Another seed, the same noise.
        (code, _, error) = InProcess.Run(["sample", tiny.Path, .. s_picture[..^1], "99", "--out", output, "--latents", latents]);
        Assert.True(code == 0, error);
        Assert.Equal(
            PngFile.Read(Path.Combine(output, "00002-6.png"), out _).Pixels,
            PngFile.Read(Path.Combine(output, "00003-99.png"), out string? parameters).Pixels
        );
        Assert.Contains("Latents: ", parameters);
        Assert.False(File.Exists(Path.Combine(output, "00004-100.png")));

        (code, _, error) = InProcess.Run([
            "sample",
            tiny.Path,
            "--prompt",
            "x",
            "--width",
            "48",
            "--height",
            "32",
            "--out",
            output,
            "--latents",
            latents,
        ]);
        Assert.Equal(1, code);
        Assert.Contains("[1, 4, 4, 4]", error);
        Assert.Contains("[1, 4, 4, 6]", error);
    }

    [Fact]
    public void The_model_s_scheduler_chooses_the_sampler_and_settings_without_effect_are_said()
    {
        using var folder = new TemporaryFolder();
        string model = folder.File("model"),
            output = folder.File("out");
        Copy(tiny.Path, model);
        string path = Path.Combine(model, "scheduler", "scheduler_config.json");
        JsonNode scheduler = JsonNode.Parse(File.ReadAllText(path))!;
        scheduler["_class_name"] = "EulerDiscreteScheduler";
        scheduler["clip_sample"] = true;
        scheduler["surprise"] = 1;
        scheduler["use_karras_sigmas"] = true;
        File.WriteAllText(path, scheduler.ToJsonString());
        (int code, _, string error) = InProcess.Run([
            "sample",
            model,
            .. s_picture,
            "--count",
            "1",
            "--out",
            output,
            "--eta",
            "0.5",
        ]);
        Assert.True(code == 0, error);
        Assert.Contains("sampler: Euler Karras, as the model's EulerDiscreteScheduler says", error);
        foreach (string said in (string[])["clip_sample is true", "surprise is no key", "Euler Karras has no eta"])
            Assert.Contains("warning: ", error.Split('\n').Single(l => l.Contains(said, StringComparison.Ordinal)));
        _ = PngFile.Read(Path.Combine(output, "00001-5.png"), out string? parameters);
        Assert.Contains("Sampler: Euler Karras", parameters);
        Assert.DoesNotContain("Eta", parameters);
        (code, _, error) = InProcess.Run([
            "sample",
            model,
            .. s_picture,
            "--count",
            "1",
            "--out",
            output,
            "--sampler",
            "Euler a",
            "--eta",
            "0.5",
        ]);
        Assert.True(code == 0, error);
        _ = PngFile.Read(Path.Combine(output, "00002-5.png"), out parameters);
        Assert.Contains("Eta: 0.5", parameters);
        // The picture's eta and sampler come back.
        (code, _, error) = InProcess.Run("sample", model, "--from", Path.Combine(output, "00002-5.png"), "--out", output);
        Assert.True(code == 0, error);
        Assert.Equal(
            PngFile.Read(Path.Combine(output, "00002-5.png"), out _).Pixels,
            PngFile.Read(Path.Combine(output, "00003-5.png"), out _).Pixels
        );
    }

    [Theory]
    [InlineData("--save-steps", "--save-steps", "0")]
    [InlineData("no step 9", "--save-latents", "DIR", "--save-steps", "9")]
    [InlineData("one file", "--save-maps", "DIR/maps.safetensors", "--count", "2")]
    [InlineData("--latents does not go with", "--latents", "nowhere", "--x", "seed=1,2")]
    public void Numbers_that_cannot_be_are_one_sentence(string expected, params string[] arguments)
    {
        using var folder = new TemporaryFolder();
        (int code, _, string error) = InProcess.Run([
            "sample",
            tiny.Path,
            .. s_picture,
            "--out",
            folder.File("out"),
            .. arguments.Select(a => a.Replace("DIR", folder.Path, StringComparison.Ordinal)),
        ]);
        Assert.Equal(1, code);
        Assert.Contains(expected, error);
        Assert.Empty(Directory.GetFiles(folder.Path, "*", SearchOption.AllDirectories));
    }

    [Fact]
    public void A_picture_whose_numbers_are_none_is_an_error_and_no_file()
    {
        using var folder = new TemporaryFolder();
        string latents = folder.File("latents.safetensors"),
            output = folder.File("out");
        var huge = new float[4 * 4 * 4];
        Array.Fill(huge, 3e38f);
        SafetensorsWriter.Write(latents, [TensorEntry.FromFloat32("latents", [4, 4, 4], huge)]);
        (int code, _, string error) = InProcess.Run([
            "sample",
            tiny.Path,
            .. s_picture,
            "--out",
            output,
            "--latents",
            latents,
            "--save-latents",
            output,
        ]);
        Assert.Equal(1, code);
        Assert.Contains("not finite numbers", error);
        Assert.Contains("step 1 of 4", error);
        Assert.Empty(Directory.GetFiles(output));
    }

    private static void Copy(string from, string to)
    {
        foreach (string file in Directory.GetFiles(from, "*", SearchOption.AllDirectories))
        {
            string at = Path.Combine(to, Path.GetRelativePath(from, file));
            Directory.CreateDirectory(Path.GetDirectoryName(at)!);
            File.Copy(file, at);
        }
    }
}
