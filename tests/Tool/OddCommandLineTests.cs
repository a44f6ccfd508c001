using System.Text.Json;
using AfaNative.Engine.Imaging;
using AfaNative.Tests.Ensemble;
using Xunit;

namespace AfaNative.Tests.Tool;

/// <summary>Whatever is written: one sentence, exit code 1, nothing left behind.</summary>
public sealed class OddCommandLineTests(TinyEnsemble tiny) : IClassFixture<TinyEnsemble>
{
    // TINY: a model; DIR: an empty folder; FILE: a text file; NEW: where nothing is; LONG: a name no file system takes; NUL and
    // HALF: characters no argument can hold.
    private static readonly string[] s_lines =
    [
        "nonsense",
        "sampel TINY",
        "ensemble",
        "ensemble craete",
        "demo",
        "demo trian",
        "--nonsense",
        "--nonsense sample",
        "--steps 5",
        "sample TINY -p x --save-latentz NEW",
        "sample --save-latentz NEW",
        "sample TINY -p x -steps 5",
        "sample TINY -p x --steps",
        "sample TINY -p x --steps 5 --steps 6",
        "sample TINY FILE -p x --out NEW",
        "sample TINY -p x --lora FILE --setps 5 --out NEW",
        "sample TINY -p x --fusion avrage",
        "sample TINY -p x --out EMPTY",
        "sample EMPTY -p x --out NEW",
        "sample TINY --out NEW",
        "sample NUL -p x",
        "sample HALF -p x",
        "sample TINY -p NUL --out NEW",
        "sample TINY -p HALF --out NEW",
        "sample LONG -p x --out NEW",
        "sample TINY -p x --out LONG",
        "sample TINY -p x --out FILE",
        "sample TINY -p x --out FILE/x",
        "sample TINY -p x --out /proc/none/x",
        "sample FILE -p x --out NEW",
        "sample DIR -p x --out NEW",
        "sample /dev/null -p x --out NEW",
        "sample TINY -p x --base TINY --out NEW",
        "sample TINY -p x --vae FILE --out NEW",
        "sample TINY -p x --vae DIR --out NEW",
        "sample TINY -p x --vae NEW --out NEW",
        "sample TINY -p x --lora DIR --out NEW",
        "sample TINY -p x --lora FILE --out NEW",
        "sample TINY -p x --lora NEW:1,5 --out NEW",
        "sample TINY -p x --lora FILE:nan --out NEW",
        "sample TINY -p x --lora-dir FILE --out NEW",
        "sample TINY -p <lora:none> --lora-dir DIR --out NEW",
        "sample TINY -p <lora:none:1,5> --lora-dir DIR --out NEW",
        "sample TINY -p x --embedding FILE --out NEW",
        "sample TINY -p x --embedding DIR --out NEW",
        "sample TINY -p x --embedding-dir FILE --out NEW",
        "sample TINY -p x --from FILE --out NEW",
        "sample TINY -p x --from DIR --out NEW",
        "sample TINY -p x --from /dev/null --out NEW",
        "sample TINY -p x --init-image FILE --out NEW",
        "sample TINY -p x --init-image DIR --out NEW",
        "sample TINY -p x --init-image /dev/zero --out NEW",
        "sample TINY -p x --mask FILE --out NEW",
        "sample TINY --prompts DIR --out NEW",
        "sample TINY --prompts NEW --out NEW",
        "sample TINY --prompts /dev/zero --out NEW",
        "sample TINY --prompts /dev/null --out NEW",
        "sample TINY --prompts FILE --shard 1/1 --out NEW",
        "sample TINY --prompts FILE --shard a/b --out NEW",
        "sample TINY --prompts FILE --shard 0/0 --out NEW",
        "sample TINY --prompts FILE --count 1000001 --out NEW",
        "sample TINY -p x --guidance 7,5 --out NEW",
        "sample TINY -p x --guidance nan --out NEW",
        "sample TINY -p x --guidance inf --out NEW",
        "sample TINY -p x --guidance 1e99 --out NEW",
        "sample TINY -p x --guidance -1 --out NEW",
        "sample TINY -p x --steps 0 --out NEW",
        "sample TINY -p x --steps 1.5 --out NEW",
        "sample TINY -p x --steps 99999999999999999999 --out NEW",
        "sample TINY -p x --steps 9999 --out NEW",
        "sample TINY -p x --steps 1_000 --out NEW",
        "sample TINY -p x --seed -1 --out NEW",
        "sample TINY -p x --seed 18446744073709551616 --out NEW",
        "sample TINY -p x --seed 1e3 --out NEW",
        "sample TINY -p x --count 0 --out NEW",
        "sample TINY -p x --count 2000000000 --out NEW",
        "sample TINY -p x --batch-size 0 --out NEW",
        "sample TINY -p x --batch-size 100000 --out NEW",
        "sample TINY -p x --width 0 --out NEW",
        "sample TINY -p x --width 33 --out NEW",
        "sample TINY -p x --width 16392 --out NEW",
        "sample TINY -p x --width -8 --out NEW",
        "sample TINY -p x --width 16384 --height 16384 --batch-size 1024 --count 1024 --out NEW",
        "sample TINY -p x --hires-scale 17 --out NEW",
        "sample TINY -p x --hires-scale 0.5 --out NEW",
        "sample TINY -p x --width 16384 --hires-scale 16 --out NEW",
        "sample TINY -p x --hires-width 33 --out NEW",
        "sample TINY -p x --hires-steps -1 --out NEW",
        "sample TINY -p x --clip-skip -1 --out NEW",
        "sample TINY -p x --clip-skip 99 --out NEW",
        "sample TINY -p x --eta 2 --out NEW",
        "sample TINY -p x --strength 1.1 --out NEW",
        "sample TINY -p x --expert 3 --out NEW",
        "sample TINY -p x --expert -1 --out NEW",
        "sample TINY -p x --experts 0+9 --out NEW",
        "sample TINY -p x --experts -1 --out NEW",
        "sample TINY -p x --experts 0,5 --out NEW",
        "sample TINY -p x --magic-weights 1 nan --fusion magic --out NEW",
        "sample TINY -p x --magic-switch -1 --out NEW",
        "sample TINY -p x --threads -1 --out NEW",
        "sample TINY -p x --threads 1025 --out NEW",
        "sample TINY -p x --device EMPTY --out NEW",
        "sample TINY -p x --device abacus --out NEW",
        "sample TINY -p x --device cuda:x --out NEW",
        "sample TINY -p x --device cuda:99 --out NEW",
        "sample TINY -p x --memory-budget 1,5GiB --out NEW",
        "sample TINY -p x --memory-budget -1 --out NEW",
        "sample TINY -p x --memory-budget nan --out NEW",
        "sample TINY -p x --memory-budget 1 --out NEW",
        "sample TINY -p x --x steps --out NEW",
        "sample TINY -p x --x steps=1-1000 --y seed=1-1000 --out NEW",
        "sample TINY -p x --x guidance=nan --out NEW",
        "sample TINY -p x --x steps=0 --out NEW",
        "sample TINY -p x --x EMPTY --out NEW",
        "sample TINY -p x --x sampler=fast --out NEW",
        "sample TINY -p x --preview 0 --out NEW",
        "sample TINY -p x --sampler EMPTY --out NEW",
        "sample TINY -p x --config NEW",
        "sample TINY -p x --config DIR",
        "sample TINY -p x --config /dev/zero",
        "sample TINY -p x --config FILE",
        "sample TINY -p x --config",
        "sample TINY -p x --config EMPTY",
        "sample -p x --out NEW -- -no-such-model",
        "inspect",
        "inspect EMPTY",
        "inspect NEW",
        "inspect DIR",
        "inspect FILE",
        "inspect /dev/null",
        "inspect /dev/zero",
        "inspect LONG",
        "inspect NUL",
        "inspect TINY FILE",
        "inspect TINY --tensor",
        "synth",
        "synth EMPTY",
        "synth FILE",
        "synth NEW --experts 0",
        "synth NEW --experts -1",
        "synth NEW --experts 1000000",
        "synth NEW --preset huge",
        "synth NEW --seed x",
        "synth LONG",
        "synth /proc/none",
        "synth NUL",
        "ensemble create NEW",
        "ensemble create NEW --base TINY --expert NEW",
        "ensemble create NEW --base NEW --expert TINY",
        "ensemble create NEW --base TINY --expert TINY TINY --heads 0",
        "ensemble create NEW --base TINY --expert TINY TINY --heads 3",
        "ensemble create NEW --base TINY --expert TINY TINY --hidden-size 0",
        "ensemble create NEW --base TINY --expert TINY TINY --hidden-size 33",
        "ensemble create NEW --base TINY --expert TINY TINY --layers -1",
        "ensemble create NEW --base TINY --expert TINY TINY --layers 101",
        "ensemble create NEW --base FILE --expert FILE",
        "ensemble create FILE --base TINY --expert TINY TINY",
        "ensemble create NEW --base TINY --expert EMPTY",
        "ensemble create LONG --base TINY --expert TINY",
        "ensemble create NEW --base TINY --expert DIR",
        "ensemble info EMPTY",
        "ensemble info NEW",
        "ensemble info DIR",
        "ensemble info FILE",
        "merge NEW --model TINY TINY --trials 5",
        "merge NEW --model TINY TINY --multiplier 2",
        "merge NEW --model TINY TINY --text-weight 0.5",
        "merge NEW --model TINY TINY --mode blocks --blocks 0.5 --weights 1 2",
        "merge NEW --model TINY TINY --mode auto --data DIR --steps 5",
        "sample TINY -p x --strength 0.5 --out NEW",
        "sample TINY -p x --magic-switch 5 --out NEW",
        "merge",
        "merge NEW",
        "merge NEW --model EMPTY",
        "merge NEW --model TINY",
        "merge NEW --model NEW FILE",
        "merge NEW --model TINY TINY --weights 1,5 2",
        "merge NEW --model TINY TINY --weights nan 1",
        "merge NEW --model TINY TINY --weights 0 0",
        "merge NEW --model TINY TINY --weights 1 2 3",
        "merge NEW --model TINY TINY --mode blocks",
        "merge NEW --model TINY TINY --mode blocks --blocks 1;5",
        "merge NEW --model TINY TINY --mode blocks --blocks nan",
        "merge NEW --model TINY TINY --mode blocks --blocks 1,2",
        "merge NEW --model TINY TINY --mode add-difference",
        "merge NEW --model TINY TINY --mode auto",
        "merge NEW --model TINY TINY --mode auto --data NEW --trials 0",
        "merge NEW --model TINY TINY --mode auto --data NEW",
        "merge NEW --model FILE FILE",
        "merge LONG --model TINY TINY",
        "merge FILE --model TINY TINY",
        "merge NEW --model TINY TINY --multiplier inf",
        "screen",
        "screen --experts TINY --data NEW",
        "screen --experts NEW --data DIR",
        "screen --experts TINY --data DIR",
        "screen --experts TINY --data FILE",
        "screen --experts TINY --data DIR --size 33",
        "screen --experts TINY --data DIR --size 0",
        "screen --experts TINY --data DIR --pictures 0",
        "screen --experts TINY --data DIR --draws 1",
        "screen --experts TINY --data DIR --timesteps 0",
        "screen --experts TINY --data DIR --timesteps 1001",
        "train TINY --out NEW",
        "train TINY --data DIR",
        "train NEW --data DIR --out NEW",
        "train TINY --data NEW --out NEW",
        "train TINY --data DIR --out NEW",
        "train TINY --data FILE --out NEW",
        "train TINY --data DIR --out NEW --lr 0,001",
        "train TINY --data DIR --out NEW --lr 0",
        "train TINY --data DIR --out NEW --lr nan",
        "train TINY --data DIR --out NEW --steps 0",
        "train TINY --data DIR --out NEW --size 33",
        "train TINY --data DIR --out NEW --ema 1",
        "train TINY --data DIR --out NEW --holdout -1",
        "train TINY --data DIR --out NEW --batch-size 0",
        "train TINY --data DIR --out NEW --accumulate 0",
        "train TINY --data DIR --out NEW --text-dropout 2",
        "train TINY --data DIR --out NEW --keep 0",
        "train TINY --data DIR --out NEW --warmup -1",
        "train FILE --data DIR --out NEW",
        "train TINY --data DIR --out EMPTY",
        "train TINY --data DIR --out NEW --what nothing",
        "train TINY --data DIR --out NEW --device abacus",
        "report",
        "report EMPTY",
        "report NEW",
        "report DIR",
        "report FILE",
        "report DIR --out EMPTY",
        "report NUL",
        "verify --cases NEW",
        "verify --cases EMPTY",
        "verify --cases FILE",
        "verify --cases DIR",
        "verify --filter no-such-case",
        "verify --threads x",
        "verify --device abacus",
        "verify --precision f8",
        "devices x",
        "devices --x",
        "samplers x",
        "completion",
        "completion csh",
        "completion EMPTY",
        "demo train --stage nothing --out NEW",
        "demo train --experts NEW --out NEW",
        "demo train --seed x --out NEW",
        "demo evaluate --training NEW --out NEW",
        "demo evaluate --training DIR --out NEW --seeds 0",
        "demo evaluate --steps 0 --out NEW",
        "demo scenes --count 0 --out NEW",
        "demo scenes --size 8 --out NEW",
        "demo scenes --size 4096 --out NEW",
        "demo scenes --count 5000000 --out NEW",
        "demo scenes --out FILE/x",
        "demo scenes --out NUL",
    ];

