using System.Globalization;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Training;

namespace AfaNative.Demo;

/// <summary>The model card of a demo ensemble: what it is, how it was made, and what it cannot do.</summary>
internal static class DemoCard
{
    /// <summary>In Markdown.</summary>
    /// <param name="o">Sizes and lengths.</param>
    /// <param name="adopted">The aggregators were trained later, on an ensemble's experts as they were stored.</param>
    public static string Text(DemoOptions o, bool adopted = false)
    {
        string vae = string.Join(", ", o.VaeChannels);
        string channels = string.Join(", ", o.UNetChannels);
        string anew = adopted ? Adopted : "";
        int family = o.Pool / 3;
        return string.Create(
                CultureInfo.InvariantCulture,
                $"""
                # Demo ensemble of AfaNative

                Three small diffusion models and the aggregators that join them (Adaptive Feature Aggregation), in the folder
                layout of the method's authors. Nothing in it comes from anywhere else: `afa-native demo train --seed {o.Seed}`
                makes it from seeds alone, on scenes that are rendered while it trains. The weights are float16 copies of what was
                trained in float32.

                ## What it draws
                Pictures of {o.Size} x {o.Size} pixels with one or two objects: circle, ring, square, cross, triangle or
                star, red, green, blue, yellow, purple or cyan, on a plain, striped or checkered background in white, gray
                or black. It understands captions of one grammar:

                    a [small|large] COLOUR SHAPE [left of|above a [small|large] COLOUR SHAPE]
                    [on a [plain|striped|checkered] [white|gray|black] background]

                Expert 0 (`unet`) was fine-tuned on circles and rings, expert 1 on squares and crosses, expert 2 on triangles and
                stars.

                ## How it was made
                | part | architecture | updates | pictures in one |
                |---|---|---|---|
                | VAE (8x) | channels {vae}, {o.LatentChannels} latent channels | {o.VaeSteps} | {o.VaeBatch} |
                | its decoder alone, on latents with noise of {o.DecoderNoise} | the same | {o.DecoderSteps} | {o.VaeBatch} |
                | base U-Net with text encoder | channels {channels}, text width {o.TextWidth} | {o.BaseSteps} | {o.Batch} |
                | each expert's U-Net, from the base | the same | {o.ExpertSteps} | {o.Batch} |
                | aggregators | width {o.AggregatorWidth}, one transformer layer | {o.AggregatorSteps} | {o.AggregatorBatch} |

                Data: {o.Pool} encoded scenes of all shapes for the base, {family} of one family for each expert,
                {o.AggregatorPool} for the aggregators (three quarters of them with two objects). AdamW, cosine schedules, running
                means of the weights; the U-Nets predict v, of the means of the autoencoder's posteriors.{anew}

                ## How good it is
                `afa-native demo evaluate` judges it, its experts, merges of them and other ways to join them on held-out
                captions; `docs/results` in the repository has what came out.

                ## Limits
                The AFA authors' own loader does not read `scheduler/` and takes every model for one that predicts noise on Stable
                Diffusion 1.5's schedule. This ensemble predicts v: it will not sample there (its experts, loaded one by one, do
                sample in diffusers, which reads the schedule). AfaNative reads it.

                Other words than the grammar's mean nothing to it. Sizes other than {o.Size} x {o.Size} were never trained. It
                exists to show and test the method, on a world where every picture can be judged exactly.
                """
            ) + "\n";
    }

    private const string Adopted = """

        The aggregators were trained anew on the float16 experts that lie here: `afa-native demo train --experts FOLDER` does
        that.
        """;
}
