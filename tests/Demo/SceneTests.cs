using AfaNative.Demo;
using AfaNative.Engine.Core;
using Xunit;

namespace AfaNative.Tests.Demo;

/// <summary>The demo world: what is drawn is what the caption says, and the scorer sees it.</summary>
public class SceneTests
{
    [Theory]
    [InlineData(64)]
    [InlineData(128)]
    public void The_scorer_is_right_about_rendered_scenes(int size)
    {
        int correct = 0;
        const int count = 600;
        for (ulong i = 0; i < count; i++)
        {
            Scene scene = SceneSampler.Draw(SceneDistribution.All, 1, i);
            SceneRequest request = SceneGrammar.Parse(SceneGrammar.Describe(scene, 1, i));
            SceneVerdict verdict = SceneScorer.Judge(SceneRenderer.Render(scene, size), size, request);
            if (verdict.Correct)
                correct++;
        }

        Assert.True(correct >= 0.98 * count, $"{correct} of {count}");
    }

    [Fact]
    public void Blur_and_noise_as_a_decoder_leaves_them_do_not_mislead_it()
    {
        int correct = 0;
        const int count = 300,
            size = 128;
        for (ulong i = 0; i < count; i++)
        {
            Scene scene = SceneSampler.Draw(SceneDistribution.All, 2, i);
            float[] pixels = SceneRenderer.Render(scene, size),
                blurred = new float[pixels.Length];
            var random = new System.Random((int)i);
            for (int y = 0; y < size; y++)
            {
                for (int x = 0; x < size; x++)
                {
                    for (int c = 0; c < 3; c++)
                    {
                        float sum = 0;
                        for (int dy = -1; dy <= 1; dy++)
                        for (int dx = -1; dx <= 1; dx++)
                            sum += pixels[(Math.Clamp(y + dy, 0, size - 1) * size + Math.Clamp(x + dx, 0, size - 1)) * 3 + c];
                        blurred[(y * size + x) * 3 + c] = sum / 9 + 0.04f * (random.NextSingle() - 0.5f);
                    }
                }
            }

            if (SceneScorer.Judge(blurred, size, SceneGrammar.Parse(SceneGrammar.Describe(scene, 2, i))).Correct)
                correct++;
        }

        Assert.True(correct >= 0.97 * count, $"{correct} of {count}");
    }

    [Fact]
    public void Noise_and_the_wrong_picture_do_not_pass()
    {
        const int size = 64;
        int noise = 0,
            wrong = 0;
        for (ulong i = 0; i < 200; i++)
        {
            SceneRequest request = SceneGrammar.Parse(
                SceneGrammar.Describe(SceneSampler.Draw(SceneDistribution.Mixed, 3, i), 3, i)
            );
            var random = new System.Random((int)i);
            var pixels = new float[size * size * 3];
            for (int j = 0; j < pixels.Length; j++)
                pixels[j] = random.NextSingle();
            if (SceneScorer.Judge(pixels, size, request).Correct)
                noise++;
            if (
                SceneScorer
                    .Judge(SceneRenderer.Render(SceneSampler.Draw(SceneDistribution.Mixed, 4, i), size), size, request)
                    .Correct
            )
                wrong++;
        }

        Assert.Equal(0, noise);
        // Another scene has the same two objects in the same relation about once in 1700 times.
        Assert.True(wrong <= 2, $"{wrong} of 200 other scenes passed");
    }

    [Fact]
    public void Half_right_is_half()
    {
        var objects = new SceneObject[]
        {
            new(SceneShape.Circle, SceneColor.Red, 0.28, 0.5, 0.15),
            new(SceneShape.Star, SceneColor.Blue, 0.72, 0.5, 0.15),
        };
        float[] picture = SceneRenderer.Render(
            new Scene(objects, SceneRelation.LeftOf, ScenePattern.Checkered, SceneTone.Gray, 0.3),
            128
        );
        Assert.True(Judge("a red circle left of a blue star").Correct);
        Assert.False(Judge("a blue star left of a red circle").Correct);
        Assert.False(Judge("a red circle above a blue star").Correct);
        Assert.Equal(1, Judge("a blue star left of a red circle on a black background").Objects);
        Assert.Equal(
            (false, 0.5),
            (Judge("a red circle left of a blue square").Correct, Judge("a red circle left of a blue square").Objects)
        );
        Assert.Equal(0, Judge("a green ring above a cyan cross").Objects);
        // One object asked for, two there.
        Assert.Equal((false, 1.0), (Judge("a red circle").Correct, Judge("a red circle").Objects));

        SceneVerdict Judge(string caption) => SceneScorer.Judge(picture, 128, SceneGrammar.Parse(caption));
    }

