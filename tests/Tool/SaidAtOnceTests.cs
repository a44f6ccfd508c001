using AfaNative.Engine.Imaging;
using AfaNative.Engine.Sampling.Guidance;
using AfaNative.Engine.Sampling.Samplers;
using AfaNative.Tests.Ensemble;
using Xunit;

namespace AfaNative.Tests.Tool;

/// <summary>What has no effect is said, and what cannot work is refused before a model is loaded.</summary>
public sealed class SaidAtOnceTests(TinyEnsemble tiny) : IClassFixture<TinyEnsemble>
{
    // More steps than the schedule has end every run before its model is loaded.
    private const string TooMany = " --steps 5000 --out NEW";

    [Theory]
    [InlineData("sample TINY -p (red:1,3)" + TooMany, "weights are written with a point: '(red:1,3)' is taken as words")]
    [InlineData("sample TINY --width 2048 -p x" + TooMany, "2048x128 pixels are far from the 128x128 the model was made for")]
    [InlineData("sample TINY --width 64 --height 64 -p x" + TooMany, "64x64 pixels are far from the 128x128")]
    [InlineData("sample TINY -p x --lora-dir DIR" + TooMany, "no prompt asks for a LoRA")]
    [InlineData("sample TINY --prompts LINES" + TooMany, "lines 2, 3: JSON other than an object")]
    [InlineData("sample TINY --prompts LINES" + TooMany, "line 4: options (--name) are taken as words")]
    [InlineData("sample TINY --from MAGIC" + TooMany, "Magic weights and Magic switch without 'Fusion: MagicFusion'")]
    [InlineData("sample TINY -p x --init-image BLACK --mask BLACK" + TooMany, "black or transparent everywhere")]
    public async Task What_has_no_effect_is_said(string line, string expected)
    {
        (int code, string error, _) = await Run(line);
        Assert.Equal(1, code);
        Assert.Contains(expected, error);
        Assert.Contains("Expected 1 to 1000 sampling steps", error);
        Assert.DoesNotContain("loading", error);
    }

    [Theory]
    [InlineData("sample TINY -p x --width 128 --height 104" + TooMany)]
    [InlineData("sample TINY -p (red:1.3)" + TooMany)]
    [InlineData("sample TINY -p <lora:a> --lora-dir DIR" + TooMany)]
    public async Task What_is_usual_is_not_remarked_on(string line) => Assert.DoesNotContain("warning", (await Run(line)).Error);

    [Theory]
    [InlineData("sample TINY -p x --out FILE", "--out FILE: expected a folder, but a file is there")]
    [InlineData("sample TINY -p x --out /proc/none", "--out /proc/none: nothing can be written there")]
    [InlineData("sample TINY -p x --save-latents FILE --out NEW", "--save-latents FILE: expected a folder, but a file is there")]
    [InlineData("sample TINY -p x --save-maps /dev/full --out NEW", "--save-maps /dev/full: expected a folder, but no folder")]
    [InlineData("sample TINY -p x --save-maps FILE --out NEW", "--save-maps FILE: expected a folder, but a file is there")]
    [InlineData("sample TINY -p x --attention-maps FILE/x --out NEW", "--attention-maps FILE/x: expected a folder")]
    [InlineData("sample TINY -p a\uFFFDb --out NEW", "UTF-8 was expected, but the argument holds other bytes")]
    [InlineData("sample TINY -p x --init-image THIN --out NEW", "it would be brought to 8x40000 pixels; 16384 are the most")]
    [InlineData("sample TINY --from STARTED --out NEW", "the picture was made from another one (hash abcd): --init-image")]
    [InlineData("sample TINY -p x --negative_prompt y --out NEW", "here that is --negative ")]
    [InlineData("sample TINY -p x --batch-count 2 --out NEW", "here that is --count, the pictures of one prompt in all")]
    [InlineData("sample TINY -p x --n_iter 2 --out NEW", "here that is --count")]
    [InlineData("sample -p x --ckpt TINY --out NEW", "MODEL is given without an option")]
    [InlineData("sample TINY -p x --seed -1 --out NEW", "a random one is had by leaving it out")]
    [InlineData("sample TINY -p x --sampler dpmp_2m --out NEW", "did you mean dpmpp_2m?")]
    [InlineData("sample TINY -p x --vae TINY --out NEW", "it is a whole model's folder; its VAE is TINY/vae")]
    [InlineData(
        "sample TINY -p x --embedding NEW/bad.pt --out NEW",
        "bad.pt: expected an embedding (.safetensors), but there is"
    )]
    [InlineData("sample TINY -p x --magic-weights 1,2,1 --out NEW", "several numbers with blanks between")]
    [InlineData("sample TINY -p <lora:ink> --lora-dir PICKLES --out NEW", "which is not there (a file of that name is a pickle")]
    [InlineData("merge NEW --model TINY TINY --weights 0.7,0.7", "--weights: expected several numbers with blanks between")]
    [InlineData("merge NEW --model TINY TINY --mode blocks --blocks linear_up", "did you mean linear-up?")]
    [InlineData("merge NEW.ckpt --model TINY TINY", "NEW.ckpt: pickles (.ckpt) are not written")]
    [InlineData("merge TINY/out --model TINY TINY", "TINY/out: it lies in the model TINY, which stays as it is")]
    [InlineData("ensemble create TINY/out --base TINY --expert TINY TINY", "TINY/out: it lies in the model TINY")]
    [InlineData("ensemble create NEW.bin --base TINY --expert TINY TINY", "pickles (.bin) are not written")]
    [InlineData("sample TINY -p x --config TAB", "TAB, line 2: the options could not be read")]
    [InlineData("sample TINY -p x --config A1111", "'n_iter' is no option of sample; here that is --count")]
    public async Task What_cannot_work_is_refused_in_words_that_help(string line, string expected)
    {
        (int code, string error, string folder) = await Run(line);
        Assert.Equal(1, code);
        Assert.Contains(expected, error);
        Assert.DoesNotContain("loading U-Net", error);
        Assert.False(Directory.Exists(folder));
    }

