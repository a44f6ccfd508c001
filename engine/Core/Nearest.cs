namespace AfaNative.Engine.Core;

/// <summary>What somebody may have meant.</summary>
public static class Nearest
{
    /// <summary>
    /// The known word with the fewest insertions, removals, changes and swaps of neighbours, or null where none is near.
    /// </summary>
    public static string? Of(string word, IEnumerable<string> known)
    {
        if (word.Length > 64)
            return null;
        (string Word, int Distance)? best = null;
        foreach (string one in known)
        {
            int distance = Distance(word.ToLowerInvariant(), one.ToLowerInvariant());
            if (
                distance < Math.Min(word.Length, one.Length)
                && distance <= Math.Max(1, Math.Max(word.Length, one.Length) / 3)
                && (best is null || distance < best.Value.Distance)
            )
                best = (one, distance);
        }

        return best?.Word;
    }

    /// <summary>"; did you mean X?", or nothing.</summary>
    public static string Hint(string word, IEnumerable<string> known) =>
        Of(word, known) is { } near ? $"; did you mean {near}?" : "";

    private static int Distance(string a, string b)
    {
        var rows = new int[a.Length + 1, b.Length + 1];
        for (int i = 0; i <= a.Length; i++)
            rows[i, 0] = i;
        for (int j = 0; j <= b.Length; j++)
            rows[0, j] = j;
        for (int i = 1; i <= a.Length; i++)
        {
            for (int j = 1; j <= b.Length; j++)
            {
                int change = a[i - 1] == b[j - 1] ? 0 : 1;
                rows[i, j] = Math.Min(Math.Min(rows[i - 1, j] + 1, rows[i, j - 1] + 1), rows[i - 1, j - 1] + change);
                if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                    rows[i, j] = Math.Min(rows[i, j], rows[i - 2, j - 2] + 1);
            }
        }

        return rows[a.Length, b.Length];
    }
}
