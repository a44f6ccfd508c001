using System.Globalization;
using AfaNative.Engine.Core;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Sampling.Samplers;
using CsCheck;
using Xunit;

namespace AfaNative.Tests.Pipeline;

/// <summary>The table of settings: names, values, and the way through a picture's text and back.</summary>
public sealed class SettingTableTests
{
    private static readonly GenerationOptions s_start = new() { Prompt = "", Seeds = [0] };

    private static readonly Gen<string> s_prompt = Gen.String[
        Gen.OneOf(Gen.Char['!', '~'], Gen.Const(' '), Gen.Const('\n'), Gen.Const('é')),
        0,
        60
    ];

    [Fact]
    public void Names_and_aliases_are_one_setting_s_alone()
    {
        string[] names = [.. SettingTable.All.SelectMany(s => s.Aliases.Append(s.Name))];
        Assert.Equal(names.Length, names.Distinct().Count());
        Assert.All(names, n => Assert.Equal(n, n.ToLowerInvariant().Replace('_', '-')));
        Assert.Equal("clip-skip", SettingTable.Find("clip_skip")?.Name);
        Assert.Equal("guidance", SettingTable.Find("cfg_scale")?.Name);
        Assert.Null(SettingTable.Find("colour"));
    }

    [Fact]
    public void What_is_printed_is_read_again()
    {
        foreach (Setting setting in SettingTable.All)
        {
            Text(setting)
                .Sample(
                    text =>
                    {
                        GenerationOptions options = setting.Apply("x", text, SettingTable.Anything);
                        if (setting.Print(options) is not { } printed)
                            return;
                        Assert.Equal(printed, setting.Print(setting.Apply("x", printed, SettingTable.Anything)));
                    },
                    iter: 50
                );
        }
    }

    [Fact]
    public void A_default_is_what_options_have()
    {
        foreach (Setting setting in SettingTable.All.Where(s => s.Default is not null && s.Name != "prompt-syntax"))
            Assert.Equal(setting.Default, setting.Print(s_start));
    }

    [Fact]
    public void Numbers_out_of_range_are_refused_by_name()
    {
        foreach (Setting setting in SettingTable.All.Where(s => s.Range is not null))
        {
            foreach (string text in (string[])["-0.5", "1e9", "7,5", "nan", ""])
                Assert.StartsWith("--it: expected ", Assert.Throws<AfaException>(() => setting.Check("--it", text)).Message);
        }
    }

    /// <summary>Random settings -> the picture's text -> --from -> the same settings.</summary>
    [Fact]
    public void Settings_come_back_from_a_picture_s_text()
    {
        Gen<string[]> values = SettingTable.All.Aggregate(
            Gen.Const<string[]>([]),
            (all, setting) => Gen.Select(all, Text(setting), (texts, text) => (string[])[.. texts, text])
        );
        Gen.Select(values, Gen.Bool, Gen.Bool)
            .Sample(
                (texts, fromPicture, second) =>
                {
                    GenerationOptions options = s_start with { InitImage = fromPicture ? [0.5f] : null };
                    bool pass = second && !fromPicture;
                    foreach ((Setting setting, string said) in SettingTable.All.Zip(texts))
                    {
                        if (pass || !setting.Name.StartsWith("hires-", StringComparison.Ordinal))
                            options = setting.Apply("x", said, options);
                    }

                    var picture = new GenerationMetadata
                    {
                        Prompt = "",
                        Steps = 1,
                        CfgScale = 1,
                        Seed = 0,
                        Width = 8,
                        Height = 8,
                        Version = "0",
                        InitImageHash = fromPicture ? "0123456789" : null,
                    };
                    string text = SettingTable.Record(options, picture).ToParameters();
                    GenerationMetadata read = GenerationMetadata.Parse(text);
                    Assert.Empty(read.NotUnderstood);
                    GenerationOptions back = SettingTable.Restore(s_start, read, "picture.png");
                    foreach (Setting setting in SettingTable.All.Where(s => Counts(s, options)))
                        Assert.Equal(
                            $"{setting.Name} {Effective(setting, options)}",
                            $"{setting.Name} {Effective(setting, back)}"
                        );
                },
                iter: 500
            );
    }

    // Settings that have no effect beside the others are not recorded.
    private static bool Counts(Setting setting, GenerationOptions options) =>
        setting.Name switch
        {
            "strength" => options.InitImage is not null,
            "eta" => options.Sampler.DefaultEta is not null,
            "magic-weights" or "magic-switch" => options.Fusion == FusionMode.Magic,
            _ => true,
        };

    private static string? Effective(Setting setting, GenerationOptions options) =>
        setting.Name == "eta"
            ? Math.Round(options.Eta ?? options.Sampler.DefaultEta ?? 0, 5).ToString(CultureInfo.InvariantCulture)
            : setting.Print(options);

    private static Gen<string> Text(Setting setting) =>
        (setting.Name, setting.Kind) switch
        {
            ("prompt" or "negative", _) => s_prompt,
            ("experts", _) => Gen.OneOf(Gen.Const("all"), Gen.Const("0"), Gen.Const("0+2"), Gen.Const("3+1+7")),
            ("seed", _) => Gen.ULong.Select(s => s.ToString(CultureInfo.InvariantCulture)),
            ("hires-scale", _) => Gen.Int[1, 64].Select(n => (n / 4.0).ToString(CultureInfo.InvariantCulture)),
            ("hires-width" or "hires-height", _) => Gen.OneOf(Gen.Const(0), Gen.Int[1, 2048]).Select(n => $"{8 * n}"),
            (_, SettingKind.Text or SettingKind.Choice) => Gen.OneOf([.. setting.Values.Select(Gen.Const)]),
            (_, SettingKind.Whole) => Gen.Int[(int)setting.Range!.Value.Least, (int)setting.Range.Value.Most].Select(n => $"{n}"),
            (_, SettingKind.List) => Gen.Int[0, 2000]
                .Array[1, 4]
                .Select(a => string.Join('+', a.Select(n => Decimal(n / 2000.0, setting)))),
            _ => Gen.Int[0, 10_000].Select(n => Decimal(n / 10_000.0, setting)),
        };

    private static string Decimal(double share, Setting setting)
    {
        (double least, double most) = setting.Range!.Value;
        return Math.Round(least + share * (most - least), 4).ToString(CultureInfo.InvariantCulture);
    }
}
