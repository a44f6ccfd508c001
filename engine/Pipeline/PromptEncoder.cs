using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Models;
using AfaNative.Engine.Prompts;

namespace AfaNative.Engine.Pipeline;

/// <summary>Makes a conditioning of prompts, by a model's text encoders.</summary>
internal sealed class PromptEncoder(DiffusionModel model, Ops ops, int clipSkip, PromptSyntax syntax)
{
    private readonly int _length = model.TextEncoder.Config.MaxPositions;

    /// <summary>
    /// Of prompts, every expert's by its own text encoder. Prompts of fewer chunks get empty ones. A weight multiplies its
    /// token's hidden state, and the chunk is then brought back to its mean (as A1111 does by default).
    /// </summary>
    public Conditioning Encode(IReadOnlyList<string> prompts)
    {
        IReadOnlyList<PromptChunk>[] chunks =
        [
            .. prompts.Select(p => PromptChunks.Split(model.Tokenizer, p, _length, syntax, model.Embeddings)),
        ];
        int most = chunks.Max(c => c.Count);
        bool plain = most == 1 && chunks.All(c => c[0].Weights.All(w => w == 1));
        if (plain)
            return new Conditioning(Encode([.. chunks.Select(c => c[0])]));
        PromptChunk empty = PromptChunks.Split(model.Tokenizer, "", _length, syntax)[0];
        float[] all = [];
        int experts = 0;
        int width = 0;
        for (int c = 0; c < most; c++)
        {
            using TensorScope scope = ops.Scope();
            PromptChunk[] row = [.. chunks.Select(p => c < p.Count ? p[c] : empty)];
            Tensor hidden = Encode(row);
            float[] values = ops.Download(hidden);
            (experts, width) = (hidden.Shape.Experts, hidden.Shape.Channels);
            if (c == 0)
                all = new float[(long)values.Length * most];
            for (int i = 0; i < experts * prompts.Count; i++)
            {
                Span<float> one = values.AsSpan(i * _length * width, _length * width);
                Weigh(one, row[i % prompts.Count].Weights, width);
                one.CopyTo(all.AsSpan((i * most + c) * _length * width));
            }
        }

        return new Conditioning(ops.Upload(all, new Shape(experts, prompts.Count, most * _length, 1, width)));
    }

    private Tensor Encode(PromptChunk[] row) =>
        model.TextEncoder.Encode(
            ops,
            [.. row.SelectMany(r => r.Ids)],
            _length,
            clipSkip,
            [.. row.SelectMany((r, i) => r.Vectors.Select(v => v with { Position = i * _length + v.Position }))]
        );

    private static void Weigh(Span<float> hidden, float[] weights, int width)
    {
        if (weights.All(w => w == 1))
            return;
        double before = 0;
        double after = 0;
        for (int i = 0; i < hidden.Length; i++)
        {
            before += hidden[i];
            hidden[i] *= weights[i / width];
            after += hidden[i];
        }

        // A mean of nothing cannot be kept.
        float back = Math.Abs(after) < 1e-12 ? 1 : (float)(before / after);
        for (int i = 0; i < hidden.Length; i++)
            hidden[i] *= back;
    }
}