    [Fact]
    public void Captions_say_what_scenes_show()
    {
        var seen = new HashSet<string>();
        for (ulong i = 0; i < 500; i++)
        {
            Scene scene = SceneSampler.Draw(SceneDistribution.All, 5, i);
            string caption = SceneGrammar.Describe(scene, 5, i);
            Assert.All(caption.Split(' '), w => Assert.Contains(w, SceneGrammar.Words));
            seen.UnionWith(caption.Split(' '));
            SceneRequest request = SceneGrammar.Parse(caption);
            Assert.Equal(scene.Objects.Select(o => (o.Shape, o.Color)), request.Objects.Select(o => (o.Shape, o.Color)));
            Assert.All(
                request.Objects.Zip(scene.Objects),
                p => Assert.True(p.First.Large is null || p.First.Large == p.Second.Radius >= Scene.LargeRadius)
            );
            Assert.Equal(scene.Relation, request.Relation);
            Assert.True(request.Pattern is null || request.Pattern == scene.Pattern);
            Assert.True(request.Tone is null || request.Tone == scene.Tone);
        }

        Assert.Equal(SceneGrammar.Words.Count, seen.Count);
    }

    [Theory]
    [InlineData("a red", "a shape should stand where 'the end' does")]
    [InlineData("a bright circle", "a colour should stand where 'bright' does")]
    [InlineData("a red circle near a blue star", "'on' should stand where 'near' does")]
    [InlineData("a red circle on a striped background please", "'please' follows")]
    public void What_is_no_sentence_is_named(string caption, string expected) =>
        Assert.Contains(expected, Assert.Throws<AfaException>(() => SceneGrammar.Parse(caption)).Message);

    [Fact]
    public void Mixed_scenes_mix_families_and_a_family_keeps_to_itself()
    {
        for (ulong i = 0; i < 200; i++)
        {
            Scene mixed = SceneSampler.Draw(SceneDistribution.Mixed, 6, i);
            Assert.Equal(2, mixed.Objects.Select(o => Scene.FamilyOf(o.Shape)).Distinct().Count());
            Assert.All(
                SceneSampler.Draw(SceneDistribution.OfFamily(2), 6, i).Objects,
                o => Assert.True(o.Shape is SceneShape.Triangle or SceneShape.Star)
            );
            Assert.Equal(
                SceneRenderer.Render(mixed, 32),
                SceneRenderer.Render(SceneSampler.Draw(SceneDistribution.Mixed, 6, i), 32)
            );
        }
    }

    [Fact]
    public void Edges_are_anti_aliased_and_areas_right()
    {
        const int size = 200;
        double Area(SceneShape shape)
        {
            double sum = 0;
            for (int y = 0; y < size; y++)
            for (int x = 0; x < size; x++)
                sum += SceneRenderer.Coverage(shape, (x + 0.5) / size - 0.5, (y + 0.5) / size - 0.5, 0.3, size);
            return sum / size / size / 0.09;
        }

        Assert.Equal(Math.PI, Area(SceneShape.Circle), 0.01);
        Assert.Equal(Math.PI * 0.75, Area(SceneShape.Ring), 0.02);
        Assert.Equal(1.76 * 1.76, Area(SceneShape.Square), 0.02);
        Assert.Equal(4 * 0.68 - 0.68 * 0.68, Area(SceneShape.Cross), 0.03);
        Assert.Equal(0.95 * 1.8, Area(SceneShape.Triangle), 0.02);
    }
}
