using System.Text;
using System.Text.Json;
using AfaNative.Engine.Core;
using Microsoft.ML.Tokenizers;

namespace AfaNative.Engine.Prompts;

/// <summary>
/// CLIP's byte-level byte-pair tokenizer, with a model's own vocabulary: form C, runs of white space to one space, lower case,
/// then
/// words, then merges. Instances do not change after loading and may be shared between threads.
/// </summary>
public sealed class ClipTokenizer
{
    private const string DefaultBos = "<|startoftext|>";
    private const string DefaultEos = "<|endoftext|>";

    private readonly BpeTokenizer _bpe;
    private readonly AddedToken[] _specials;

    private ClipTokenizer(BpeTokenizer bpe, AddedToken bos, AddedToken eos, int padId, int vocabularySize)
    {
        _bpe = bpe;
        _specials = [bos, eos];
        BosId = bos.Id;
        EosId = eos.Id;
        PadId = padId;
        VocabularySize = vocabularySize;
    }

    private ClipTokenizer(ClipTokenizer other, IReadOnlyList<AddedToken> added)
    {
        _bpe = other._bpe;
        _specials = [other._specials[0], other._specials[1], .. added];
        (BosId, EosId, PadId, VocabularySize) = (other.BosId, other.EosId, other.PadId, other.VocabularySize);
        Added = added;
    }

    /// <summary>The id that starts every encoded text.</summary>
    public int BosId { get; }

    /// <summary>The id that ends every encoded text.</summary>
    public int EosId { get; }

    /// <summary>The id that fills an encoded text up to its length.</summary>
    public int PadId { get; }

    /// <summary>One more than the vocabulary's highest id: how many rows the text encoder's embedding must have.</summary>
    public int VocabularySize { get; }

    /// <summary>Tokens that stand beside the vocabulary; their ids may lie beyond it.</summary>
    public IReadOnlyList<AddedToken> Added { get; } = [];

    /// <summary>
    /// The same tokenizer for a text encoder of so many <paramref name="rows"/>: without added tokens that have none, which are
    /// words like others then.
    /// </summary>
    public ClipTokenizer Within(int rows) =>
        Added.All(t => t.Id < rows) ? this : new ClipTokenizer(this, [.. Added.Where(t => t.Id < rows)]);

    /// <summary>
    /// Reads a tokenizer folder: <c>vocab.json</c>, <c>merges.txt</c> and, where present, the names of its special tokens and the
    /// tokens that were added.
    /// </summary>
    /// <exception cref="CheckpointException">A file is missing or is not what it should be.</exception>
    public static ClipTokenizer Load(string tokenizerFolder)
    {
        ArgumentNullException.ThrowIfNull(tokenizerFolder);
        string vocabularyPath = System.IO.Path.Combine(tokenizerFolder, "vocab.json");
        string mergesPath = System.IO.Path.Combine(tokenizerFolder, "merges.txt");
        Dictionary<string, int> vocabulary = ReadVocabulary(vocabularyPath);
        List<string> merges = ReadMerges(mergesPath);

        var names = SpecialTokenNames.Read(tokenizerFolder);
        string bos = names.Find("bos_token") ?? DefaultBos;
        string eos = names.Find("eos_token") ?? DefaultEos;
        string pad = names.Find("pad_token") ?? eos;
        int bosId = Id(bos),
            eosId = Id(eos),
            padId = Id(pad);

        var options = new BpeOptions(vocabulary)
        {
            Merges = merges,
            PreTokenizer = new ClipPreTokenizer(),
            ByteLevel = true,
            EndOfWordSuffix = "</w>",
            UnknownToken = eos,
        };
        ClipTokenizer tokenizer;
        try
        {
            tokenizer = new ClipTokenizer(
                BpeTokenizer.Create(options),
                new AddedToken(bos, bosId, false, false),
                new AddedToken(eos, eosId, false, false),
                padId,
                vocabulary.Values.Max() + 1
            );
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            throw new CheckpointException(
                $"Expected merges of tokens that the vocabulary beside them holds, but '{mergesPath}' does not fit: {e.Message}",
                e
            );
        }

        return AddedToken.Read(tokenizerFolder, vocabulary) is { Count: > 0 } added
            ? new ClipTokenizer(tokenizer, added)
            : tokenizer;

        int Id(string token) =>
            vocabulary.TryGetValue(token, out int id)
                ? id
                : throw new CheckpointException(
                    $"Expected the special token '{token}' in the vocabulary, but '{vocabularyPath}' does not hold it."
                );
    }

