using AfaNative.Engine.Core;
using AfaNative.Engine.Files;
using AfaNative.Engine.Models;
using AfaNative.Engine.Sampling;

namespace AfaNative.Engine.Ensemble;

/// <summary>
/// What models that become one share - noise schedule, tokenizer, the latents' scale, the text encoder's activation - comes from
/// the base alone. A model that was made with another is refused or named.
/// </summary>
internal static class SharedSettings
{
    /// <summary>Compares models with the base; what may be meant so goes into <paramref name="warnings"/>.</summary>
    /// <exception cref="AfaException">A model predicts something else, or its text encoder computes otherwise.</exception>
    public static void Compare(EnsembleFolder basis, IReadOnlyList<EnsembleFolder> models, ISet<string> warnings)
    {
        Twins(models, warnings);
        foreach (EnsembleFolder model in models)
        {
            if (model.UNets.Count > 1)
                warnings.Add(
                    $"{model.Path}: it is an ensemble of {model.UNets.Count} experts, of which the first alone is taken; "
                        + $"the others are its folders {string.Join(", ", model.UNets.Skip(1).Select(Path.GetFileName))}"
                );
            if (model.Path == basis.Path)
                continue;
            if (model.Scheduler != basis.Scheduler && Directory.Exists(model.Scheduler) && Directory.Exists(basis.Scheduler))
                Schedules(basis, model, warnings);
            if (
                !File.Exists(model.TextEncoders[0])
                && !File.Exists(basis.TextEncoders[0])
                && ClipTextConfig.Load(model.TextEncoders[0]).Activation != ClipTextConfig.Load(basis.TextEncoders[0]).Activation
            )
            {
                throw new AfaException(
                    $"{model.TextEncoders[0]}: its activation (hidden_act) is another than that of "
                        + $"{basis.TextEncoders[0]}, which all models would be run with."
                );
            }

            if (
                Directory.Exists(model.Vae)
                && Directory.Exists(basis.Vae)
                && VaeConfig.Load(model.Vae).ScalingFactor != VaeConfig.Load(basis.Vae).ScalingFactor
            )
            {
                warnings.Add($"{model.Path}: its VAE scales latents otherwise than that of {basis.Path}, which is used for all");
            }

            foreach (string file in (string[])["vocab.json", "merges.txt", "added_tokens.json"])
            {
                string own = Path.Combine(model.Tokenizer, file),
                    shared = Path.Combine(basis.Tokenizer, file);
                if (
                    File.Exists(own)
                    && (
                        !File.Exists(shared)
                        || !RegularFile.ReadAllBytes(own).AsSpan().SequenceEqual(RegularFile.ReadAllBytes(shared))
                    )
                )
                {
                    warnings.Add(
                        $"{own}: another tokenizer than that of {basis.Path}, which is used for all: words may not mean "
                            + $"to this model what they should"
                    );
                }
            }
        }
    }

    // A model that is there twice is seldom meant: its weights count twice, and an ensemble of equal experts is none.
    private static void Twins(IReadOnlyList<EnsembleFolder> models, ISet<string> warnings)
    {
        for (int second = 1; second < models.Count; second++)
        {
            for (int first = 0; first < second; first++)
            {
                string a = models[first].UNets[0],
                    b = models[second].UNets[0];
                if (!Same(a, b))
                    continue;
                warnings.Add(
                    RealPath.Of(a) == RealPath.Of(b)
                        ? $"{(File.Exists(b) ? b : models[second].Path)}: the same model is named twice"
                        : $"{b}: the U-Net is the same, byte for byte, as {a}"
                );
                break;
            }
        }
    }

    private static bool Same(string a, string b)
    {
        if (RealPath.Of(a) == RealPath.Of(b))
            return true;
        string[] ours = [.. FileHash.WeightFiles(a)],
            theirs = [.. FileHash.WeightFiles(b)];
        return ours.Length > 0
            && ours.Length == theirs.Length
            && ours.Zip(theirs).All(p => RegularFile.AreEqual(p.First, p.Second));
    }

    private static void Schedules(EnsembleFolder basis, EnsembleFolder model, ISet<string> warnings)
    {
        SchedulerConfig own = SchedulerConfig.Load(model.Scheduler),
            shared = SchedulerConfig.Load(basis.Scheduler);
        if (own.PredictionType != shared.PredictionType)
        {
            throw new AfaException(
                $"{model.Path}: it predicts {own.PredictionType}, the base {basis.Path} {shared.PredictionType}; models "
                    + $"that become one must predict the same."
            );
        }

        if (!new NoiseSchedule(own).AlphasCumprod.SequenceEqual(new NoiseSchedule(shared).AlphasCumprod))
        {
            warnings.Add($"{model.Path}: its noise schedule is another than that of {basis.Path}, which is used for all");
        }
    }
}
