using System.Buffers.Binary;
using System.CommandLine;
using System.Text;
using AfaNative.Engine.Core;
using AfaNative.Engine.Imaging;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Prompts;
using AfaNative.Engine.Sampling.Samplers;
using AfaNative.Engine.Training;
using AfaNative.Synthesis;
using AfaNative.Tests.Support;
using AfaNative.Tool;
using AfaNative.Tool.Bench;
using AfaNative.Tool.Commands;

namespace AfaNative.Tests.Fuzz;

/// <summary>Readers of options, prompts, captions, pictures and tokenizers.</summary>
internal sealed partial class FuzzTargets
{
    private FuzzTarget OptionsTarget(string kind)
    {
        var draw = new Command("draw")
        {
            new Argument<string>("MODEL"),
            new Option<string>("--prompt"),
            new Option<int>("--steps"),
            new Option<float>("--guidance"),
            new Option<string[]>("--lora"),
            new Option<bool>("--flag"),
        };
        var root = new RootCommand { draw, ConfigFile.Option };
        string json = """
            { "MODEL": "m o", "prompt": "a: \"cat\"", "steps": 20, "guidance": 7.50, "lora": ["a:0.5", "b"], "flag": true }
            """;
        string yaml = """
            # x
            MODEL: m o
            prompt: 'a: "cat"'
            steps: &n 20
            guidance: 7.5
            lora:
              - a.safetensors:0.5
              - b
            flag: True
            """;
        string anchors = """
            prompt: &a [x, x, x, x, x, x, x, x]
            lora: &b [*a, *a, *a, *a, *a, *a, *a, *a]
            steps: &c [*b, *b, *b, *b, *b, *b, *b]
            guidance: [*c, *c, *c]
            """;
        string[] words =
        [
            "prompt: ",
            "steps: ",
            "lora:\n  - ",
            "flag: ",
            "&a ",
            "*a",
            "<<: *a",
            "? ",
            "|\n  ",
            ">-\n ",
            "---\n",
            "...\n",
            "!!binary ",
            "!!map ",
            "%YAML 1.1\n",
            "\"steps\": ",
            "null",
            "~",
            "\t",
            "@x",
            "@/etc/passwd",
            "[",
            "{a: ",
            ": ",
        ];
        return new FuzzTarget(
            "options-" + kind,
            kind == "json" ? [Utf8(json)] : [Utf8(yaml), Utf8(anchors)],
            words,
            bytes => ConfigFile.Expand(root, ["draw", "--config", Put("o." + kind, bytes)])
        );
    }

    private FuzzTarget PromptFileTarget()
    {
        string[] words =
        [
            "\"prompt\":",
            "\"negative\":",
            "\"seed\":",
            "\"steps\":",
            "\"guidance\":",
            "\"sampler\":\"Euler a\"",
            "\"width\":",
            "\"height\":",
            "\"clip_skip\":",
            "\n",
            "\r\n",
            "null",
            "18446744073709551615",
            "{\"prompt\":\"x\"}\n",
        ];
        return new FuzzTarget(
            "prompt-file",
            [
                Utf8(
                    "a red circle\n{\"prompt\": \"x\", \"negative\": \"y\", \"seed\": 3, \"steps\": 5, \"guidance\": 7.5, "
                        + "\"sampler\": \"DDIM\", \"width\": 64, \"height\": 64, \"clip_skip\": 1}\n"
                ),
            ],
            words,
            bytes => PromptBatch.Read(Put("p.jsonl", bytes), new GenerationOptions { Prompt = "", Seeds = [1] }, 2, 7)
        );
    }

    private static readonly string[] s_parameterWords =
    [
        "Steps: ",
        "Sampler: ",
        "CFG scale: ",
        "Seed: ",
        "Size: ",
        "64x64",
        "Model hash: ",
        "Clip skip: ",
        "Denoising strength: ",
        "Schedule type: Karras",
        "RNG: NV",
        "Eta: ",
        "Negative prompt: ",
        "\n",
        ", ",
        "Hires upscale: ",
        "Hires steps: ",
        "Lora hashes: \"a: 1\"",
        "TI hashes: ",
        "Version: ",
        "\"",
        "Template: x",
        "Fusion: ",
        "Experts: ",
        "Hashes: {\"a\": 1}",
    ];

