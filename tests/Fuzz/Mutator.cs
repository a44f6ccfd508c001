using System.Buffers.Binary;
using System.Text;

namespace AfaNative.Tests.Fuzz;

/// <summary>Changes inputs a little or a lot, the same way for the same seed.</summary>
/// <param name="seed">Decides everything.</param>
/// <param name="words">What the format knows: keys, marks, names.</param>
internal sealed class Mutator(int seed, IReadOnlyList<string> words)
{
    private const int Most = 1 << 20;

    private static readonly string[] s_numbers =
    [
        "0",
        "-1",
        "1",
        "2",
        "7",
        "255",
        "65536",
        "2147483647",
        "2147483648",
        "-2147483648",
        "4294967296",
        "9223372036854775807",
        "18446744073709551615",
        "99999999999999999999999",
        "1e308",
        "1e400",
        "-1e400",
        "1e-400",
        "NaN",
        "Infinity",
        "-0.0",
        "0.5",
        "1,5",
        "1.5",
        "077",
        "0x10",
        "1_000",
        "null",
        "true",
        "\"1\"",
        "[]",
    ];

    private static readonly byte[][] s_unicode =
    [
        [0xFF],
        [0xC0, 0x80],
        [0xED, 0xA0, 0x80],
        [0xF0, 0x9F, 0x92],
        [0xEF, 0xBB, 0xBF],
        [0],
        [0x1B, 0x5B, 0x32, 0x4A],
        [0xE2, 0x80, 0xAE],
        [0xF4, 0x90, 0x80, 0x80],
        .. new[] { "\\ud800", "\\udc00\\ud800", "\\u0000", "\\uZZZZ", "\u0301\u0301\u0301", "\uFDFA", "İ", "ǆ", "𝕒" }.Select(
            Encoding.UTF8.GetBytes
        ),
    ];

    private static readonly string[] s_brackets =
    [
        "[",
        "{",
        "(",
        "{\"a\":",
        "[[",
        "- ",
        "<",
        "(a:",
        "*a ",
        "&a [",
        "\"",
        "))",
        "}]",
    ];

    private readonly System.Random _random = new(seed);

    /// <summary>A number below another.</summary>
    public int Next(int below) => _random.Next(below);

    /// <summary>A changed copy; <paramref name="other"/> lends parts.</summary>
    public byte[] Change(byte[] input, byte[] other)
    {
        List<byte> bytes = [.. input];
        for (int rounds = 1 + Next(4); rounds > 0; rounds--)
            Once(bytes, other);
        if (bytes.Count > Most)
            bytes.RemoveRange(Most, bytes.Count - Most);
        return [.. bytes];
    }

    private void Once(List<byte> bytes, byte[] other)
    {
        int at = Next(bytes.Count + 1),
            length = Math.Min(Next(1 + (1 << Next(8))), bytes.Count - at);
        switch (Next(14))
        {
            case 0 when at < bytes.Count:
                bytes[at] ^= (byte)(1 << Next(8));
                break;
            case 1 when at < bytes.Count:
                bytes[at] = (byte)Next(256);
                break;
            case 2:
                bytes.RemoveRange(at, length);
                break;
            case 3:
                bytes.InsertRange(at, bytes.GetRange(at, length));
                break;
            case 4:
                bytes.RemoveRange(at, bytes.Count - at);
                break;
            case 5 when other.Length > 0:
                int from = Next(other.Length);
                bytes.InsertRange(at, other.AsSpan(from, Math.Min(other.Length - from, 1 + Next(64))).ToArray());
                break;
            case 6 or 7 when words.Count > 0:
                bytes.RemoveRange(at, Math.Min(length, 8));
                bytes.InsertRange(at, Encoding.UTF8.GetBytes(words[Next(words.Count)]));
                break;
            case 8 or 9:
                SwapNumber(bytes);
                break;
            case 10:
                bytes.InsertRange(at, s_unicode[Next(s_unicode.Length)]);
                break;
            case 11:
                string bracket = s_brackets[Next(s_brackets.Length)];
                bytes.InsertRange(
                    at,
                    Encoding.UTF8.GetBytes(new StringBuilder().Insert(0, bracket, 1 + Next(1 << Next(15))).ToString())
                );
                break;
            case 12 when bytes.Count >= 8:
                // A length or an offset of a binary format.
                Span<byte> word = stackalloc byte[8];
                BinaryPrimitives.WriteInt64LittleEndian(word, Odd());
                if (Next(2) == 0)
                    word[..4].Reverse();
                int size = Next(2) == 0 ? 4 : 8,
                    place = Next(bytes.Count - size + 1);
                for (int i = 0; i < size; i++)
                    bytes[place + i] = word[i];
                break;
            default:
                Repeat(bytes);
                break;
        }
    }

    private long Odd() =>
        Next(4) switch
        {
            0 => Next(64) - 8,
            1 => (1L << Next(64)) - Next(3),
            2 => -1,
            _ => Next(1 << 20),
        };

    // A text's number becomes another.
    private void SwapNumber(List<byte> bytes)
    {
        int start = Next(bytes.Count + 1),
            at = start;
        while (at < bytes.Count && !char.IsAsciiDigit((char)bytes[at]))
            at++;
        if (at == bytes.Count)
        {
            at = 0;
            while (at < start && !char.IsAsciiDigit((char)bytes[at]))
                at++;
        }

        int end = at;
        while (end < bytes.Count && char.IsAsciiDigit((char)bytes[end]))
            end++;
        bytes.RemoveRange(at, end - at);
        bytes.InsertRange(at, Encoding.UTF8.GetBytes(s_numbers[Next(s_numbers.Length)]));
    }

    // A line or a piece of the input, many times over.
    private void Repeat(List<byte> bytes)
    {
        if (bytes.Count == 0)
            return;
        int at = Next(bytes.Count),
            length = Math.Min(bytes.Count - at, 1 + Next(80)),
            times = Math.Min(1 + Next(1 << Next(13)), Most / length);
        byte[] part = [.. bytes.GetRange(at, length)];
        var many = new byte[part.Length * times];
        for (int i = 0; i < times; i++)
            part.CopyTo(many, i * part.Length);
        bytes.InsertRange(at, many);
    }
}
