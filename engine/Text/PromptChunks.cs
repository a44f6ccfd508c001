namespace AfaNative.Engine.Text;

/// <summary>How a prompt's text is read.</summary>
public enum PromptSyntax
{
    /// <summary>As it stands; what does not fit one chunk is cut off (diffusers).</summary>
    Plain,
    /// <summary>With A1111's weights and breaks, in as many chunks as it takes (<see cref="PromptParser"/>).</summary>
    Weighted,
}

/// <summary>One pass of the text encoder: ids with start, end and padding, how much each position counts, and the vectors of embeddings where they take the place of tokens.</summary>
public sealed record PromptChunk(int[] Ids, float[] Weights, IReadOnlyList<TokenVector> Vectors);

/// <summary>Cuts prompts into what a text encoder takes at a time.</summary>
public static class PromptChunks
{
    // A chunk that is full ends at its last comma, if that is no further back than this.
    private const int CommaBacktrack = 20;

    /// <summary>The chunks of a prompt, at least one; each holds <paramref name="length"/> positions, two of them start and end. An embedding is never divided between two.</summary>
    public static IReadOnlyList<PromptChunk> Split(ClipTokenizer tokenizer, string prompt, int length, PromptSyntax syntax, EmbeddingSet? embeddings = null)
    {
        embeddings ??= EmbeddingSet.None;
        bool plain = syntax == PromptSyntax.Plain;
        int room = length - 2, comma = !plain && tokenizer.Tokenize(",") is [int single] ? single : -1, lastComma = -1;
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
                    if (tokens.Count + embedding.Vectors.Length > room) Finish();
                    tokens.AddRange(embedding.Vectors.Select(v => (0, (float)part.Weight, (float[]?)v)));
                    continue;
                }

                foreach (int id in tokenizer.Tokenize(text)) Add(id, (float)part.Weight);
            }
        }

        if (tokens.Count > 0 || chunks.Count == 0) Finish();
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

            if (id == comma) lastComma = tokens.Count;
            tokens.Add((id, weight, null));
        }

        void Finish()
        {
            int[] ids = new int[length];
            float[] weights = new float[length];
            var vectors = new List<TokenVector>();
            Array.Fill(ids, tokenizer.PadId);
            Array.Fill(weights, 1);
            ids[0] = tokenizer.BosId;
            for (int i = 0; i < tokens.Count; i++)
            {
                (ids[i + 1], weights[i + 1], float[]? vector) = tokens[i];
                if (vector is not null) vectors.Add(new TokenVector(i + 1, vector));
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
        if (embeddings.Count(tokenizer, prompt) <= length - 2) return null;
        string[] words = prompt.Split(' ');
        int kept = words.Length;
        while (kept > 0 && embeddings.Count(tokenizer, string.Join(' ', words[..kept])) > length - 2) kept--;
        return string.Join(' ', words[kept..]);
    }
}
