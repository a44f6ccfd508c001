using System.CommandLine;
using System.CommandLine.Parsing;
using System.Runtime.CompilerServices;
using AfaNative.Engine.Core;
using AfaNative.Engine.Pipeline;

namespace AfaNative.Tool;

/// <summary>
/// How every option and argument is read, whatever command it belongs to: numbers by <see cref="Numbers"/> and within the range
/// declared beside the option, texts that are not empty unless an empty one means something.
/// </summary>
internal static class StrictOptions
{
    private static readonly ConditionalWeakTable<Option, Bounds> s_bounds = new();
    private static readonly ConditionalWeakTable<Option, object> s_empty = new();
    private static readonly ConditionalWeakTable<Option, object> s_strict = new();

    private static readonly ConditionalWeakTable<Option, Setting> s_settings = new();

    private sealed record Bounds(double Least, double Most);

    /// <summary>Declares that an option is a row of the settings table, which reads it.</summary>
    public static void Is(this Option option, Setting setting) => s_settings.AddOrUpdate(option, setting);

    /// <summary>Declares the range of a numeric option, both ends included.</summary>
    public static T Within<T>(this T option, double least, double most)
        where T : Option
    {
        s_bounds.AddOrUpdate(option, new Bounds(least, most));
        return option;
    }

    /// <summary>Declares that an empty text is a value like any other: a prompt may be one, a path may not.</summary>
    public static T MayBeEmpty<T>(this T option)
        where T : Option
    {
        s_empty.AddOrUpdate(option, option);
        return option;
    }

    /// <summary>The declared range of an option, or null; seeds have none, as every one from 0 to 2^64 - 1 is good.</summary>
    public static (double Least, double Most)? RangeOf(Option option) =>
        s_settings.TryGetValue(option, out Setting? setting) ? setting.Range
        : s_bounds.TryGetValue(option, out Bounds? bounds) ? (bounds.Least, bounds.Most)
        : null;

    /// <summary>Makes a command and all below it strict.</summary>
    public static void Apply(Command command)
    {
        foreach (Option option in command.Options)
        {
            // Options that every command line shares are strict from the first on.
            if (!s_strict.TryAdd(option, option))
                continue;
            // The table reads its numbers itself.
            if (s_settings.TryGetValue(option, out _) && IsNumeric(option))
                continue;
            if (IsText(option.ValueType) && !s_empty.TryGetValue(option, out _))
                option.Validators.Add(r => NotEmpty(r, option.Name));
            else
                ReadNumbers(option);
        }

        foreach (Argument argument in command.Arguments.Where(a => IsText(a.ValueType)))
            argument.Validators.Add(r => NotEmpty(r, argument.Name));
        foreach (Command below in command.Subcommands)
            Apply(below);
    }

    /// <summary>Whether an option takes numbers.</summary>
    public static bool IsNumeric(Option option)
    {
        if (s_settings.TryGetValue(option, out Setting? setting))
            return setting.Kind is SettingKind.Whole or SettingKind.Number or SettingKind.List;
        Type type = option.ValueType.IsArray ? option.ValueType.GetElementType()! : option.ValueType;
        return Type.GetTypeCode(Nullable.GetUnderlyingType(type) ?? type) is >= TypeCode.SByte and <= TypeCode.Decimal;
    }

    private static bool IsText(Type type) => type == typeof(string) || type == typeof(string[]);

    private static void NotEmpty(SymbolResult result, string name)
    {
        if (result.Tokens.Any(t => t.Value.Length == 0))
            result.AddError($"{name}: expected a value, but an empty one came.");
    }

    private static void ReadNumbers(Option option)
    {
        (double least, double most) = RangeOf(option) ?? (double.MinValue, double.MaxValue);
        int from = (int)Math.Max(least, int.MinValue),
            to = (int)Math.Min(most, int.MaxValue);
        bool known =
            Read(option, t => Numbers.Int32(option.Name, t, from, to))
            || Read(
                option,
                t =>
                    t.Trim() == "-1" && option is Option<ulong?>
                        ? throw new AfaException($"{option.Name}: a random one is had by leaving it out, not by -1.")
                        : Numbers.UInt64(option.Name, t)
            )
            || Read(option, t => Numbers.Double(option.Name, t, least, most))
            || Read(
                option,
                t => (float)Numbers.Double(option.Name, t, Math.Max(least, -float.MaxValue), Math.Min(most, float.MaxValue))
            );
        if (!known && IsNumeric(option))
            throw new InvalidOperationException($"{option.Name}: numbers of type {option.ValueType} have no strict reader.");
    }

    private static bool Read<T>(Option option, Func<string, T> read)
        where T : struct
    {
        switch (option)
        {
            case Option<T> one:
                one.CustomParser = r => Values(r, read).LastOrDefault();
                return true;
            case Option<T?> one:
                one.CustomParser = r => Values(r, read) is [.., var last] ? last : null;
                return true;
            case Option<T[]> many:
                many.CustomParser = r => Values(r, read);
                return true;
            default:
                return false;
        }
    }

    /// <summary>A sentence about a list with commas, which is no number with a decimal one; null where there is none.</summary>
    public static string? CommaList(Option? option, IReadOnlyList<Token> tokens)
    {
        bool list =
            option is { AllowMultipleArgumentsPerToken: true }
            && tokens.Any(t =>
                t.Value.Split(',') is { Length: > 1 } parts
                && (parts.Length > 2 || t.Value.Contains('.', StringComparison.Ordinal))
                && parts.All(p => Numbers.TryDouble(p, out _))
            );
        return list
            ? $"{option!.Name}: expected several numbers with blanks between, as in {option.Name} 0.7 0.3, and decimals with a "
                + $"point, but '{Printable.Shortened(string.Join(' ', tokens.Select(t => t.Value)))}' came."
            : null;
    }

    private static T[] Values<T>(ArgumentResult result, Func<string, T> read)
    {
        try
        {
            return [.. result.Tokens.Select(t => read(t.Value))];
        }
        catch (AfaException e)
        {
            result.AddError(CommaList((result.Parent as OptionResult)?.Option, result.Tokens) ?? e.Message);
            return [];
        }
    }
}