    public static TheoryData<string> Lines => [.. s_lines];

    [Theory]
    [MemberData(nameof(Lines))]
    public async Task One_sentence_exit_code_1_and_nothing_written(string line)
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder.File("dir"));
        folder.Write("file", "a text\n");
        string[] arguments = [.. line.Split(' ').Select(w => Word(w, folder))];
        (int code, string output, string error) = await InProcess.RunAsync(arguments);
        Assert.True(code == 1, $"exit code {code}\n{error}{output}");
        string[] said = error.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.True(
            said.Count(l => l.StartsWith("Error: ", StringComparison.Ordinal)) == 1
                && said[^1].StartsWith("Error: ", StringComparison.Ordinal),
            error
        );
        Assert.DoesNotContain("unexpected", error);
        Assert.DoesNotContain("   at ", error);
        Assert.DoesNotContain("--help", output);
        Assert.InRange(said[^1].Length, 20, 2000);
        Assert.Equal(
            ["dir", "file"],
            Directory.GetFileSystemEntries(folder.Path).Select(p => Path.GetFileName(p)).Order(StringComparer.Ordinal)
        );
        Assert.Empty(Directory.GetFileSystemEntries(folder.File("dir")));
        Assert.Equal("a text\n", await File.ReadAllTextAsync(folder.File("file")));
    }

    [Theory]
    [InlineData("sample TINY -p x --save-latentz NEW --json")]
    [InlineData("sample TINY -p x --guidance 7,5 --json")]
    [InlineData("sample TINY -p x --json --steps")]
    [InlineData("sample TINY --json --fusion best")]
    [InlineData("inspect NUL --json")]
    [InlineData("sample TINY -p x --json=maybe")]
    public async Task With_json_it_is_one_object(string line)
    {
        using var folder = new TemporaryFolder();
        (int code, string output, string error) = await InProcess.RunAsync([.. line.Split(' ').Select(w => Word(w, folder))]);
        Assert.Equal((1, ""), (code, error));
        using JsonDocument document = JsonDocument.Parse(
            Assert.Single(output.Split('\n', StringSplitOptions.RemoveEmptyEntries))
        );
        Assert.True(document.RootElement.GetProperty("error").GetString()!.Length > 20);
    }

    [Theory]
    [InlineData("sample TINY -p x --save-latentz y", "'--save-latentz' is no option")]
    [InlineData("sample TINY -p x --guidence 5", "'--guidence' is no option; did you mean --guidance?")]
    [InlineData("sample TINY -p x --guidence=5", "'--guidence' is no option; did you mean --guidance?")]
    [InlineData("sample TINY -p x -steps 5", "'-steps' is no option; did you mean --steps?")]
    [InlineData("sample TINY -p x --lora a --setps 5", "'--setps' is no option; did you mean --steps?")]
    [InlineData("train TINY --dta x --out y", "'--dta' is no option; did you mean --data?")]
    [InlineData("inspect TINY --tensor", "'--tensor' is no option; did you mean --tensors?")]
    [InlineData("verify --verbos", "'--verbos' is no option; did you mean --verbose?")]
    [InlineData("devices --all", "afa-native devices: '--all' is no option")]
    [InlineData("ensemble craete", "'craete' is no command; did you mean create?")]
    [InlineData("sampel", "'sampel' is no command; did you mean sample?")]
    [InlineData("smaple --prompt x", "'smaple' is no command; did you mean sample?")]
    [InlineData("sample tree", "('tree' was taken for MODEL)")]
    [InlineData("sample TINY -p x --expert 0 --lora FILE@1", "is for expert 1, but expert 0 runs alone")]
    [InlineData("sample TINY -p x --x magic-switch=1,2", "The axis magic-switch is for MagicFusion")]
    [InlineData("bench unet", "MODEL is missing")]
    [InlineData(
        "sample TINY -p x --fusion avrage",
        "--fusion: expected one of afa, average, mean, magic, but 'avrage' came; did you mean average?"
    )]
    [InlineData("sample -p x -- -no-such-model", "Error: -no-such-model: no such file or folder.")]
    [InlineData("sample @home -p x", "Error: @home: no such file or folder.")]
    [InlineData(
        "sample TINY -p x --guidance 7,5",
        "--guidance: expected a number from 0 to 1000, but '7,5' came; decimals are written with a point"
    )]
    [InlineData("train TINY --data x --out y --lr 0,001", "--learning-rate: expected a number from 0 to 10, but '0,001' came")]
    [InlineData("sample TINY -p x --width 33 --out NEW", "multiple of 8")]
    [InlineData("sample TINY -p x --strength 0.5 --out NEW", "--strength goes with --init-image: alone it has no effect.")]
    [InlineData("merge NEW --model TINY TINY --trials 5", "--trials goes with --mode auto: alone it has no effect.")]
    [InlineData("sample TINY -p x --steps 5 --steps 6", "--steps: expected one value, but 2 came: '5', '6'.")]
    public async Task The_sentence_names_what_was_written_and_what_was_meant(string line, string expected)
    {
        using var folder = new TemporaryFolder();
        Assert.Contains(expected, (await InProcess.RunAsync([.. line.Split(' ').Select(w => Word(w, folder))])).Error);
    }

    [Fact]
    public async Task A_prompt_may_start_with_what_means_something_elsewhere()
    {
        using var folder = new TemporaryFolder();
        folder.Write("o.json", """{ "prompt": "@home", "negative": "--steps" }""");
        string[] common =
        [
            "sample",
            tiny.Path,
            "--expert",
            "0",
            "--steps",
            "1",
            "--count",
            "1",
            "--width",
            "32",
            "--height",
            "32",
            "--seed",
            "1",
            "--out",
            folder.File("out"),
            "--json",
        ];
        (string[] More, string Prompt)[] cases =
        [
            (["-p", "@home"], "@home"),
            (["--prompt=-x"], "-x"),
            (["--prompt="], ""),
            (["--prompt", ""], ""),
            (["--config", folder.File("o.json")], "@home"),
        ];
        foreach ((string[] more, string prompt) in cases)
        {
            (int code, string output, string error) = await InProcess.RunAsync([.. common, .. more]);
            Assert.True(code == 0, error);
            Assert.Equal(prompt, JsonDocument.Parse(output).RootElement.GetProperty("prompt").GetString());
        }

        _ = Engine.Imaging.PngFile.Read(Path.Combine(folder.File("out"), "00005-1.png"), out string? text);
        Assert.Contains("Negative prompt: --steps\n", text);
    }

    [Fact]
    public async Task Without_a_command_the_commands_are_listed()
    {
        (int code, string output, _) = await InProcess.RunAsync();
        Assert.Equal(1, code);
        Assert.Contains("completion", output);
        Assert.Contains("130 after Ctrl+C, 143 after SIGTERM", output);
        (code, output, _) = await InProcess.RunAsync("--version");
        Assert.Equal(0, code);
        Assert.Matches("^[0-9]+[.][0-9]+[.][0-9]+", output);
    }

    private string Word(string word, TemporaryFolder folder) =>
        word switch
        {
            "TINY" => tiny.Path,
            "DIR" => folder.File("dir"),
            "FILE" => folder.File("file"),
            "FILE/x" => folder.File("file") + "/x",
            "NEW" => folder.File("new"),
            "EMPTY" => "",
            "LONG" => folder.File(new string('x', 5000)),
            "NUL" => "a\0b",
            "HALF" => "a\uD800b",
            _ when word.StartsWith("NEW:", StringComparison.Ordinal) => folder.File("new") + word[3..],
            _ when word.StartsWith("FILE:", StringComparison.Ordinal) => folder.File("file") + word[4..],
            _ => word,
        };
}
