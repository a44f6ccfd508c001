using System.Globalization;
using AfaNative.Engine.Core;
using AfaNative.Engine.Prompts;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Sampling.Guidance;
using AfaNative.Engine.Sampling.Samplers;

namespace AfaNative.Engine.Pipeline;

public static partial class SettingTable
{
    private static IEnumerable<Setting> Prompts() =>
        [
            Setting.OfText("prompt", "What the pictures show.", o => o.Prompt, (_, o, v) => o with { Prompt = v }) with
            {
                MayBeEmpty = true,
                RecordAs = (o, m) => m with { Prompt = o.Prompt },
                RecordedAs = m => m.Prompt,
            },
            Setting.OfText(
                "negative",
                "What they should not show.",
                o => o.NegativePrompt,
                (_, o, v) => o with { NegativePrompt = v }
            ) with
            {
                Aliases = ["negative-prompt"],
                Default = "",
                MayBeEmpty = true,
                RecordAs = (o, m) => m with { NegativePrompt = o.NegativePrompt },
                RecordedAs = m => m.NegativePrompt,
            },
            Setting.OfChoice(
                "prompt-syntax",
                "a1111: (words:1.2), [words], BREAK, any length; plain: the text as it stands, cut after 75 tokens.",
                ["a1111", "plain"],
                o => o.Syntax == PromptSyntax.Plain ? "plain" : "a1111",
                (_, o, v) => o with { Syntax = v == "plain" ? PromptSyntax.Plain : PromptSyntax.Weighted }
            ) with
            {
                Default = "a1111",
                IsLine = false,
                RecordAs = (o, m) => m with { PlainPrompt = o.Syntax == PromptSyntax.Plain },
                RecordedAs = m => m.PlainPrompt ? "plain" : "a1111",
            },
            Setting.OfWhole(
                "clip-skip",
                "Text encoder layers to leave out (diffusers' counting: 1 is A1111's 2).",
                0,
                MostClipSkip,
                o => o.ClipSkip,
                (_, o, v) => o with { ClipSkip = v }
            ) with
            {
                Default = "0",
                IsAxis = true,
                RecordAs = (o, m) => m with { ClipSkip = o.ClipSkip },
                RecordedAs = m => Text(m.ClipSkip),
            },
        ];

    private static IEnumerable<Setting> Noise() =>
        [
            Setting.OfSeed(
                "seed",
                "Seed of the first picture; picture i has seed + i. Random when left out; 0 for `prompts` and for plots, so that "
                    + "they can be gone on with.",
                o => o.Seeds.Count > 0 ? o.Seeds[0] : null,
                (o, v) => o with { Seeds = [v] }
            ) with
            {
                IsAxis = true,
                RecordAs = (o, m) => m with { Seed = o.Seeds[0] },
                RecordedAs = m => m.Seed.ToString(CultureInfo.InvariantCulture),
            },
            Setting.OfChoice(
                "noise",
                "Whose random numbers seeds stand for: own (the same on every device), cpu (torch on the CPU) or cuda-philox "
                    + "(torch on CUDA).",
                [.. s_noises.Select(n => n.Name)],
                o => s_noises.First(n => n.Source == o.Noise).Name,
                (_, o, v) => o with { Noise = s_noises.First(n => n.Name == v).Source }
            ) with
            {
                Default = "own",
                IsAxis = true,
                RecordAs = (o, m) => m with { Noise = s_noises.First(n => n.Source == o.Noise).Recorded },
                RecordedAs = m =>
                    s_noises.Any(n => n.Name == m.NoiseSource)
                        ? m.NoiseSource
                        : throw new AfaException(
                            $"the picture's random numbers are '{Printable.Shortened(m.NoiseSource)}', which this program does "
                                + $"not have; `noise` {Words(s_noises.Select(n => n.Name))} chooses others."
                        ),
            },
        ];