    /// <summary>
    /// The ids of a text, however many they are, without the start, the end and the padding. Half a surrogate pair counts as
    /// U+FFFD.
    /// </summary>
    public int[] Tokenize(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var ids = new List<int>();
        int at = 0;
        // Where each special token comes next: looked for again only when it was passed, so that many of one cost no more than
        // the text's length.
        int[] next = [.. _specials.Select(s => Where(s, 0))];
        while (at < text.Length)
        {
            // A special token counts only as it is written, before lower-casing.
            int first = 0;
            for (int i = 0; i < next.Length; i++)
            {
                if (next[i] < at)
                    next[i] = Where(_specials[i], at);
                if (next[i] < next[first])
                    first = i;
            }

            int end = next[first];
            if (end > at)
                ids.AddRange(_bpe.EncodeToIds(Normalize(text[at..end]), considerNormalization: false));
            at = end;
            if (at == text.Length)
                break;
            ids.Add(_specials[first].Id);
            at += _specials[first].Text.Length;
        }

        return [.. ids];

        int Where(AddedToken special, int from) =>
            special.Text.Length > 0 && special.In(text, from) is var found and >= 0 ? found : text.Length;
    }

    /// <summary>
    /// Exactly <paramref name="maxLength"/> ids: the start, as much of the text as fits, the end, then padding.
    /// </summary>
    public int[] Encode(string text, int maxLength = 77)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(maxLength, 2);
        int[] body = Tokenize(text);
        int[] ids = new int[maxLength];
        Array.Fill(ids, PadId);
        int count = Math.Min(body.Length, maxLength - 2);
        ids[0] = BosId;
        Array.Copy(body, 0, ids, 1, count);
        ids[count + 1] = EosId;
        return ids;
    }

    /// <summary>Form C, every run of white space one space, each character in lower case by itself.</summary>
    internal static string Normalize(string text)
    {
        var result = new StringBuilder(text.Length + 4);
        Span<char> units = stackalloc char[2];
        bool space = false;
        foreach (Rune rune in Nfc.Normalize(text).EnumerateRunes())
        {
            if (Rune.IsWhiteSpace(rune))
            {
                if (!space)
                    result.Append(' ');
                space = true;
                continue;
            }

            space = false;
            // The one character whose lower case is two.
            if (rune.Value == 0x130)
                result.Append("i\u0307");
            else
                result.Append(units[..Rune.ToLowerInvariant(rune).EncodeToUtf16(units)]);
        }

        return result.ToString();
    }

    private static Dictionary<string, int> ReadVocabulary(string path)
    {
        using JsonDocument document = TokenizerFiles.ReadJson(path);
        if (document.RootElement.ValueKind != JsonValueKind.Object)
            throw new CheckpointException(
                $"Expected a JSON object of tokens and their ids, but '{path}' holds {TokenizerFiles.Name(document.RootElement)}."
            );
        var vocabulary = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (JsonProperty entry in document.RootElement.EnumerateObject())
        {
            if (
                entry.Value.ValueKind != JsonValueKind.Number
                || !entry.Value.TryGetInt32(out int id)
                || id < 0
                || id > 10_000_000
            )
                throw new CheckpointException(
                    $"Expected a whole number from 0 as the id of the token '{entry.Name}', but '{path}' gives "
                        + $"{TokenizerFiles.Short(entry.Value)}."
                );
            if (!vocabulary.TryAdd(entry.Name, id))
                throw new CheckpointException($"Expected every token once, but '{path}' lists '{entry.Name}' again.");
        }

        return vocabulary.Count > 0
            ? vocabulary
            : throw new CheckpointException($"Expected at least one token, but '{path}' is empty.");
    }

    private static List<string> ReadMerges(string path)
    {
        var merges = new List<string>();
        int number = 0;
        foreach (string line in TokenizerFiles.ReadText(path).Split('\n'))
        {
            number++;
            string merge = line.TrimEnd('\r');
            if (merge.Length == 0 || (number == 1 && merge.StartsWith("#version", StringComparison.Ordinal)))
                continue;
            int gap = merge.IndexOf(' ');
            if (gap <= 0 || gap == merge.Length - 1 || merge.IndexOf(' ', gap + 1) >= 0)
                throw new CheckpointException(
                    $"Expected two tokens with one space between, but line {number} of '{path}' is not so."
                );
            merges.Add(merge);
        }

        return merges;
    }
}
