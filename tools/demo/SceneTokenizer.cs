using AfaNative.Engine.Prompts;

namespace AfaNative.Demo;

/// <summary>
/// A tokenizer in CLIP's file format whose merges were learnt from the demo world's words: each becomes one token, other words
/// fall into bytes.
/// </summary>
internal static class SceneTokenizer
{
    private const string EndOfWord = "</w>";

    /// <summary>
    /// Writes the files, for a text encoder of so many <paramref name="positions"/>, and returns the size of the vocabulary.
    /// </summary>
    public static int Write(string folder, int positions)
    {
        List<string[]> words =
        [
            .. SceneGrammar.Words.Select(w => w.Select((c, i) => i == w.Length - 1 ? c + EndOfWord : c.ToString()).ToArray()),
        ];
        var merges = new List<(string Left, string Right)>();
        while (true)
        {
            // Byte-pair encoding (Sennrich et al., 2016): the most frequent pair first, the first in order among equals.
            (string, string) pair =
                words
                    .SelectMany(w => w.Zip(w.Skip(1)))
                    .GroupBy(p => p)
                    .OrderByDescending(g => g.Count())
                    .ThenBy(g => g.Key.First, StringComparer.Ordinal)
                    .ThenBy(g => g.Key.Second, StringComparer.Ordinal)
                    .FirstOrDefault()
                    ?.Key
                ?? default;
            if (pair.Item1 is null)
                break;
            merges.Add(pair);
            words = [.. words.Select(w => Merge(w, pair))];
        }

        return TokenizerWriter.Write(folder, merges, positions);
    }

    private static string[] Merge(string[] word, (string Left, string Right) pair)
    {
        var merged = new List<string>();
        for (int i = 0; i < word.Length; i++)
        {
            if (i + 1 < word.Length && (word[i], word[i + 1]) == pair)
                merged.Add(word[i] + word[++i]);
            else
                merged.Add(word[i]);
        }

        return [.. merged];
    }
}