    [Fact]
    public async Task A_single_file_gets_its_ending_and_help_shows_what_a_command_takes()
    {
        using var folder = new TemporaryFolder();
        (int code, string output, _) = await InProcess.RunAsync("synth", folder.File("one"), "--layout", "single-file");
        Assert.Equal((0, folder.File("one.safetensors")), (code, output.Trim()));
        Assert.True(File.Exists(folder.File("one.safetensors")));
        Assert.DoesNotContain("MODEL", (await InProcess.RunAsync("bench", "kernels", "--help")).Output);
        Assert.Contains("MODEL", (await InProcess.RunAsync("bench", "--help")).Output);
    }

    [Fact]
    public async Task A_preview_beyond_the_steps_and_embeddings_nobody_names_are_said()
    {
        using var folder = new TemporaryFolder();
        folder.Write("word.pt", "");
        string[] line =
            $"sample TINY -p x --count 1 --steps 1 --width 16 --height 16 --expert 0 --preview 9 --embedding-dir".Split(' ');
        line[1] = tiny.Path;
        (int code, _, string error) = await InProcess.RunAsync([.. line, folder.Path, "--out", folder.File("out")]);
        Assert.Equal(0, code);
        Assert.Contains("--preview 9 is more than the 1 steps of a picture", error);
        Assert.Contains("no prompt names an embedding", error);
    }

    private async Task<(int Code, string Error, string New)> Run(string line)
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder.File("DIR"));
        Directory.CreateDirectory(folder.File("PICKLES"));
        folder.Write("PICKLES/ink.pt", "");
        folder.Write("FILE", "a text\n");
        folder.Write("LINES", "a cat -- or not\n[1]\n\"a\"\na dog --steps 3\n[words]\n{\"prompt\": \"x\"}\n");
        folder.Write("A1111.yaml", "n_iter: 2\n");
        folder.Write("TAB.yaml", "eta: 1\n\tcount: 2\n");
        PngFile.Write(folder.File("BLACK"), new RgbImage(64, 64, new byte[64 * 64 * 3]), null);
        PngFile.Write(folder.File("THIN"), new RgbImage(1, 40000, new byte[3 * 40000]), null);
        const string Settings = "a cat\nSteps: 2, Sampler: DDIM, CFG scale: 7, Seed: 1, Size: 64x64";
        PngFile.Write(
            folder.File("MAGIC"),
            new RgbImage(1, 1, new byte[3]),
            Settings + ", Magic weights: 1 + 2 + 1, Magic switch: 500"
        );
        PngFile.Write(folder.File("STARTED"), new RgbImage(1, 1, new byte[3]), Settings + ", Init image hash: abcd");
        string[] names = ["DIR", "PICKLES", "FILE", "LINES", "BLACK", "THIN", "MAGIC", "STARTED", "NEW"];
        string[] words =
        [
            .. line.Split(' ')
                .Select(w =>
                    w.StartsWith("TINY", StringComparison.Ordinal) ? tiny.Path + w[4..]
                    : w is "TAB" or "A1111" ? folder.File(w + ".yaml")
                    : names.Any(n =>
                        w == n
                        || w.StartsWith(n + "/", StringComparison.Ordinal)
                        || w.StartsWith(n + ".", StringComparison.Ordinal)
                    )
                        ? folder.File(w)
                    : w
                ),
        ];
        (int code, _, string error) = await InProcess.RunAsync(words);
        string plain = error
            .Replace(folder.Path + "/", "", StringComparison.Ordinal)
            .Replace(tiny.Path, "TINY", StringComparison.Ordinal)
            .Replace("TAB.yaml", "TAB", StringComparison.Ordinal);
        return (code, plain, folder.File("NEW"));
    }
}
