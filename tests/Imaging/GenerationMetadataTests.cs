using System.Globalization;
using AfaNative.Engine.Core;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Sampling.Samplers;
using CsCheck;
using Xunit;

namespace AfaNative.Tests.Imaging;

/// <summary>What a picture records is what is read from it, and nothing of others' is left out in silence.</summary>
public sealed class GenerationMetadataTests
{
    private const string Line = "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512";

    private static readonly Gen<string> s_text = One(
        "a cat",
        " ",
        ", ",
        ": ",
        "\n",
        "\"",
        "\\",
        "\r",
        "\t",
        "\0",
        "Steps: 20, Sampler: x, Seed: 1",
        "\nSteps: 3, Seed: 4, Size: 8x8",
        "Negative prompt: ",
        "\nNegative prompt: no",
        "猫",
        "🐈",
        "<lora:a:1>",
        "(b:1.2)",
        "Version: AfaNative 1",
        "{",
        "}",
        "-",
        "\\n",
        "x"
    )
        .Array[0, 7]
        .Select(p => string.Concat(p));

    private static readonly Gen<string> s_name = One("name", " of", ",", ":", "@1", "\\", "\"", "é", ".v2", "-3")
        .Array[1, 4]
        .Select(p => "n" + string.Concat(p) + "e");

    private static readonly Gen<string> s_hash = Gen.UInt.Select(u => u.ToString("x8", CultureInfo.InvariantCulture));

    private static readonly Gen<double> s_number = Gen.Double[-1000, 1000];

    private static readonly Gen<RecordedLora> s_lora = Gen.Select(
        s_name,
        s_number,
        Gen.Int[-1, 9].Select(e => e < 0 ? (int?)null : e),
        (n, w, e) => new RecordedLora(n, w, e)
    );

    private static readonly Gen<GenerationMetadata> s_first = Gen.Select(
        s_text,
        s_text,
        Gen.Int[1, 1000],
        s_number,
        Gen.ULong,
        Gen.Int[8, 4096],
        Gen.Int[0, 11],
        (prompt, negative, steps, cfg, seed, size, skip) =>
            new GenerationMetadata
            {
                Prompt = prompt,
                NegativePrompt = negative,
                Steps = steps,
                Sampler = SamplerChoice.All[steps % SamplerChoice.All.Count].Name,
                CfgScale = cfg,
                Seed = seed,
                Width = size,
                Height = size / 2 + 8,
                ClipSkip = skip,
                Version = "0.1.0",
                Own = true,
            }
    );

    private static readonly Gen<GenerationMetadata> s_second = Gen.Select(
        s_first,
        Gen.Double[0.001, 1],
        Gen.Int[0, 5],
        s_name,
        s_lora.Array[0, 3],
        s_hash.Array[0, 3],
        (m, share, kind, name, loras, hashes) =>
            m with
            {
                Eta = kind == 1 ? share : null,
                Latents = kind == 5 ? "0123456789" : null,
                Strength = kind is 2 or 3 ? share : null,
                Hires =
                    kind == 3 ? new HiresSettings(1 + share, 0, 0, m.Steps, "Latent")
                    : kind == 4 ? new HiresSettings(2, 1024, 0, 0, "Lanczos")
                    : null,
                Noise =
                    kind == 1 ? "CPU"
                    : kind == 2 ? "GPU"
                    : null,
                PlainPrompt = kind == 5,
                ModelHashes = hashes,
                Models = [name],
                AggregatorHash = kind == 4 ? hashes.FirstOrDefault() : null,
                Fusion = kind == 3 ? "MagicFusion" : null,
                Experts = kind == 5 ? "0+2" : null,
                Expert = kind == 2 ? 1 : null,
                MagicWeights = kind == 3 ? [share, 2] : [],
                MagicSwitch = kind == 3 ? 600 : null,
                Loras = loras,
                LoraHashes = [.. hashes.Select((h, i) => ($"l{i}", h))],
                TextInversions = [.. hashes.Select((h, i) => ($"t{i}", h))],
                Vae = kind == 0 ? name : null,
                VaeHash = kind == 0 ? "aabbccddee" : null,
                VaeTiling =
                    kind == 0 ? true
                    : kind == 1 ? false
                    : null,
                InitImageHash = kind == 2 ? "0123456789" : null,
                MaskHash = kind == 2 ? "9876543210" : null,
                Resize = kind == 2 ? "crop" : null,
                Background = kind == 2 ? "#ffffff" : null,
                Precision = kind == 4 ? "bf16" : null,
                Device = kind == 4 ? "cuda:0" : null,
                Plot = kind == 5 ? name : null,
            }
    );

