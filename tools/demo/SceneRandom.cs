using AfaNative.Kernels.Random;

namespace AfaNative.Demo;

/// <summary>Draws that depend on a seed and an index alone (Philox 4x32-10).</summary>
internal sealed class SceneRandom(ulong seed, ulong index)
{
    private ulong _counter;

    /// <summary>In [0, 1).</summary>
    public double Next()
    {
        (uint word, _, _, _) = Philox.Block(seed, index, _counter++);
        return word / 4294967296.0;
    }

    /// <summary>In [0, count).</summary>
    public int Next(int count) => (int)(Next() * count);

    /// <summary>One of some things.</summary>
    public T Of<T>(IReadOnlyList<T> things) => things[Next(things.Count)];
}
