using System.Globalization;
using AfaNative.Engine.Core;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Checkpoints;

/// <summary>The LoRAs of one component: which expert's tensors change, and by how much.</summary>
internal sealed class LoraSet(string component, IReadOnlyList<(LoraFile File, double Weight, int? Expert)> loras)
{
    /// <summary>Refuses LoRAs made for another model.</summary>
    public void MustFit(IEnumerable<ParameterSpec> specs)
    {
        string[] names = [.. specs.Select(s => s.Name)];
        foreach ((LoraFile file, _, _) in loras)
            file.Bind(component, names);
    }

    /// <summary>The changed values of an expert's tensor, or null where nothing changes it.</summary>
    /// <param name="expert">Whose tensor.</param>
    /// <param name="name">Its diffusers name.</param>
    /// <param name="shape">Its shape in a file.</param>
    /// <param name="type">What the result will be rounded to, once.</param>
    /// <param name="read">Reads its values.</param>
    /// <exception cref="CheckpointException">Shapes do not fit, or the result is too large for the type.</exception>
    public float[]? Change(int expert, string name, IReadOnlyList<long> shape, ElementType type, Func<float[]> read)
    {
        float[]? values = null;
        foreach ((LoraFile file, double weight, int? only) in loras)
        {
            if ((only is null || only == expert) && weight != 0)
                file.Add(component, name, shape, weight, () => values ??= read());
        }

        if (values is not null)
            FiniteWeights.CheckResult(
                values,
                type,
                () =>
                    string.Join(", ", loras.Select(l => string.Create(CultureInfo.InvariantCulture, $"{l.File.Path}:{l.Weight}")))
                    + $": with this change, the tensor '{name}'"
            );
        return values;
    }
}
