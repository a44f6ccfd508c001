using AfaNative.Engine.Core;

namespace AfaNative.Engine.Checkpoints;

/// <summary>
/// The arithmetic of one layer's change: products in float64, added to values in float32, which are rounded to the weight's own
/// type only after all LoRAs.
/// </summary>
internal sealed class LoraChange(SafetensorsFile file, LoraLayer layer)
{
    private readonly IReadOnlyDictionary<LoraPart, SafetensorsTensor> _parts = layer.Parts;

    /// <summary>Adds the change, times <paramref name="weight"/>, to a weight [out, in * k * k] or a norm's [channels].</summary>
    /// <returns>Whether there was any.</returns>
    public bool AddToWeight(IReadOnlyList<long> shape, double weight, Func<float[]> read)
    {
        bool changed = false;
        bool low = _parts.ContainsKey(LoraPart.Down),
            whole = _parts.ContainsKey(LoraPart.Diff);
        if (_parts.GetValueOrDefault(LoraPart.Magnitude) is { } magnitude)
            changed = AddWithLengths(shape, weight, read(), magnitude, rows: true);
        else if (_parts.GetValueOrDefault(LoraPart.DoraScale) is { } lengths)
            changed = AddWithLengths(shape, weight, read(), lengths, rows: lengths.Shape is not [1, ..] || shape[0] == 1);
        else if (low || whole)
        {
            float[] values = read();
            if (low)
                AddLowRank(
                    shape,
                    weight * layer.Scale,
                    values.Length,
                    (from, sums, scale) =>
                    {
                        for (int i = 0; i < sums.Length; i++)
                            values[from + i] = (float)(values[from + i] + scale * sums[i]);
                    }
                );
            if (whole)
                AddAll(LoraPart.Diff, weight, values);
            changed = true;
        }

        if (!_parts.ContainsKey(LoraPart.NormWeight))
            return changed;
        AddAll(LoraPart.NormWeight, weight, read());
        return true;
    }

    /// <summary>Adds the change, times <paramref name="weight"/>, to a bias [out].</summary>
    /// <returns>Whether there was any.</returns>
    public bool AddToBias(double weight, Func<float[]> read)
    {
        bool changed = false;
        foreach (
            (LoraPart part, double scale) in ((LoraPart, double)[])
                [(LoraPart.UpBias, layer.Scale), (LoraPart.DiffBias, 1), (LoraPart.NormBias, 1)]
        )
        {
            if (!_parts.ContainsKey(part))
                continue;
            AddAll(part, weight * scale, read());
            changed = true;
        }

        return changed;
    }

    private void AddAll(LoraPart part, double weight, float[] values)
    {
        SafetensorsTensor tensor = _parts[part];
        if (tensor.ElementCount != values.Length)
            throw Misfit($"{tensor.Name} has {tensor.ElementCount} values, the model's tensor {values.Length}");
        float[] difference = file.ReadFloat32(tensor.Name);
        for (int i = 0; i < values.Length; i++)
            values[i] = (float)(values[i] + weight * difference[i]);
    }

    // Up times down, handed on row by row: where the row begins, its sums, and what they are multiplied by.
    private void AddLowRank(IReadOnlyList<long> shape, double scale, int count, Action<int, double[], double> add)
    {
        SafetensorsTensor first = _parts[LoraPart.Down],
            last = _parts[LoraPart.Up];
        long rank = first.Shape[0],
            outputs = shape[0],
            inputs = count / outputs,
            inner = last.Shape[1];
        float[] down = file.ReadFloat32(first.Name),
            up = file.ReadFloat32(last.Name);
        if (_parts.TryGetValue(LoraPart.Mid, out SafetensorsTensor? mid))
            down = Unfold(mid, down, inner, rank, inputs);
        else if (inner != rank)
            throw Misfit($"its up matrix has {inner} columns, its down matrix {rank} rows");
        if (last.Shape[0] != outputs || down.Length != inner * inputs || up.Length != outputs * inner)
        {
            throw Misfit($"it changes a layer of [{last.Shape[0]}, {down.Length / inner}], the model's is [{outputs}, {inputs}]");
        }

        Parallel.For(
            0,
            (int)outputs,
            o =>
            {
                var sums = new double[inputs];
                for (int r = 0; r < inner; r++)
                {
                    double u = up[o * inner + r];
                    for (int i = 0; i < sums.Length; i++)
                        sums[i] += u * down[r * inputs + i];
                }

                add((int)(o * inputs), sums, scale);
            }
        );
    }