    private static IEnumerable<Setting> Steps() =>
        [
            Setting.OfWhole(
                "steps",
                "Denoising steps; 50 when left out (20 for the demo ensemble).",
                1,
                MostSteps,
                o => o.Steps,
                (_, o, v) => o with { Steps = v }
            ) with
            {
                Aliases = ["num-inference-steps"],
                IsAxis = true,
                RecordAs = (o, m) => m with { Steps = o.Steps },
                RecordedAs = m => Text(m.Steps),
            },
            Setting.OfText(
                "sampler",
                "How noise becomes a picture: ddim, euler, dpmpp_2m_karras ... or \"DPM++ 2M Karras\" (afa-native samplers lists "
                    + "them), with settings as in \"dpmpp_2m [solver_order=3]\". Left out: what the model's scheduler says.",
                o => o.Sampler.Id,
                (what, o, v) => o with { Sampler = Named(what, v) }
            ) with
            {
                Aliases = ["sampler-name"],
                IsAxis = true,
                Values = [.. SamplerChoice.All.Select(s => s.Id)],
                Label = v => SamplerChoice.Find(v).Name,
                RecordAs = (o, m) => m with { Sampler = o.Sampler.Name },
                RecordedAs = m => RecordedSampler.Find(m).Id,
            },
            Setting.OfSingle(
                "eta",
                "Share of the noise that is renewed at every step, 0 to 1: of DDIM (0 when left out), Euler a, DPM++ 2M SDE (1).",
                0,
                1,
                o => o.Eta,
                (o, v) => o with { Eta = v }
            ) with
            {
                IsAxis = true,
                RecordAs = (o, m) =>
                    m with
                    {
                        Eta = o.Sampler.DefaultEta is { } usual && o.Eta is { } eta && eta != usual ? Math.Round(eta, 6) : null,
                    },
                RecordedAs = m => Text(m.Eta),
            },
            Setting.OfSingle(
                "guidance",
                "Classifier-free guidance; 1 turns it off; 7.5 when left out (4 for the demo ensemble).",
                0,
                MostGuidance,
                o => o.GuidanceScale,
                (o, v) => o with { GuidanceScale = v }
            ) with
            {
                Aliases = ["cfg-scale", "cfg", "guidance-scale"],
                IsAxis = true,
                RecordAs = (o, m) => m with { CfgScale = o.GuidanceScale },
                RecordedAs = m => ((float)m.CfgScale).ToString(CultureInfo.InvariantCulture),
            },
            Setting.OfSingle(
                "guidance-rescale",
                "Brings that share of the guided prediction, 0 to 1, to the contrast it has without guidance, against pictures "
                    + "that are too harsh, above all of v-prediction models (diffusers' guidance_rescale).",
                0,
                1,
                o => o.GuidanceRescale,
                (o, v) => o with { GuidanceRescale = v }
            ) with
            {
                Aliases = ["cfg-rescale", "rescale-cfg"],
                Default = "0",
                IsAxis = true,
                MetadataKey = "CFG rescale",
                Idle = o => o.GuidanceScale > 1 ? null : "a guidance of 1 and less is none",
            },
        ];

    private static IEnumerable<Setting> Size() =>
        [
            Setting.OfWhole(
                "width",
                "Width in pixels; what the model was trained at when left out.",
                LeastEdge,
                MostEdge,
                o => o.Width,
                (_, o, v) => o with { Width = v }
            ) with
            {
                RecordAs = (o, m) => m with { Width = o.Width },
                RecordedAs = m => m.Width > 0 ? Text(m.Width) : null,
            },
            Setting.OfWhole(
                "height",
                "Height in pixels; what the model was trained at when left out.",
                LeastEdge,
                MostEdge,
                o => o.Height,
                (_, o, v) => o with { Height = v }
            ) with
            {
                RecordAs = (o, m) => m with { Height = o.Height },
                RecordedAs = m => m.Height > 0 ? Text(m.Height) : null,
            },
            Setting.OfChoice(
                "vae-tiling",
                "Decode in tiles, which bounds memory: auto (pictures beyond 1024x1024), on or off.",
                ["auto", "on", "off"],
                o =>
                    o.TiledVae switch
                    {
                        true => "on",
                        false => "off",
                        null => "auto",
                    },
                (_, o, v) =>
                    o with
                    {
                        TiledVae = v switch
                        {
                            "on" => true,
                            "off" => false,
                            _ => null,
                        },
                    }
            ) with
            {
                Default = "auto",
                RecordAs = (o, m) => m with { VaeTiling = o.TiledVae },
                RecordedAs = m => m.VaeTiling is { } tiled ? (tiled ? "on" : "off") : null,
            },
            Setting.OfNumber(
                "strength",
                "`init-image`: how much it is changed, 0 to 1.",
                0,
                1,
                o => o.Strength,
                (_, o, v) => o with { Strength = v }
            ) with
            {
                Aliases = ["denoising-strength"],
                Default = "0.75",
                IsAxis = true,
                IsLine = false,
                RecordAs = (o, m) => o.InitImage is null ? m : m with { Strength = o.Strength },
                RecordedAs = m => m.FromPicture ? Text(m.Strength) : null,
            },
        ];

