using AfaNative.Engine.Core;
using AfaNative.Engine.Files;

namespace AfaNative.Engine.Prompts;

/// <summary>A textual inversion (Gal et al., 2022): vectors that take the place of a word's token embeddings.</summary>
/// <param name="Name">The word that stands for it in prompts, also written <c>&lt;name&gt;</c>.</param>
/// <param name="Placeholder">What its own file calls it, such as <c>&lt;cat-toy&gt;</c>, or null.</param>
/// <param name="Vectors">[V][D]: it takes V positions.</param>
/// <param name="Path">The file it came from.</param>
public sealed record TextEmbedding(string Name, string? Placeholder, float[][] Vectors, string Path)
{
    /// <summary>Why it cannot be used, said when a prompt names it.</summary>
    internal string? Problem { get; init; }

    /// <summary>Short hash of the file.</summary>
    public string Hash() => FileHash.Short([Path]);
}

/// <summary>A vector in the place of a token's embedding, before the position's is added.</summary>
/// <param name="Position">Among all tokens given at once, [B, T].</param>
/// <param name="Vector">[D], for every expert.</param>
public readonly record struct TokenVector(int Position, float[] Vector);

/// <summary>The textual inversions a model was loaded with, and where a text names them.</summary>
public sealed class EmbeddingSet
{
    // By their first character in upper case, so that a text is read at the same speed however many there are.
    private readonly Dictionary<char, (string Spelling, TextEmbedding Embedding)[]> _spellings;

    private EmbeddingSet(IReadOnlyList<TextEmbedding> embeddings)
    {
        // The longest name that fits counts: bad-hands-5 is not bad-hands.
        _spellings = embeddings
            .SelectMany(e => Spellings(e).Where(s => s.Length > 0).Select(s => (Spelling: s, Embedding: e)))
            .GroupBy(s => char.ToUpperInvariant(s.Spelling[0]))
            .ToDictionary(g => g.Key, g => g.OrderByDescending(s => s.Spelling.Length).ToArray());
    }

    /// <summary>No embeddings.</summary>
    public static EmbeddingSet None { get; } = new([]);

    /// <summary>
    /// Reads embeddings for text encoders of some width whose chunks have some room; a file given by name counts more than one
    /// found in a folder.
    /// </summary>
    /// <exception cref="CheckpointException">A file given by name is no embedding, or one for another kind of model.</exception>
    /// <exception cref="AfaException">Two have the same name.</exception>
    public static EmbeddingSet Load(IReadOnlyList<EmbeddingRequest> requests, int width, int room)
    {
        var byName = new Dictionary<string, TextEmbedding>(StringComparer.OrdinalIgnoreCase);
        foreach (EmbeddingRequest request in requests.OrderBy(r => r.Listed))
        {
            if (byName.TryGetValue(request.Word, out TextEmbedding? other))
            {
                string problem =
                    $"{request.Path} and {other.Path} would both be called '{request.Word}'; NAME=FILE gives one of them "
                    + $"another name.";
                if (!request.Listed)
                    throw new AfaException(problem);
                if (requests.Any(r => r.Listed && r.Path == other.Path))
                    byName[request.Word] = other with { Problem = problem };
                continue;
            }

            try
            {
                byName.Add(request.Word, EmbeddingFile.Read(request, width, room));
            }
            catch (CheckpointException e) when (request.Listed)
            {
                byName.Add(request.Word, new TextEmbedding(request.Word, null, [], request.Path) { Problem = e.Message });
            }
        }

        return byName.Count == 0 ? None : new EmbeddingSet([.. byName.Values]);
    }

    /// <summary>A text cut where it names embeddings: each piece is text or one of them.</summary>
    /// <exception cref="CheckpointException">It names one that cannot be used.</exception>
    internal IEnumerable<(string Text, TextEmbedding? Embedding)> Split(string text)
    {
        int from = 0;
        for (int at = 0; _spellings.Count > 0 && at < text.Length; )
        {
            (string spelling, TextEmbedding? embedding) = Find(text, at);
            if (embedding is null)
            {
                at++;
                continue;
            }

            if (embedding.Problem is { } problem)
                throw new CheckpointException(problem);
            if (at > from)
                yield return (text[from..at], null);
            yield return ("", embedding);
            from = at += spelling.Length;
        }

        if (from < text.Length)
            yield return (text[from..], null);
    }

    /// <summary>Positions a text takes.</summary>
    internal int Count(ClipTokenizer tokenizer, string text) =>
        Split(text).Sum(p => p.Embedding?.Vectors.Length ?? tokenizer.Tokenize(p.Text).Length);

    /// <summary>The embeddings prompts name, each once, in order.</summary>
    /// <exception cref="CheckpointException">They name one that cannot be used.</exception>
    public IReadOnlyList<TextEmbedding> UsedBy(PromptSyntax syntax, params IEnumerable<string> prompts) =>
        [
            .. prompts
                .SelectMany(p => syntax == PromptSyntax.Plain ? [p] : PromptParser.Parse(p).Select(part => part.Text))
                .SelectMany(Split)
                .Select(p => p.Embedding)
                .OfType<TextEmbedding>()
                .Distinct(),
        ];

    private static IEnumerable<string> Spellings(TextEmbedding e)
    {
        yield return e.Name;
        if (!e.Name.StartsWith('<'))
            yield return $"<{e.Name}>";
        if (e.Placeholder is { } own && !own.Trim('<', '>').Equals(e.Name.Trim('<', '>'), StringComparison.OrdinalIgnoreCase))
            yield return own;
    }

    private (string Spelling, TextEmbedding? Embedding) Find(string text, int at)
    {
        if (!_spellings.TryGetValue(char.ToUpperInvariant(text[at]), out (string Spelling, TextEmbedding Embedding)[]? names))
            return ("", null);
        foreach ((string spelling, TextEmbedding embedding) in names)
        {
            if (Stands(text, at, spelling))
                return (spelling, embedding);
        }

        return ("", null);
    }

    // As a word of its own: what stands beside it must not go on with it.
    private static bool Stands(string text, int at, string name)
    {
        if (at > 0 && Word(text[at - 1]) && Word(name[0]))
            return false;
        if (string.Compare(text, at, name, 0, name.Length, StringComparison.OrdinalIgnoreCase) != 0)
            return false;
        int end = at + name.Length;
        return end >= text.Length || !Word(text[end]) || !Word(name[^1]);

        static bool Word(char c) => char.IsLetterOrDigit(c) || c == '_';
    }
}