    // A factored convolution's mid [m, n, k, l] and down [n, in] as one matrix [m, in * k * l].
    private float[] Unfold(SafetensorsTensor mid, float[] down, long rows, long rank, long width)
    {
        long inputs = down.Length / rank,
            taps = mid.Shape.Skip(2).Aggregate(1L, (a, b) => a * b);
        if (mid.Shape.Length < 2 || mid.Shape[0] != rows || mid.Shape[1] != rank)
            throw Misfit($"{mid.Name} is [{string.Join(", ", mid.Shape)}] between {rows} and {rank}");
        if (inputs * taps != width)
            throw Misfit($"it changes a layer of {inputs * taps} inputs, the model's has {width}");
        float[] middle = file.ReadFloat32(mid.Name);
        var unfolded = new float[rows * inputs * taps];
        Parallel.For(
            0,
            (int)rows,
            m =>
            {
                for (int i = 0; i < inputs; i++)
                {
                    for (int t = 0; t < taps; t++)
                    {
                        double sum = 0;
                        for (int n = 0; n < rank; n++)
                            sum += (double)middle[(m * rank + n) * taps + t] * down[n * inputs + i];
                        unfolded[(m * inputs + i) * taps + t] = (float)sum;
                    }
                }
            }
        );
        return unfolded;
    }

    // DoRA (Liu et al., 2024): V = W + delta W has its rows' or columns' lengths replaced by the learnt ones; the weight blends
    // from W to that.
    private bool AddWithLengths(IReadOnlyList<long> shape, double weight, float[] values, SafetensorsTensor tensor, bool rows)
    {
        long outputs = shape[0],
            inputs = shape.Count > 1 ? shape[1] : 1,
            taps = values.Length / (outputs * inputs),
            groups = rows ? outputs : inputs;
        if (tensor.ElementCount != groups)
            throw Misfit($"{tensor.Name} holds {tensor.ElementCount} lengths for {groups} {(rows ? "rows" : "columns")}");
        float[] lengths = file.ReadFloat32(tensor.Name);
        var changed = new double[values.Length];
        for (int i = 0; i < changed.Length; i++)
            changed[i] = values[i];
        if (_parts.ContainsKey(LoraPart.Down))
            AddLowRank(
                shape,
                layer.Scale,
                values.Length,
                (from, sums, scale) =>
                {
                    for (int i = 0; i < sums.Length; i++)
                        changed[from + i] += scale * sums[i];
                }
            );
        if (_parts.TryGetValue(LoraPart.Diff, out SafetensorsTensor? whole))
        {
            if (whole.ElementCount != values.Length)
                throw Misfit($"{whole.Name} has {whole.ElementCount} values, the model's tensor {values.Length}");
            float[] difference = file.ReadFloat32(whole.Name);
            for (int i = 0; i < changed.Length; i++)
                changed[i] += difference[i];
        }

        var norms = new double[groups];
        for (int i = 0; i < changed.Length; i++)
            norms[Group(i)] += changed[i] * changed[i];
        for (int g = 0; g < norms.Length; g++)
        {
            norms[g] = Math.Sqrt(norms[g]);
            // A row of zeros has no direction to stretch.
            if (norms[g] == 0)
                norms[g] = 1;
        }

        for (int i = 0; i < changed.Length; i++)
        {
            long group = Group(i);
            values[i] = (float)(values[i] + weight * (changed[i] * lengths[group] / norms[group] - values[i]));
        }

        return true;

        long Group(int i) => rows ? i / (inputs * taps) : i / taps % inputs;
    }

    private CheckpointException Misfit(string how) =>
        new($"{file.Path}: {layer.Name}: {how}; the LoRA was made for another base model.");
}
