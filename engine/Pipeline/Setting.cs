using System.Globalization;
using AfaNative.Engine.Core;

namespace AfaNative.Engine.Pipeline;

/// <summary>What texts a setting is read from.</summary>
public enum SettingKind
{
    /// <summary>Any text.</summary>
    Text,

    /// <summary>A whole number.</summary>
    Whole,

    /// <summary>A number.</summary>
    Number,

    /// <summary>One of a few words.</summary>
    Choice,

    /// <summary>Numbers joined by plus signs.</summary>
    List,
}

/// <summary>
/// A setting of a picture: how it is called, read, bounded, applied, printed and recorded. One row of <see cref="SettingTable"/>,
/// which command lines, configurations, files of prompts, axes of plots and pictures' texts all read.
/// </summary>
public sealed record Setting
{
    private readonly Func<string, string, GenerationOptions, GenerationOptions> _apply;
    private readonly Func<GenerationOptions, string?> _print;

    private Setting(
        string name,
        SettingKind kind,
        Func<string, string, GenerationOptions, GenerationOptions> apply,
        Func<GenerationOptions, string?> print
    )
    {
        (Name, Kind, _apply, _print) = (name, kind, apply, print);
    }

    /// <summary>In lower case, words joined by dashes.</summary>
    public string Name { get; }

    /// <summary>What it is read from.</summary>
    public SettingKind Kind { get; }

    /// <summary>Other names, as A1111 and diffusers have them.</summary>
    public IReadOnlyList<string> Aliases { get; init; } = [];

    /// <summary>What it does, in a sentence.</summary>
    public required string Description { get; init; }

    /// <summary>The value where nothing is said; null where it follows from the model or the run.</summary>
    public string? Default { get; init; }

    /// <summary>Least and most, both included; null: any.</summary>
    public (double Least, double Most)? Range { get; private init; }

    /// <summary>The words of a choice, or examples of what can be written.</summary>
    public IReadOnlyList<string> Values { get; init; } = [];

    /// <summary>What stands beside a plot's row or column, from the value's text; null: name and value.</summary>
    public Func<string, string>? Label { get; init; }

    /// <summary>An empty text is a value.</summary>
    public bool MayBeEmpty { get; init; }

    /// <summary>An axis of a plot can vary it.</summary>
    public bool IsAxis { get; init; }

    /// <summary>A line of a file of prompts can have its own.</summary>
    public bool IsLine { get; init; } = true;

    /// <summary>
    /// The key under which a picture's text holds it, for settings that need nothing beyond that; their default is not recorded.
    /// </summary>
    public string? MetadataKey { get; init; }

    /// <summary>Why it has no effect beside other settings, as the rest of a sentence; null where it has one.</summary>
    public Func<GenerationOptions, string?>? Idle { get; init; }

    /// <summary>Adds it to what a picture says of itself, where a key alone does not do.</summary>
    internal Func<GenerationOptions, GenerationMetadata, GenerationMetadata>? RecordAs { get; init; }

    /// <summary>Reads it from what a picture says of itself, where a key alone does not do.</summary>
    internal Func<GenerationMetadata, string?>? RecordedAs { get; init; }

    /// <summary>What a picture says of itself, with this setting.</summary>
    internal GenerationMetadata Record(GenerationOptions options, GenerationMetadata picture)
    {
        if (RecordAs is { } record)
            return record(options, picture);
        return MetadataKey is { } key && Print(options) is { } text && text != Default
            ? picture with
            {
                Settings = [.. picture.Settings, new KeyValuePair<string, string>(key, text)],
            }
            : picture;
    }

    /// <summary>What a picture says of this setting, as <see cref="Apply"/> reads it; null: nothing.</summary>
    internal string? Recorded(GenerationMetadata picture)
    {
        if (RecordedAs is { } recorded)
            return recorded(picture);
        return MetadataKey is { } key ? picture.Settings.LastOrDefault(s => s.Key == key).Value : null;
    }

    /// <summary>Options with the setting as a text says it.</summary>
    /// <param name="what">What a sentence about a wrong text begins with.</param>
    /// <param name="text">The value.</param>
    /// <param name="options">All other settings.</param>
    /// <exception cref="AfaException">The text is no such value, or is out of range.</exception>
    public GenerationOptions Apply(string what, string text, GenerationOptions options) => _apply(what, text, options);