    [Fact]
    public void Every_setting_comes_back() =>
        s_second.Sample(
            m =>
            {
                string text = m.ToParameters();
                GenerationMetadata back = GenerationMetadata.Parse(text);
                Assert.Equal((m.Prompt, m.NegativePrompt), (back.Prompt, back.NegativePrompt));
                Assert.Equal(m.ModelHashes, back.ModelHashes);
                Assert.Equal(m.Models, back.Models);
                Assert.Equal(m.MagicWeights, back.MagicWeights);
                Assert.Equal(m.Loras, back.Loras);
                Assert.Equal(m.LoraHashes, back.LoraHashes);
                Assert.Equal(m.TextInversions, back.TextInversions);
                Assert.Empty(back.NotUnderstood);
                // All that is no list.
                Assert.Equal(
                    m,
                    back with
                    {
                        ModelHashes = m.ModelHashes,
                        Models = m.Models,
                        MagicWeights = m.MagicWeights,
                        Loras = m.Loras,
                        LoraHashes = m.LoraHashes,
                        TextInversions = m.TextInversions,
                        NotUnderstood = m.NotUnderstood,
                        Settings = m.Settings,
                    }
                );
                Assert.Equal(m.Settings, back.Settings);
                Assert.Equal(text, back.ToParameters());
                Assert.Equal(m.Sampler, RecordedSampler.Find(back).Name);
            },
            iter: 3000,
            threads: 1
        );

    [Fact]
    public void Ordinary_settings_are_written_as_ever() =>
        Assert.Equal(
            "a\nNegative prompt: b\nSteps: 2, Sampler: DDIM, CFG scale: 7.5, Seed: 3, Size: 32x64, Version: AfaNative 0.1.0",
            new GenerationMetadata
            {
                Prompt = "a",
                NegativePrompt = "b",
                Steps = 2,
                CfgScale = 7.5,
                Seed = 3,
                Width = 32,
                Height = 64,
                Version = "0.1.0",
            }.ToParameters()
        );

    [Theory]
    [InlineData("Sampler: DPM++ 2M, Schedule type: Karras", "dpmpp_2m_karras")]
    [InlineData("Sampler: DPM++ 2M, Schedule type: Automatic", "dpmpp_2m_karras")]
    [InlineData("Sampler: DPM++ 2M, Schedule type: Uniform", "dpmpp_2m")]
    [InlineData("Sampler: DPM++ 2M", "dpmpp_2m")]
    [InlineData("Sampler: DPM++ 2M Karras", "dpmpp_2m_karras")]
    [InlineData("Sampler: DPM++ 2M SDE, Schedule type: Karras", "dpmpp_2m_sde_karras")]
    [InlineData("Sampler: DPM++ 2M SDE Karras, Scheduler: karras", "dpmpp_2m_sde_karras")]
    [InlineData("Sampler: Euler a, Schedule type: Automatic", "euler_a")]
    [InlineData("Sampler: Euler, Schedule type: Karras", "euler_karras")]
    [InlineData("Sampler: Euler, Schedule type: Beta", "euler [use_beta_sigmas=true]")]
    [InlineData("Sampler: DPM++ 2M SDE, Schedule type: Automatic", "dpmpp_2m_sde [use_exponential_sigmas=true]")]
    [InlineData("Sampler: Euler, Schedule type: normal", "euler")]
    [InlineData("Sampler: LCM, Schedule type: Automatic", "lcm")]
    [InlineData("Sampler: DDIM, Schedule type: Karras", "ddim")]
    [InlineData("Sampler: UniPC, Schedule type: Automatic", "unipc")]
    public void Samplers_and_their_noise_levels_become_one(string fields, string expected) =>
        Assert.Equal(expected, RecordedSampler.Find(Parse(fields)).Id);

