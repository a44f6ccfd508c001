using System.Text;

namespace AfaNative.Engine.Prompts;

/// <summary>
/// Unicode normalisation form C. The runtime's own does nothing under invariant globalisation, and asking for a system
/// library of locale data only to join accents to letters would be much.
/// </summary>
internal static class Nfc
{
    private const int SBase = 0xAC00,
        LBase = 0x1100,
        VBase = 0x1161,
        TBase = 0x11A7;
    private const int LCount = 19,
        VCount = 21,
        TCount = 28,
        SCount = LCount * VCount * TCount;

    private static readonly Lazy<Tables> Loaded = new(Tables.Read);

    /// <summary>The text in form C; a lone surrogate becomes U+FFFD.</summary>
    internal static string Normalize(string text)
    {
        bool plain = true;
        foreach (char c in text)
        {
            if (c >= 0x300)
            {
                plain = false;
                break;
            }
        }

        // Nothing below U+0300 combines, and none of it decomposes for good.
        if (plain)
            return text;

        Tables tables = Loaded.Value;
        var points = new List<int>(text.Length + 8);
        foreach (Rune rune in text.EnumerateRunes())
            Decompose(tables, rune.Value, points);
        Reorder(tables, points);
        return Compose(tables, points);
    }

    private static void Decompose(Tables tables, int point, List<int> into)
    {
        int syllable = point - SBase;
        if (syllable >= 0 && syllable < SCount)
        {
            into.Add(LBase + syllable / (VCount * TCount));
            into.Add(VBase + syllable % (VCount * TCount) / TCount);
            if (syllable % TCount != 0)
                into.Add(TBase + syllable % TCount);
        }
        else if (tables.Parts.TryGetValue(point, out (int First, int Second) parts))
        {
            Decompose(tables, parts.First, into);
            if (parts.Second != 0)
                Decompose(tables, parts.Second, into);
        }
        else
        {
            into.Add(point);
        }
    }

    private static void Reorder(Tables tables, List<int> points)
    {
        int start = 0;
        while (start < points.Count)
        {
            if (tables.Class(points[start]) == 0)
            {
                start++;
                continue;
            }

            int end = start;
            while (end < points.Count && tables.Class(points[end]) != 0)
                end++;
            if (end - start > 1)
            {
                // A stable sort, so a long run of marks cannot cost more than n log n.
                int[] run = [.. points.GetRange(start, end - start).OrderBy(tables.Class)];
                for (int i = 0; i < run.Length; i++)
                    points[start + i] = run[i];
            }

            start = end;
        }
    }

    private static string Compose(Tables tables, List<int> points)
    {
        int kept = 0,
            starter = -1,
            lastClass = -1;
        for (int i = 0; i < points.Count; i++)
        {
            int point = points[i];
            int combining = tables.Class(point);
            // Blocked when a mark of the same or a higher class, or another starter, stands between.
            if (
                starter >= 0
                && (kept - 1 == starter || lastClass < combining)
                && Join(tables, points[starter], point) is int joined and > 0
            )
            {
                points[starter] = joined;
                continue;
            }

            if (combining == 0)
                starter = kept;
            lastClass = combining;
            points[kept++] = point;
        }

        var result = new StringBuilder(kept + 8);
        Span<char> units = stackalloc char[2];
        for (int i = 0; i < kept; i++)
            result.Append(units[..new Rune(points[i]).EncodeToUtf16(units)]);
        return result.ToString();
    }

    private static int Join(Tables tables, int first, int second)
    {
        if (first is >= LBase and < LBase + LCount && second is >= VBase and < VBase + VCount)
            return SBase + ((first - LBase) * VCount + (second - VBase)) * TCount;
        if (first is >= SBase and < SBase + SCount && (first - SBase) % TCount == 0 && second is > TBase and < TBase + TCount)
            return first + (second - TBase);
        return tables.Joined.GetValueOrDefault((first, second));
    }

    private sealed class Tables
    {
        internal readonly Dictionary<int, (int First, int Second)> Parts = [];
        internal readonly Dictionary<(int First, int Second), int> Joined = [];
        private readonly Dictionary<int, byte> _classes = [];

        internal int Class(int point) => point < 0x300 ? 0 : _classes.GetValueOrDefault(point);

        internal static Tables Read()
        {
            var tables = new Tables();
            byte[] data = Convert.FromBase64String(NfcData.Decompositions);
            int at = 0,
                point = 0,
                first = 0;
            while (at < data.Length)
            {
                point += Next(data, ref at);
                int zigzag = Next(data, ref at);
                first += (zigzag >> 1) ^ -(zigzag & 1);
                int second = Next(data, ref at);
                tables.Parts.Add(point, (first, second >> 1));
                if ((second & 1) != 0)
                    tables.Joined.Add((first, second >> 1), point);
            }

            data = Convert.FromBase64String(NfcData.CombiningClasses);
            at = 0;
            point = 0;
            while (at < data.Length)
            {
                point += Next(data, ref at);
                int count = Next(data, ref at);
                byte value = (byte)Next(data, ref at);
                for (int i = 0; i < count; i++)
                    tables._classes.Add(point++, value);
            }

            return tables;
        }

        private static int Next(byte[] data, ref int at)
        {
            int value = 0,
                shift = 0;
            while (true)
            {
                byte b = data[at++];
                value |= (b & 127) << shift;
                if (b < 128)
                    return value;
                shift += 7;
            }
        }
    }
}