    private static string Parameters =>
        "a (red:1.2) circle\nNegative prompt: blue\nSteps: 20, Sampler: Euler a, Schedule type: Karras, CFG scale: 7, Seed: 5, "
        + "Size: 64x48, Model hash: abcdef, Model: m, Denoising strength: 0.5, Clip skip: 2, RNG: CPU, Hires upscale: 2, "
        + "Hires steps: 4, Lora hashes: \"a: 12, b: 34\", Version: v1.9";

    private FuzzTarget PngTarget()
    {
        string path = _folder.File("seed.png");
        PngFile.Write(path, new RgbImage(5, 3, new byte[45]), Parameters);
        byte[] png = File.ReadAllBytes(path);
        return new FuzzTarget(
            "png-text",
            [png],
            [.. s_parameterWords, "tEXt", "iTXt", "zTXt", "parameters\0", "IHDR", "IDAT", "IEND", "eXIf"],
            bytes =>
            {
                PngFile.Read(Put("p.png", bytes), out string? parameters);
                if (parameters is not null)
                    GenerationMetadata.Parse(parameters);
            },
            PngSums,
            Native: true
        );
    }

    private static FuzzTarget ParametersTarget() =>
        new("parameters", [Utf8(Parameters)], s_parameterWords, bytes => GenerationMetadata.Parse(Text(bytes)));

    // Chunks of a changed PNG with lengths and sums that fit again.
    private static byte[] PngSums(byte[] bytes)
    {
        byte[] png = [.. bytes];
        int at = 8;
        while (at + 12 <= png.Length)
        {
            uint length = BinaryPrimitives.ReadUInt32BigEndian(png.AsSpan(at));
            if (length > png.Length - at - 12)
            {
                length = (uint)(png.Length - at - 12);
                BinaryPrimitives.WriteUInt32BigEndian(png.AsSpan(at), length);
            }

            BinaryPrimitives.WriteUInt32BigEndian(png.AsSpan(at + 8 + (int)length), Crc32(png.AsSpan(at + 4, 4 + (int)length)));
            at += 12 + (int)length;
        }

        return png;
    }

    private static uint Crc32(ReadOnlySpan<byte> bytes)
    {
        uint crc = uint.MaxValue;
        foreach (byte b in bytes)
        {
            crc ^= b;
            for (int i = 0; i < 8; i++)
                crc = (crc >> 1) ^ (0xEDB88320 & (0 - (crc & 1)));
        }

        return ~crc;
    }

    private FuzzTarget CaptionsTarget(string name)
    {
        string folder = Path.Combine(_folder.Path, "data-" + name);
        Directory.CreateDirectory(folder);
        foreach (string picture in new[] { "a.png", "b.png" })
            PngFile.Write(Path.Combine(folder, picture), new RgbImage(4, 4, new byte[48]), null);
        byte[][] seeds = name switch
        {
            "metadata.jsonl" =>
            [
                Utf8(
                    """
                    {"file_name": "a.png", "text": "a cat"}
                    {"file_name": "b.png", "text": "a dog"}
                    """
                ),
            ],
            "records.json" => [Utf8("""[{"image_file": "a.png", "text": "a cat"}, {"image_file": "b.png", "text": "a dog"}]""")],
            _ => [Utf8("a cat on a mat\n"), Encoding.Unicode.GetBytes("\uFEFFa cat")],
        };
        return new FuzzTarget(
            "captions-" + name,
            seeds,
            ["file_name", "image_file", "\"text\": ", "../a.png", "/dev/zero", "\\u0000", "a.png", "null", "[", "\n", "{}"],
            bytes =>
            {
                File.WriteAllBytes(Path.Combine(folder, name), bytes);
                TrainingRecords.Find(name == "records.json" ? Path.Combine(folder, name) : folder);
            }
        );
    }

    // Bytes that begin with an odd one are UTF-16, in which anything may stand alone.
    private static string Text(byte[] bytes) =>
        bytes.Length > 1 && (bytes[0] & 1) != 0
            ? Encoding.Unicode.GetString(bytes, 1, bytes.Length - 1)
            : Encoding.UTF8.GetString(bytes);