    /// <summary>Refuses a text that is no value.</summary>
    /// <exception cref="AfaException">It is none.</exception>
    public void Check(string what, string text) => _apply(what, text, SettingTable.Anything);

    /// <summary>The value as <see cref="Apply"/> reads it; null where there is none.</summary>
    public string? Print(GenerationOptions options) => _print(options);

    /// <summary>Whether a name, with dashes or underscores, is this setting's.</summary>
    public bool Answers(string name)
    {
        string dashed = name.Replace('_', '-');
        return Name == dashed || Aliases.Contains(dashed);
    }

    internal static Setting OfText(
        string name,
        string description,
        Func<GenerationOptions, string?> get,
        Func<string, GenerationOptions, string, GenerationOptions> set
    ) => new(name, SettingKind.Text, (what, text, o) => set(what, o, text), get) { Description = description };

    internal static Setting OfWhole(
        string name,
        string description,
        int least,
        int most,
        Func<GenerationOptions, int?> get,
        Func<string, GenerationOptions, int, GenerationOptions> set
    ) =>
        new(
            name,
            SettingKind.Whole,
            (what, text, o) => set(what, o, Numbers.Int32(what, text, least, most)),
            o => get(o)?.ToString(CultureInfo.InvariantCulture)
        )
        {
            Description = description,
            Range = (least, most),
        };

    internal static Setting OfNumber(
        string name,
        string description,
        double least,
        double most,
        Func<GenerationOptions, double?> get,
        Func<string, GenerationOptions, double, GenerationOptions> set
    ) =>
        new(
            name,
            SettingKind.Number,
            (what, text, o) => set(what, o, Numbers.Double(what, text, least, most)),
            o => get(o)?.ToString(CultureInfo.InvariantCulture)
        )
        {
            Description = description,
            Range = (least, most),
        };

    // Printed as the float32 it is: 0.1, not 0.10000000149011612.
    internal static Setting OfSingle(
        string name,
        string description,
        double least,
        double most,
        Func<GenerationOptions, float?> get,
        Func<GenerationOptions, float, GenerationOptions> set
    ) =>
        new(
            name,
            SettingKind.Number,
            (what, text, o) => set(o, (float)Numbers.Double(what, text, least, most)),
            o => get(o)?.ToString(CultureInfo.InvariantCulture)
        )
        {
            Description = description,
            Range = (least, most),
        };

    internal static Setting OfSeed(
        string name,
        string description,
        Func<GenerationOptions, ulong?> get,
        Func<GenerationOptions, ulong, GenerationOptions> set
    ) =>
        new(
            name,
            SettingKind.Whole,
            (what, text, o) =>
                text.Trim() == "-1"
                    ? throw new AfaException($"{what}: a random one is had by leaving it out, not by -1.")
                    : set(o, Numbers.UInt64(what, text)),
            o => get(o)?.ToString(CultureInfo.InvariantCulture)
        )
        {
            Description = description,
        };

    internal static Setting OfChoice(
        string name,
        string description,
        IReadOnlyList<string> values,
        Func<GenerationOptions, string?> get,
        Func<string, GenerationOptions, string, GenerationOptions> set
    ) =>
        new(
            name,
            SettingKind.Choice,
            (what, text, o) =>
                set(
                    what,
                    o,
                    values.FirstOrDefault(v => v.Equals(text.Trim(), StringComparison.OrdinalIgnoreCase))
                        ?? throw new AfaException(
                            $"{what}: expected one of {string.Join(", ", values)}, but '{Printable.Shortened(text)}' "
                                + $"came{Nearest.Hint(text, values)}"
                        )
                ),
            get
        )
        {
            Description = description,
            Values = values,
        };

    internal static Setting OfList(
        string name,
        string description,
        double least,
        double most,
        Func<GenerationOptions, IReadOnlyList<float>?> get,
        Func<GenerationOptions, IReadOnlyList<float>, GenerationOptions> set
    ) =>
        new(
            name,
            SettingKind.List,
            (what, text, o) => set(o, [.. text.Split('+').Select(t => (float)Numbers.Double(what, t, least, most))]),
            o =>
                get(o) is { Count: > 0 } list
                    ? string.Join('+', list.Select(v => v.ToString(CultureInfo.InvariantCulture)))
                    : null
        )
        {
            Description = description,
            Range = (least, most),
        };
}