    [Theory]
    [InlineData("Sampler: Euler, Schedule type: KL Optimal")]
    [InlineData("Sampler: Euler, Schedule type: SGM Uniform")]
    [InlineData("Sampler: Euler, Schedule type: Align Your Steps 32")]
    [InlineData("Sampler: Euler a, Schedule type: Karras")]
    [InlineData("Sampler: DPM fast")]
    public void Samplers_that_are_not_there_are_named(string fields)
    {
        string message = Assert.Throws<AfaException>(() => RecordedSampler.Find(Parse(fields))).Message;
        Assert.Contains($"'{fields}'", message);
        Assert.Contains("`sampler`", message);
    }

    [Theory]
    [InlineData("", "cuda-philox")]
    [InlineData(", Version: v1.10.1", "cuda-philox")]
    [InlineData(", RNG: NV", "cuda-philox")]
    [InlineData(", RNG: GPU, Version: AfaNative 0.1.0", "cuda-philox")]
    [InlineData(", RNG: CPU, Version: v1.7.0", "cpu")]
    [InlineData(", Version: AfaNative 0.1.0", "own")]
    [InlineData(", Version: Fooocus v2.5.5", "cpu")]
    [InlineData(", RNG: TPU", "TPU")]
    public void Seeds_stand_for_whose_numbers_they_were(string more, string expected) =>
        Assert.Equal(expected, GenerationMetadata.Parse("a\n" + Line + more).NoiseSource);

    [Fact]
    public void What_is_not_understood_is_listed_and_what_is_harmless_is_not()
    {
        GenerationMetadata m = GenerationMetadata.Parse(
            $"a\nb\nNegative prompt: c\n{Line}, Variation seed: 5, Variation seed "
                + $"strength: 0.3, Hypernet: foo, Emphasis: Original, ControlNet 0: \"Module: canny, Weight: 1\", Civitai "
                + $"resources: [{{\"type\":\"x\"}}], "
                + "Lora hashes: \"one: 1111\", Model hash: 0123, Version: v1.10.1\nTemplate: a {b|c}\nNegative Template: "
                + "c\nsomething else"
        );
        Assert.Equal(("a\nb", "c"), (m.Prompt, m.NegativePrompt));
        Assert.Equal(
            [
                "Variation seed: 5",
                "Variation seed strength: 0.3",
                "Hypernet: foo",
                "ControlNet 0: Module: canny, Weight: 1",
                "the line 'something else'",
            ],
            m.NotUnderstood
        );
        Assert.Equal([("one", "1111")], m.LoraHashes);
        Assert.False(m.FromPicture);
        Assert.True(GenerationMetadata.Parse($"a\n{Line}, Denoising strength: 0.75").FromPicture);
        Assert.False(GenerationMetadata.Parse($"a\n{Line}, Denoising strength: 0.75, Hires upscale: 2").FromPicture);
        GenerationMetadata old = GenerationMetadata.Parse(
            "old house\nSteps: 25, Sampler: LMS Karras, CFG scale: 7, Seed: 5, "
                + "Size: 1024x768, Denoising strength: 0.7, First pass size: 0x0"
        );
        Assert.Equal(
            (640, 448, new HiresSettings(2, 1024, 768, 0, "Latent"), false),
            (old.Width, old.Height, old.Hires, old.FromPicture)
        );
        Assert.Equal(0.5, Parse("Sampler: DDIM, Eta DDIM: 0.5, Eta: 0.2").Eta);
        Assert.Equal(1, Parse("Sampler: UniPC, Clip skip: 2.0").ClipSkip);
        Assert.Equal(
            (0, 0),
            (
                GenerationMetadata.Parse("a\nSteps: 1, Seed: 2, CFG scale: 3").Width,
                GenerationMetadata.Parse("a\nSteps: 1, Seed: 2, CFG scale: 3").Height
            )
        );
    }