    private FuzzTarget PromptTarget()
    {
        string folder = _folder.File("tokens");
        TinyModels.Write(folder, new SyntheticOptions());
        ClipTokenizer tokenizer = ClipTokenizer.Load(Path.Combine(folder, "tokenizer"));
        string[] words =
        [
            "(",
            ")",
            "[",
            "]",
            "(a:1.5)",
            ":",
            "\\(",
            "BREAK",
            " AND ",
            "<lora:x:0.8>",
            "<x>",
            "[a:b:0.5]",
            "[a|b]",
            ",",
            "((((",
            "(a:nan)",
            "(a:1e400)",
            "@home",
            "\u200B",
            "  ",
            "é",
            "<|endoftext|>",
        ];
        return new FuzzTarget(
            "prompt",
            [
                Utf8("a (red:1.3) fox, [blurry] BREAK in the ((snow)) <lora:ink:0.8@1>, \\(x\\)"),
                [1, .. Encoding.Unicode.GetBytes("été (a:1.1)")],
            ],
            words,
            bytes =>
            {
                string prompt = Text(bytes);
                Try(() => PromptLora.In(prompt));
                Try(() => PromptLora.Remove(prompt));
                Try(() => PromptParser.Parse(prompt));
                Try(() => PromptChunks.CutOff(tokenizer, prompt, 77));
                foreach (PromptSyntax syntax in new[] { PromptSyntax.Plain, PromptSyntax.Weighted })
                    PromptChunks.Split(tokenizer, prompt, 77, syntax);
            }
        );
    }

    private FuzzTarget PictureTarget()
    {
        string path = _folder.File("seed.png");
        PngFile.Write(path, new RgbImage(8, 6, [.. Enumerable.Range(0, 144).Select(i => (byte)(i * 5))]), null);
        byte[] png = File.ReadAllBytes(path);
        using SkiaSharp.SKBitmap bitmap = SkiaSharp.SKBitmap.Decode(png);
        byte[] jpeg = Encode(SkiaSharp.SKEncodedImageFormat.Jpeg),
            webp = Encode(SkiaSharp.SKEncodedImageFormat.Webp);
        byte[] gif = Convert.FromBase64String("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7");
        byte[] bmp =
        [
            (byte)'B',
            (byte)'M',
            58,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            54,
            0,
            0,
            0,
            40,
            0,
            0,
            0,
            1,
            0,
            0,
            0,
            1,
            0,
            0,
            0,
            1,
            0,
            24,
            0,
            .. new byte[28],
        ];
        return new FuzzTarget(
            "picture",
            [png, jpeg, webp, gif, bmp],
            ["IHDR", "IDAT", "\0\0@\0", "\0\0\0@", "Exif\0\0II*\0", "RIFF", "VP8L", "VP8X", "\u00FF\u00D8"],
            bytes =>
            {
                string file = Put("p.img", bytes);
                Try(() => PictureFile.Size(file));
                PictureFile.Read(file, 16, 16);
            },
            bytes => bytes.AsSpan().StartsWith(png.AsSpan(0, 8)) ? PngSums(bytes) : bytes,
            Native: true
        );

        byte[] Encode(SkiaSharp.SKEncodedImageFormat format)
        {
            using SkiaSharp.SKData data = bitmap.Encode(format, 80);
            return data.ToArray();
        }
    }

    private IEnumerable<FuzzTarget> TokenizerTargets()
    {
        string folder = _folder.File("tokenizer");
        TinyModels.Write(_folder.File("tokenizer-model"), new SyntheticOptions());
        Directory.Move(Path.Combine(_folder.Path, "tokenizer-model", "tokenizer"), folder);
        foreach (string name in new[] { "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json" })
        {
            string path = Path.Combine(folder, name);
            byte[] good = File.Exists(path)
                ? File.ReadAllBytes(path)
                : Utf8(
                    """
                    {"bos_token":{"content":"<|startoftext|>"},"eos_token":"<|endoftext|>","unk_token":"<|endoftext|>",
                    "pad_token":"!","model_max_length":77}
                    """
                );
            string[] words =
            [
                "\"<|startoftext|>\"",
                "\"<|endoftext|>\"",
                "</w>",
                "\"bos_token\":",
                "\"eos_token\":",
                "\"content\":",
                "#version: 0.2\n",
                "a b\n",
                "\"!\":",
                "null",
                "model_max_length",
                ": 49407",
            ];
            yield return new FuzzTarget(
                "tokenizer-" + name,
                [good],
                words,
                bytes =>
                {
                    bool existed = File.Exists(path);
                    File.WriteAllBytes(path, bytes);
                    try
                    {
                        ClipTokenizer.Load(folder).Encode("a red circle, 12!", 77);
                    }
                    finally
                    {
                        if (name is "vocab.json" or "merges.txt")
                            File.WriteAllBytes(path, good);
                        else if (existed)
                            File.WriteAllBytes(path, good);
                    }
                }
            );
        }
    }
}
