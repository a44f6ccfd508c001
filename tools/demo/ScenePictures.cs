using AfaNative.Engine.Training;

namespace AfaNative.Demo;

/// <summary>Scenes of the demo world as training pictures: as many as wanted, each from its number.</summary>
public sealed class ScenePictures(SceneDistribution distribution, int size, ulong seed) : IPictureSource
{
    /// <inheritdoc/>
    public int Size => size;

    /// <inheritdoc/>
    public (float[] Pixels, string Caption) Get(long index)
    {
        Scene scene = SceneSampler.Draw(distribution, seed, (ulong)index);
        float[] pixels = SceneRenderer.Render(scene, size);
        for (int i = 0; i < pixels.Length; i++)
            pixels[i] = 2 * pixels[i] - 1;
        return (pixels, SceneGrammar.Describe(scene, seed, (ulong)index));
    }
}
