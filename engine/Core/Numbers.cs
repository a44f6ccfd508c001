using System.Globalization;

namespace AfaNative.Engine.Core;

/// <summary>
/// The one way numbers that people write are read: a point for decimals whatever the machine's language, no thousands'
/// separators, nothing that is not finite. So <c>7,5</c> is an error, not 75.
/// </summary>
public static class Numbers
{
    private const NumberStyles Decimal =
        NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint | NumberStyles.AllowExponent;

    /// <summary>A finite number.</summary>
    public static bool TryDouble(ReadOnlySpan<char> text, out double value) =>
        double.TryParse(text.Trim(), Decimal, CultureInfo.InvariantCulture, out value) && double.IsFinite(value);

    /// <summary>A whole number.</summary>
    public static bool TryInt32(ReadOnlySpan<char> text, out int value) =>
        int.TryParse(text.Trim(), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out value);

    /// <summary>A whole number from 0 on, such as a seed.</summary>
    public static bool TryUInt64(ReadOnlySpan<char> text, out ulong value) =>
        ulong.TryParse(text.Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out value);

    /// <summary>A finite number in a range.</summary>
    /// <param name="what">What the number is for: the sentence starts with it.</param>
    /// <param name="text">What was written.</param>
    /// <param name="least">The smallest that is allowed.</param>
    /// <param name="most">The largest that is allowed.</param>
    /// <exception cref="AfaException">It is no number, or outside.</exception>
    public static double Double(
        string what,
        ReadOnlySpan<char> text,
        double least = double.MinValue,
        double most = double.MaxValue
    ) =>
        TryDouble(text, out double value) && value >= least && value <= most
            ? value
            : throw Bad(what, "a number", text, Range(least, most, double.MinValue, double.MaxValue));

    /// <summary>A whole number in a range.</summary>
    /// <inheritdoc cref="Double"/>
    public static int Int32(string what, ReadOnlySpan<char> text, int least = int.MinValue, int most = int.MaxValue) =>
        TryInt32(text, out int value) && value >= least && value <= most
            ? value
            : throw Bad(what, "a whole number", text, Range(least, most, int.MinValue, int.MaxValue));

    /// <summary>A whole number from 0 on.</summary>
    /// <inheritdoc cref="Double"/>
    public static ulong UInt64(string what, ReadOnlySpan<char> text) =>
        TryUInt64(text, out ulong value) ? value : throw Bad(what, "a whole number from 0 on", text, "");

    private static string Range<T>(T least, T most, T lowest, T highest)
        where T : IComparable<T> =>
        (least.CompareTo(lowest) > 0, most.CompareTo(highest) < 0) switch
        {
            (true, true) => string.Create(CultureInfo.InvariantCulture, $" from {least} to {most}"),
            (true, false) => string.Create(CultureInfo.InvariantCulture, $" from {least} on"),
            (false, true) => string.Create(CultureInfo.InvariantCulture, $" up to {most}"),
            _ => "",
        };

    private static AfaException Bad(string what, string kind, ReadOnlySpan<char> text, string range)
    {
        string hint = text.Contains(',') ? "; decimals are written with a point, and thousands without a separator" : "";
        return new AfaException($"{what}: expected {kind}{range}, but '{Printable.Shortened(text)}' came{hint}.");
    }
}
