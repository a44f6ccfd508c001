using AfaNative.Engine.Checkpoints;
using AfaNative.Kernels;

namespace AfaNative.Engine.Layers;

/// <summary>The LoRAs of one component: which expert's tensors change, and by how much.</summary>
internal sealed class LoraSet(string component, IReadOnlyList<(LoraFile File, double Weight, int? Expert)> loras)
{
    /// <summary>Refuses LoRAs made for another model.</summary>
    public void MustFit(IEnumerable<ParameterSpec> specs)
    {
        string[] names = [.. specs.Select(s => s.Name)];
        foreach ((LoraFile file, _, _) in loras) file.MustFit(component, names);
    }

    /// <summary>The changed values of an expert's tensor, or null where nothing changes it.</summary>
    public float[]? Change(int expert, string name, IReadOnlyList<long> shape, ElementType type, Func<float[]> read)
    {
        float[]? values = null;
        foreach ((LoraFile file, double weight, int? only) in loras)
        {
            if ((only is { } chosen && chosen != expert) || weight == 0 || file.For(component, name) is not { } layer) continue;
            values ??= read();
            file.Add(layer, weight, shape, values);
        }

        return values;
    }
}