    private static IEnumerable<Setting> Fusion() =>
        [
            Setting.OfChoice(
                "fusion",
                "How the experts are joined: afa (by the aggregators), average (as afa, but all count the same everywhere), mean "
                    + "(of their noise) or magic (MagicFusion: per pixel the most salient expert's noise).",
                [.. s_fusions.Select(f => f.Name)],
                o => s_fusions.First(f => f.Mode == o.Fusion).Name,
                (_, o, v) => o with { Fusion = s_fusions.First(f => f.Name == v).Mode }
            ) with
            {
                Default = "afa",
                IsAxis = true,
                RecordAs = (o, m) => m with { Fusion = s_fusions.First(f => f.Mode == o.Fusion).Recorded },
                RecordedAs = m =>
                    s_fusions.FirstOrDefault(f => f.Recorded == m.Fusion).Name
                    ?? throw new AfaException(
                        $"The picture's experts were joined by '{Printable.Shortened(m.Fusion!)}', which this program does not "
                            + $"know; `fusion` {Words(s_fusions.Select(f => f.Name))} chooses another way."
                    ),
            },
            Setting.OfText(
                "experts",
                "The experts of an ensemble that take part, as 0+2: the others' weights are 0 everywhere, and the rest is shared "
                    + "out in proportion. Left out: all.",
                o => o.Experts is null ? null : string.Join('+', o.Experts),
                (what, o, v) => o with { Experts = Members(what, v) }
            ) with
            {
                IsAxis = true,
                RecordAs = (o, m) => m with { Experts = o.Experts is null ? null : string.Join('+', o.Experts) },
                RecordedAs = m => m.Experts,
            },
            Setting.OfList(
                "magic-weights",
                "MagicFusion: one temperature weight per expert; 1 each when left out.",
                0,
                MostGuidance,
                o => o.Magic.Weights,
                (o, v) => o with { Magic = o.Magic with { Weights = v } }
            ) with
            {
                IsAxis = true,
                RecordAs = (o, m) =>
                    m with
                    {
                        MagicWeights = o is { Fusion: FusionMode.Magic, Magic.Weights: { } weights }
                            ? [.. weights.Select(w => Exact(w))]
                            : [],
                    },
                RecordedAs = m =>
                    m.MagicWeights.Count == 0
                        ? null
                        : string.Join('+', m.MagicWeights.Select(w => w.ToString(CultureInfo.InvariantCulture))),
            },
            Setting.OfWhole(
                "magic-switch",
                "MagicFusion: experts are blended above this time step, expert 0 goes on alone.",
                0,
                MostSteps,
                o => o.Magic.SwitchTimestep,
                (_, o, v) => o with { Magic = o.Magic with { SwitchTimestep = v } }
            ) with
            {
                Default = "600",
                IsAxis = true,
                RecordAs = (o, m) => m with { MagicSwitch = o.Fusion == FusionMode.Magic ? o.Magic.SwitchTimestep : null },
                RecordedAs = m => m.MagicSwitch is { } step ? Text(step) : null,
            },
        ];

