using System.Text.Json;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Models;
using AfaNative.Engine.Prompts;
using AfaNative.Engine.Sampling;

namespace AfaNative.Engine.Training;

/// <summary>
/// What of a model decides what comes of training on it: weights by what they hold, configurations by what they say.
/// </summary>
internal static class ModelIdentity
{
    /// <summary>Of the VAE: what encoded pictures depend on.</summary>
    public static string[] Vae(EnsembleFolder models, ContentHashes hashes, bool weights = true) =>
        [weights ? hashes.OfWeights(models.Vae) : "", Said(VaeConfig.Load(models.Config(models.Vae, "vae")))];

    /// <summary>Of text encoders and tokenizer: what encoded captions depend on.</summary>
    public static string[] Text(EnsembleFolder models, ContentHashes hashes, bool weights = true) =>
        [
            .. models.TextEncoders.SelectMany(t =>
                (string[])[weights ? hashes.OfWeights(t) : "", Said(ClipTextConfig.Load(models.Config(t, "text_encoder")))]
            ),
            .. Tokenizer(models, hashes),
        ];

    /// <summary>Of the tokenizer.</summary>
    public static string[] Tokenizer(EnsembleFolder models, ContentHashes hashes)
    {
        ClipTokenizer read = ClipTokenizer.Load(models.Tokenizer);
        return
        [
            hashes.Of(Path.Combine(models.Tokenizer, "vocab.json")),
            hashes.Of(Path.Combine(models.Tokenizer, "merges.txt")),
            Said(
                new
                {
                    read.BosId,
                    read.EosId,
                    read.PadId,
                }
            ),
        ];
    }

    /// <summary>Of the U-Nets.</summary>
    public static string[] UNets(EnsembleFolder models, ContentHashes hashes, bool weights = true) =>
        [
            .. models.UNets.SelectMany(u =>
                (string[])
                    [weights ? hashes.OfWeights(u) : "", Said(UNetConfig.Load(models.Config(u, "unet")) with { SampleSize = 1 })]
            ),
        ];

    /// <summary>Of the aggregators.</summary>
    public static string[] Aggregators(EnsembleFolder models, ContentHashes hashes) =>
        [.. models.Aggregators.SelectMany(a => (string[])[hashes.OfWeights(a), Said(SabwConfig.Load(a))])];

    /// <summary>Of the noise schedule.</summary>
    public static string Schedule(EnsembleFolder models) => Schedule(SchedulerConfig.Load(models.Scheduler));

    // How much noise there is at every step, and what is learnt of it; how a model is sampled later is nothing to training.
    private static string Schedule(SchedulerConfig scheduler) =>
        Said(new { new NoiseSchedule(scheduler).AlphasCumprod, scheduler.PredictionType });

    private static string Said<T>(T configuration) => JsonSerializer.Serialize(configuration);
}
