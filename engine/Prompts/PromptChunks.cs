using AfaNative.Engine.Core;

namespace AfaNative.Engine.Prompts;

/// <summary>How a prompt's text is read.</summary>
public enum PromptSyntax
{
    /// <summary>As it stands; what does not fit one chunk is cut off (diffusers).</summary>
    Plain,

    /// <summary>With A1111's weights and breaks, in as many chunks as it takes (<see cref="PromptParser"/>).</summary>
    Weighted,
}

/// <summary>
/// One pass of the text encoder: ids with start, end and padding, how much each position counts, and the vectors of embeddings
/// where they take the place of tokens.
/// </summary>
public sealed record PromptChunk(int[] Ids, float[] Weights, IReadOnlyList<TokenVector> Vectors);

/// <summary>Cuts prompts into what a text encoder takes at a time.</summary>
public static class PromptChunks
{
    // A chunk that is full ends at its last comma, if that is no further back than this.
    private const int CommaBacktrack = 20;

    /// <summary>Chunks a prompt may take: every one is a text the U-Net attends to at every step.</summary>
    public const int MostChunks = 64;

    /// <summary>
    /// The chunks of a prompt, at least one; each holds <paramref name="length"/> positions, two of them start and end. An
    /// embedding is never divided between two.
    /// </summary>
    /// <exception cref="AfaException">The prompt is too long (<see cref="PromptParser.MostCharacters"/>, <see
    /// cref="MostChunks"/>), or its weights are out of range.</exception>
    public static IReadOnlyList<PromptChunk> Split(
        ClipTokenizer tokenizer,
        string prompt,
        int length,
        PromptSyntax syntax,
        EmbeddingSet? embeddings = null
    )
    {
        embeddings ??= EmbeddingSet.None;
        PromptParser.CheckLength(prompt);
        bool plain = syntax == PromptSyntax.Plain;
        int room = length - 2,
            comma = !plain && tokenizer.Tokenize(",") is [int single] ? single : -1,
            lastComma = -1;
        var chunks = new List<PromptChunk>();
        var tokens = new List<(int Id, float Weight, float[]? Vector)>();
        foreach (PromptPart part in plain ? [new PromptPart(prompt, 1)] : PromptParser.Parse(prompt))
        {
            if (part.Break)
            {
                Finish();
                continue;
            }

            foreach ((string text, TextEmbedding? embedding) in embeddings.Split(part.Text))
            {
                if (embedding is not null)
                {
                    if (tokens.Count + embedding.Vectors.Length > room)
                        Finish();
                    tokens.AddRange(embedding.Vectors.Select(v => (0, (float)part.Weight, (float[]?)v)));
                    continue;
                }

                foreach (int id in tokenizer.Tokenize(text))
                    Add(id, (float)part.Weight);
            }
        }

        if (tokens.Count > 0 || chunks.Count == 0)
            Finish();
        return plain ? [chunks[0]] : chunks;

        void Add(int id, float weight)
        {
            if (tokens.Count == room)
            {
                (int, float, float[]?)[] moved = [];
                if (id != comma && lastComma >= 0 && room - lastComma <= CommaBacktrack)
                {
                    moved = [.. tokens.Skip(lastComma + 1)];
                    tokens.RemoveRange(lastComma + 1, tokens.Count - lastComma - 1);
                }

                Finish();
                tokens.AddRange(moved);
            }

            if (id == comma)
                lastComma = tokens.Count;
            tokens.Add((id, weight, null));
        }

        void Finish()
        {
            if (!plain && chunks.Count == MostChunks)
            {
                throw new AfaException(
                    $"The prompt '{Printable.Shortened(prompt)}' takes more than {MostChunks} chunks of "
                        + $"{room} tokens; that is the most."
                );
            }

            int[] ids = new int[length];
            float[] weights = new float[length];
            var vectors = new List<TokenVector>();
            Array.Fill(ids, tokenizer.PadId);
            Array.Fill(weights, 1);
            ids[0] = tokenizer.BosId;
            for (int i = 0; i < tokens.Count; i++)
            {
                (ids[i + 1], weights[i + 1], float[]? vector) = tokens[i];
                if (vector is not null)
                    vectors.Add(new TokenVector(i + 1, vector));
            }

            ids[tokens.Count + 1] = tokenizer.EosId;
            chunks.Add(new PromptChunk(ids, weights, vectors));
            tokens.Clear();
            lastComma = -1;
        }
    }

    /// <summary>The words of a plain prompt that do not fit a chunk, or null when all do.</summary>
    public static string? CutOff(ClipTokenizer tokenizer, string prompt, int length, EmbeddingSet? embeddings = null)
    {
        embeddings ??= EmbeddingSet.None;
        PromptParser.CheckLength(prompt);
        if (embeddings.Count(tokenizer, prompt) <= length - 2)
            return null;
        string[] words = prompt.Split(' ');
        // Twice as many at a time until they do not fit, then halves: what is far behind is never looked at.
        int kept = 0,
            over = 1;
        while (over <= words.Length && Fits(over))
            (kept, over) = (over, 2 * over);
        over = Math.Min(over, words.Length);
        while (over - kept > 1)
        {
            int middle = (kept + over) / 2;
            if (Fits(middle))
                kept = middle;
            else
                over = middle;
        }

        return string.Join(' ', words[kept..]);

        bool Fits(int count) => embeddings.Count(tokenizer, string.Join(' ', words.AsSpan(0, count))) <= length - 2;
    }
}