    // The first three ask for a pass, the others say how it is made.
    private static IEnumerable<Setting> SecondPass() =>
        [
            Setting.OfNumber(
                "hires-scale",
                "Draws a second pass that many times as large (A1111's Hires. fix); 0 leaves out that of `from`.",
                0,
                16,
                o => o.HighResolution is { Width: 0, Height: 0 } pass ? pass.Scale : null,
                (_, o, v) => o with { HighResolution = v == 0 ? null : Pass(o) with { Scale = v, Width = 0, Height = 0 } }
            ) with
            {
                Aliases = ["hires-upscale"],
                RecordAs = (o, m) =>
                    o.HighResolution is not { } pass
                        ? m
                        : m with
                        {
                            Strength = pass.Strength,
                            Hires = new HiresSettings(pass.Scale, pass.Width, pass.Height, pass.Steps, pass.Upscaler.ToString()),
                        },
                RecordedAs = m => Text(m.Hires?.Scale),
            },
            Setting.OfWhole(
                "hires-width",
                "Second pass: final width in pixels instead of a scale; the height follows where not given.",
                0,
                MostEdge,
                o => o.HighResolution is { Width: > 0 } pass ? pass.Width : null,
                (_, o, v) => o with { HighResolution = Pass(o) with { Width = v } }
            ) with
            {
                RecordAs = (_, m) => m,
                RecordedAs = m => m.Hires is { Width: > 0 } hires ? Text(hires.Width) : null,
            },
            Setting.OfWhole(
                "hires-height",
                "Second pass: final height in pixels instead of a scale; the width follows where not given.",
                0,
                MostEdge,
                o => o.HighResolution is { Height: > 0 } pass ? pass.Height : null,
                (_, o, v) => o with { HighResolution = Pass(o) with { Height = v } }
            ) with
            {
                RecordAs = (_, m) => m,
                RecordedAs = m => m.Hires is { Height: > 0 } hires ? Text(hires.Height) : null,
            },
            Setting.OfWhole(
                "hires-steps",
                "Second pass: steps that are run, whatever its strength, as A1111 counts; 0 is as many as `steps`.",
                0,
                MostSteps,
                o => o.HighResolution?.Steps,
                (what, o, v) => o with { HighResolution = Given(what, o) with { Steps = v } }
            ) with
            {
                IsAxis = true,
                RecordAs = (_, m) => m,
                RecordedAs = m => m.Hires is { } hires ? Text(hires.Steps) : null,
            },
            Setting.OfNumber(
                "hires-strength",
                "Second pass: how much is changed, 0 to 1 (A1111's denoising strength); 0.7 when left out.",
                0,
                1,
                o => o.HighResolution?.Strength,
                (what, o, v) => o with { HighResolution = Given(what, o) with { Strength = v } }
            ) with
            {
                IsAxis = true,
                RecordAs = (_, m) => m,
                RecordedAs = m => m.Hires is null ? null : Text(m.Strength),
            },
            Setting.OfChoice(
                "hires-upscaler",
                "Second pass: what is enlarged, latent (the latents, bilinearly; A1111's default, for strengths of 0.5 and more; "
                    + "when left out) or lanczos (the decoded picture).",
                ["latent", "lanczos"],
                o =>
                    o.HighResolution is not { } pass ? null
                    : pass.Upscaler == HighResolutionUpscaler.Latent ? "latent"
                    : "lanczos",
                (what, o, v) =>
                    o with
                    {
                        HighResolution = Given(what, o) with
                        {
                            Upscaler = v == "latent" ? HighResolutionUpscaler.Latent : HighResolutionUpscaler.Lanczos,
                        },
                    }
            ) with
            {
                IsAxis = true,
                RecordAs = (_, m) => m,
                RecordedAs = m =>
                    m.Hires is not { } hires ? null
                    : hires.Upscaler.ToLowerInvariant() is "latent" or "lanczos" ? hires.Upscaler
                    : throw new AfaException(
                        $"The picture was enlarged by '{Printable.Shortened(hires.Upscaler)}', which this program does not have: "
                            + $"`hires-upscaler` latent or lanczos chooses another."
                    ),
            },
        ];

    private static HighResolutionPass Pass(GenerationOptions options) => options.HighResolution ?? new HighResolutionPass();

    private static HighResolutionPass Given(string what, GenerationOptions options) =>
        options.HighResolution
        ?? throw new AfaException($"{what} is for a second pass: `hires-scale`, `hires-width` or `hires-height` asks for one.");

    private static SamplerChoice Named(string what, string name)
    {
        try
        {
            return SamplerChoice.Find(name);
        }
        catch (AfaException e)
        {
            throw new AfaException($"{what}: {e.Message}", e);
        }
    }

    // Experts joined by plus signs, or all: null.
    private static IReadOnlyList<int>? Members(string what, string text) =>
        text.Trim().Equals("all", StringComparison.OrdinalIgnoreCase)
            ? null
            :
            [
                .. text.Split('+')
                    .Select(p =>
                        Numbers.TryInt32(p, out int e) && e >= 0
                            ? e
                            : throw new AfaException(
                                $"{what}: experts are written 0+2 or all, not '{Printable.Shortened(text)}'."
                            )
                    ),
            ];

    // The decimal number that is written for a float32.
    private static double Exact(float value) =>
        double.Parse(value.ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);

    private static string Text(int value) => value.ToString(CultureInfo.InvariantCulture);

    private static string? Text(double? value) => value?.ToString(CultureInfo.InvariantCulture);

    private static string Words(IEnumerable<string> words) => string.Join(", ", words);
}
