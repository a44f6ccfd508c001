namespace AfaNative.Kernels.MachineCode;

/// <summary>
/// Puts streams of instructions that do not depend on each other side by side, so that each fills the units and the waiting times
/// of the others.
/// </summary>
internal static class Interleaving
{
    /// <summary>Runs the steps of all streams, each spread evenly over the whole.</summary>
    public static void InTurn(params ReadOnlySpan<List<Action>> streams)
    {
        var all = new List<(double At, Action Step)>();
        foreach (List<Action> stream in streams)
        {
            for (int i = 0; i < stream.Count; i++)
                all.Add(((i + 0.5) / stream.Count, stream[i]));
        }

        foreach ((_, Action step) in all.OrderBy(s => s.At))
            step();
    }
}