    [Theory]
    [InlineData("Steps: 1e9")]
    [InlineData("Steps: 2.5")]
    [InlineData("CFG scale: nan")]
    [InlineData("CFG scale: 7,5")]
    [InlineData("Seed: -1")]
    [InlineData("Seed: 99999999999999999999")]
    [InlineData("Size: 512")]
    [InlineData("Size: 5x-5")]
    [InlineData("Size: 9999999x9")]
    [InlineData("Clip skip: -4")]
    [InlineData("Prompt syntax: odd")]
    [InlineData("Hires upscale: 1e999")]
    [InlineData("Hires resize: 9x9x9")]
    [InlineData("LoRAs: x")]
    public void Values_that_make_no_sense_are_named(string field)
    {
        Assert.Contains(
            field,
            Assert.Throws<AfaException>(() => GenerationMetadata.Parse($"a\nSteps: 5, Seed: 1, Sampler: DDIM, {field}")).Message
        );
    }

    [Theory]
    [InlineData("a cat\nstyle: oil, light: soft, mood: calm")]
    [InlineData("a\nSteps: 20, Sampler: Euler a")]
    [InlineData("")]
    [InlineData("{\"prompt\": \"a\"}")]
    public void Texts_without_settings_are_said_to_be(string text) =>
        Assert.Contains("line of settings", Assert.Throws<AfaException>(() => GenerationMetadata.Parse(text)).Message);

    [Fact]
    public void A_comma_within_a_number_or_braces_separates_nothing()
    {
        Assert.Contains(
            "7,5",
            Assert
                .Throws<AfaException>(() => GenerationMetadata.Parse("a\nSteps: 20, CFG scale: 7,5, Seed: 1, Size: 64x64"))
                .Message
        );
        GenerationMetadata read = GenerationMetadata.Parse(
            "a\nSteps: 20, Hashes: {\"model\": \"aa\", \"lora:foo\": \"bb\"}, CFG scale: 7, Seed: 5, Size: 64x64"
        );
        Assert.Equal(5ul, read.Seed);
        Assert.Equal(7, read.CfgScale);
    }

    [Fact]
    public void Whatever_is_changed_in_a_text_it_is_read_or_refused()
    {
        string[] texts =
        [
            "a\nNegative prompt: b\n"
                + Line
                + ", Model: \"a, b\", LoRAs: \"a\\\\,:0.5@1, b:1\", Hires resize: 1024x0, "
                + "Denoising strength: 0.5, TI hashes: \"x: 1\", Version: AfaNative 0.1.0",
            "Steps: many, go up, to the sky\n" + Line + ", Foo: \"a, b: c\", RNG: NV, Version: v1.9.4\nTemplate: x",
        ];
        string odd = "\",:\\\n\r\0xX=+-@1 \uD800\uFFFF\u2028SN";
        var random = new System.Random(1);
        for (int i = 0; i < 20_000; i++)
        {
            var text = new System.Text.StringBuilder(texts[i % 2]);
            for (int k = random.Next(1, 5); k > 0; k--)
            {
                int at = random.Next(text.Length);
                switch (random.Next(3))
                {
                    case 0:
                        text[at] = odd[random.Next(odd.Length)];
                        break;
                    case 1:
                        text.Insert(at, odd[random.Next(odd.Length)]);
                        break;
                    default:
                        text.Remove(at, 1);
                        break;
                }
            }

            try
            {
                GenerationMetadata read = GenerationMetadata.Parse(text.ToString());
                _ = read.ToParameters();
                _ = RecordedSampler.Find(read);
            }
            catch (AfaException) { }
        }

        // Long ones take no longer than their length.
        foreach (
            string part in (string[])["ab: \"", "ab: \"\\\"", "a", "\nNegative prompt: x", "\nSteps: 1, b: 2", "ab:", "(", "\\"]
        )
            _ = ParameterText.Read("Steps: 1, Seed: 1, " + string.Concat(Enumerable.Repeat(part, 200_000)));
    }

    private static Gen<string> One(params string[] of) => Gen.Int[0, of.Length - 1].Select(i => of[i]);

    private static GenerationMetadata Parse(string fields) =>
        GenerationMetadata.Parse($"a\nSteps: 20, Seed: 1, CFG scale: 7, Size: 512x512, {fields}");
}
