using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Pipeline;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Kernels.MatrixMultiply;
using AfaNative.Synthesis;
using AfaNative.Tests.Support;
using Xunit;

namespace AfaNative.Tests.Checkpoints;

/// <summary>
/// What real weight files hold: values that are no numbers, eight-bit floats, other names, and more than the network needs.
/// </summary>
public sealed class WeightReadingTests : IDisposable
{
    private const string UNet = "unet/diffusion_pytorch_model.safetensors",
        Vae = "vae/diffusion_pytorch_model.safetensors",
        Text = "text_encoder/model.safetensors";

    private readonly TemporaryFolder _folder = new();
    private readonly string _model;

    public WeightReadingTests()
    {
        _model = _folder.File("model");
        TinyModels.Write(_model, new SyntheticOptions { Type = ElementType.Float16, Seed = 7 });
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Values_that_are_no_numbers_are_found_wherever_they_lie()
    {
        foreach (
            ElementType type in (ElementType[])
                [
                    ElementType.Float64,
                    ElementType.Float32,
                    ElementType.Float16,
                    ElementType.BFloat16,
                    ElementType.Float8E4M3,
                    ElementType.Float8E5M2,
                ]
        )
        {
            byte[] bad = type switch
            {
                ElementType.Float64 => BitConverter.GetBytes(double.NegativeInfinity),
                ElementType.Float32 => BitConverter.GetBytes(float.NaN),
                ElementType.Float16 => [0, 0xFC],
                ElementType.BFloat16 => [0x80, 0x7F],
                ElementType.Float8E4M3 => [0xFF],
                _ => [0x7C],
            };
            foreach (int at in (int[])[0, 63, 64, 999])
            {
                string path = _folder.File("values.safetensors");
                var bytes = new byte[1000 * type.Size()];
                SafetensorsWriter.Write(
                    path,
                    [
                        new TensorEntry("odd", ElementType.UInt8, [3], s => s.Write(new byte[3])),
                        new TensorEntry("w", type, [1000], s => s.Write(bytes)),
                    ]
                );
                using (SafetensorsFile clean = SafetensorsFile.Open(path))
                    FiniteWeights.Check(clean, clean.Tensors["w"]);
                bad.CopyTo(bytes, at * type.Size());
                SafetensorsWriter.Write(
                    path,
                    [
                        new TensorEntry("odd", ElementType.UInt8, [3], s => s.Write(new byte[3])),
                        new TensorEntry("w", type, [1000], s => s.Write(bytes)),
                    ]
                );
                using SafetensorsFile file = SafetensorsFile.Open(path);
                string message = Assert.Throws<CheckpointException>(() => FiniteWeights.Check(file, file.Tensors["w"])).Message;
                Assert.Contains(
                    $"'w' holds 1 values that are no finite numbers (NaN or infinity) of 1000, the first at {at};",
                    message,
                    StringComparison.Ordinal
                );
            }
        }
    }

    [Theory]
    [InlineData(UNet, "conv_in.weight")]
    [InlineData(UNet, "conv_norm_out.bias")]
    [InlineData(Text, "text_model.embeddings.token_embedding.weight")]
    [InlineData(Vae, "decoder.conv_out.weight")]
    public void A_model_with_one_is_not_loaded_merged_or_assembled(string file, string tensor)
    {
        string broken = Copy(
            "broken",
            file,
            t => t.Name == tensor ? t with { WriteData = s => s.Write([0x00, 0x7E, .. new byte[2 * Count(t) - 2]]) } : t
        );
        string[] messages =
        [
            Assert.Throws<CheckpointException>(() => Draw(EnsembleFolder.Open(broken))).Message,
            Assert
                .Throws<CheckpointException>(() =>
                    ModelMerge.Write(_folder.File("merged"), MergeOptions.Weighted([broken, _model], [0.5, 0.5]))
                )
                .Message,
            Assert
                .Throws<CheckpointException>(() =>
                    EnsembleBuilder.Create(_folder.File("made"), new EnsembleOptions { Base = broken, Experts = [broken] })
                )
                .Message,
        ];
        Assert.All(
            messages,
            m =>
                Assert.Contains(
                    $"{Path.GetFileName(file)}: the tensor '{tensor}' holds 1 values that are no finite numbers",
                    m,
                    StringComparison.Ordinal
                )
        );
        Assert.False(Directory.Exists(_folder.File("merged")) || Directory.Exists(_folder.File("made")));
    }

    [Fact]
    public void A_merge_that_overflows_is_refused()
    {
        string large = Copy(
            "large",
            UNet,
            t =>
                t.Name == "conv_in.bias"
                    ? t with
                    {
                        WriteData = s =>
                            s.Write(Widening.ToBytes([.. Enumerable.Repeat(300f, (int)Count(t))], ElementType.Float16)),
                    }
                    : t
        );
        string message = Assert
            .Throws<CheckpointException>(() =>
                ModelMerge.Write(_folder.File("merged"), MergeOptions.AddDifference(_model, large, _model, 300))
            )
            .Message;
        Assert.Contains("'conv_in.bias' would hold", message, StringComparison.Ordinal);
        Assert.Contains("F16 ends at 65504", message, StringComparison.Ordinal);
        foreach (double bad in (double[])[double.NaN, double.PositiveInfinity, 1e300])
        {
            Assert.Throws<AfaException>(() => MergeOptions.Weighted([_model, large], [bad, 1]));
            Assert.Throws<AfaException>(() => MergeOptions.AddDifference(_model, large, _model, bad));
            Assert.Throws<AfaException>(() =>
                MergeOptions.BlockWeighted(
                    [_model, large],
                    [
                        [.. Enumerable.Repeat(bad, 25)],
                    ],
                    [0]
                )
            );
        }

        foreach (string text in (string[])["nan", "inf", "1e999"])
            Assert.Throws<AfaException>(() => BlockWeights.Parse(text));
    }

    [Fact]
    public void All_codes_of_float8_have_their_values()
    {
        for (int code = 0; code < 256; code++)
        {
            float five = (float)BitConverter.UInt16BitsToHalf((ushort)(code << 8));
            Assert.Equal(five, Float8.Values(ElementType.Float8E5M2)[code]);
            int exponent = code >> 3 & 15,
                mantissa = code & 7;
            double four =
                (code & 0x7F) == 0x7F ? double.NaN
                : exponent == 0 ? mantissa / 512.0
                : (8 + mantissa) * Math.Pow(2, exponent - 10);
            Assert.Equal((float)(code >= 128 ? -four : four), Float8.Values(ElementType.Float8E4M3)[code]);
            float value = Float8.Values(ElementType.Float8E4M3)[code];
            if (!float.IsNaN(value))
                Assert.Equal(value, (float)(Half)value);
        }

        Assert.Equal(448, Float8.Values(ElementType.Float8E4M3)[0x7E]);
        Assert.Equal(57344, Float8.Values(ElementType.Float8E5M2)[0x7B]);
    }

    [Theory]
    [InlineData(ElementType.Float8E4M3)]
    [InlineData(ElementType.Float8E5M2)]
    public void Float8_weights_are_their_float16_values(ElementType type)
    {
        string narrow = Copy("narrow", UNet, t => Narrow(t, type)),
            wide = Copy("wide", UNet, t => Narrow(t, type) is var n && n.Type == type ? Widened(n) : n);
        Assert.Equal(Draw(EnsembleFolder.Open(wide)), Draw(EnsembleFolder.Open(narrow)));
        string one = _folder.File("one"),
            merged = _folder.File("merged");
        EnsembleBuilder.Create(one, new EnsembleOptions { Base = narrow, Experts = [narrow] });
        SingleFileTests.SameTensors(Path.Combine(wide, "unet"), Path.Combine(one, "unet"));
        ModelMerge.Write(merged, MergeOptions.Weighted([narrow, wide], [1, 0]));
        SingleFileTests.SameTensors(Path.Combine(wide, "unet"), Path.Combine(merged, "unet"));
    }

    [Fact]
    public void Scaled_float8_weights_are_multiplied_by_their_factor()
    {
        const string Name = "mid_block.resnets.0.conv1.weight";
        TensorEntry Scaled(TensorEntry t) => t.Name == Name ? Narrow(t, ElementType.Float8E4M3) : t;
        string scaled = Copy(
            "scaled",
            UNet,
            Scaled,
            TensorEntry.FromFloat32("scaled_fp8", [0], []),
            TensorEntry.FromFloat32(Name.Replace(".weight", ".scale_weight"), [], [0.37f])
        );
        string plain = Copy("plain", UNet, t => t.Name == Name ? Times(Scaled(t), 0.37f) : t);
        Assert.Equal(Draw(EnsembleFolder.Open(plain)), Draw(EnsembleFolder.Open(scaled)));
        string wrong = Copy(
            "wrong",
            UNet,
            t => t,
            TensorEntry.FromFloat32(Name.Replace(".weight", ".scale_weight"), [], [0.37f])
        );
        Assert.Contains(
            "scale_weight",
            Assert.Throws<CheckpointException>(() => Draw(EnsembleFolder.Open(wrong))).Message,
            StringComparison.Ordinal
        );
        string list = Copy("list", UNet, Scaled, TensorEntry.FromFloat32(Name.Replace(".weight", ".scale_weight"), [2], [1, 2]));
        Assert.Contains(
            "one finite number",
            Assert.Throws<CheckpointException>(() => Draw(EnsembleFolder.Open(list))).Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void Types_nobody_computes_with_spoil_nothing_beside_the_weights()
    {
        string odd = Copy("odd", UNet, t => t, Raw("a", "I16", 8));
        Patch(Path.Combine(odd, UNet), "\"dtype\":\"BOOL\",\"shape\":[8]", "\"dtype\":\"I16\",\"shape\":[004]");
        float[] expected = Draw(EnsembleFolder.Open(_model));
        string path = Path.Combine(odd, UNet);
        foreach (
            (string type, int bytes) in ((string, int)[])[("I8", 1), ("U8", 1), ("BOOL", 1), ("I32", 4), ("F64", 8), ("I64", 8)]
        )
        {
            TensorEntry extra = new(
                "counter",
                Enum.GetValues<ElementType>().FirstOrDefault(t => SafetensorsHeader.TypeName(t) == type, ElementType.UInt8),
                [2],
                s => s.Write(new byte[2 * bytes])
            );
            string copy = Copy("extra" + type, UNet, t => t, extra);
            if (type == "I8")
                Patch(Path.Combine(copy, UNet), "\"U8\"", "\"I8\"");
            (float[] picture, IReadOnlyList<string> warnings) = DrawWithWarnings(EnsembleFolder.Open(copy));
            Assert.Equal(expected, picture);
            Assert.Contains(
                warnings,
                w => w.Contains("counter", StringComparison.Ordinal) && w.Contains("not used", StringComparison.Ordinal)
            );
        }

        string fnuz = Copy("fnuz", UNet, t => t.Name == "conv_in.weight" ? Narrow(t, ElementType.Float8E4M3) : t);
        Patch(Path.Combine(fnuz, UNet), "\"F8_E4M3\"", "\"F8_E4M3FNUZ\"");
        Assert.Contains(
            "conv_in.weight holds F8_E4M3FNUZ",
            Assert.Throws<CheckpointException>(() => Draw(EnsembleFolder.Open(fnuz))).Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void Float64_is_narrowed_and_said()
    {
        string copy = Copy(
            "double",
            UNet,
            t =>
                t.Name == "conv_in.bias"
                    ? t with
                    {
                        Type = ElementType.Float64,
                        WriteData = s =>
                            s.Write(
                                System.Runtime.InteropServices.MemoryMarshal.AsBytes<double>([
                                    .. Values(t).Select(v => (double)v),
                                ])
                            ),
                    }
                    : t
        );
        (float[] picture, IReadOnlyList<string> warnings) = DrawWithWarnings(EnsembleFolder.Open(copy));
        Assert.Equal(Draw(EnsembleFolder.Open(_model)), picture);
        Assert.Contains(warnings, w => w.Contains("1 tensors hold float64", StringComparison.Ordinal));
    }

    [Fact]
    public void Text_encoders_come_in_many_wrappings()
    {
        float[] expected = Draw(EnsembleFolder.Open(_model));
        TensorEntry Ids(string name, ElementType type) => new(name, type, [1, 77], s => s.Write(new byte[77 * type.Size()]));
        string bare = Copy(
            "bare",
            Text,
            t => t with { Name = t.Name["text_model.".Length..] },
            Ids("embeddings.position_ids", ElementType.Float32)
        );
        Assert.Equal(expected, Draw(EnsembleFolder.Open(bare)));
        string wrapped = Copy(
            "wrapped",
            Text,
            t => t with { Name = "transformer." + t.Name },
            Ids("transformer.text_model.embeddings.position_ids", ElementType.UInt8)
        );
        Assert.Equal(expected, Draw(EnsembleFolder.Open(wrapped)));
        string whole = Copy(
            "whole",
            Text,
            t => t,
            Ids("text_model.embeddings.position_ids", ElementType.Boolean),
            TensorEntry.FromFloat32("logit_scale", [], [4.6f]),
            TensorEntry.FromFloat32("text_projection.weight", [2, 2], new float[4]),
            TensorEntry.FromFloat32("visual_projection.weight", [2, 2], new float[4]),
            TensorEntry.FromFloat32("vision_model.post_layernorm.weight", [2], new float[2]),
            Ids("vision_model.embeddings.position_ids", ElementType.Int64)
        );
        (float[] picture, IReadOnlyList<string> warnings) = DrawWithWarnings(EnsembleFolder.Open(whole));
        Assert.Equal(expected, picture);
        string warning = Assert.Single(warnings, w => w.Contains("not used", StringComparison.Ordinal));
        Assert.Contains("4 tensors", warning, StringComparison.Ordinal);
        Assert.Contains("image half", warning, StringComparison.Ordinal);
    }

    [Fact]
    public void Components_come_alone_in_diffusers_names()
    {
        string other = _folder.File("other");
        TinyModels.Write(other, new SyntheticOptions { Type = ElementType.Float16, Seed = 8 });
        EnsembleFolder unet = EnsembleFolder.OpenSingleFile(
            Alone(UNet, "u.safetensors", ""),
            other,
            out SingleFileContents contents
        );
        Assert.Equal((684, 0, 0), (contents.UNet, contents.Vae, contents.Text));
        string mixed = CopyOf("mixed", other, UNet);
        Assert.Equal(Draw(EnsembleFolder.Open(mixed)), Draw(unet));
        // A text encoder alone takes the base's U-Net; a VAE goes with --vae.
        Assert.Equal(
            Draw(EnsembleFolder.Open(CopyOf("texts", other, Text))),
            Draw(EnsembleFolder.OpenSingleFile(Alone(Text, "t.safetensors", ""), other))
        );
        string vae = Alone(Vae, "v.safetensors", "");
        Assert.Equal(Draw(EnsembleFolder.Open(CopyOf("vaes", other, Vae))), Draw(EnsembleFolder.Open(other).WithVae(vae)));
        Assert.Contains(
            "`vae`",
            Assert.Throws<CheckpointException>(() => EnsembleFolder.OpenSingleFile(vae, other)).Message,
            StringComparison.Ordinal
        );
        // A pipeline's modules in one file.
        string all = _folder.File("all.safetensors");
        SafetensorsWriter.Write(
            all,
            [
                .. Entries(Path.Combine(_model, UNet)).Select(t => t with { Name = "unet." + t.Name }),
                .. Entries(Path.Combine(_model, Text)).Select(t => t with { Name = "text_encoder." + t.Name }),
                .. Entries(Path.Combine(_model, Vae)).Select(t => t with { Name = "vae." + t.Name }),
            ]
        );
        Assert.Equal(Draw(EnsembleFolder.Open(_model)), Draw(EnsembleFolder.OpenSingleFile(all, other)));
        string made = _folder.File("made"),
            merged = _folder.File("merged");
        EnsembleBuilder.Create(
            made,
            new EnsembleOptions { Base = other, Experts = [Path.Combine(_folder.Path, "u.safetensors"), all] }
        );
        SingleFileTests.SameTensors(Path.Combine(_model, "unet"), Path.Combine(made, "unet"));
        SingleFileTests.SameTensors(Path.Combine(other, "text_encoder"), Path.Combine(made, "text_encoder"));
        SingleFileTests.SameTensors(Path.Combine(_model, "text_encoder"), Path.Combine(made, "additional_text_encoder_0"));
        ModelMerge.Write(
            merged,
            MergeOptions.Weighted([other, Path.Combine(_folder.Path, "u.safetensors")], [0, 1]) with
            {
                Base = other,
            }
        );
        Assert.Equal(Draw(EnsembleFolder.Open(mixed)), Draw(EnsembleFolder.Open(merged)));
    }

    [Fact]
    public void Extras_outside_the_network_are_said_and_those_inside_refused()
    {
        string harmless = Copy(
            "harmless",
            UNet,
            t => t,
            TensorEntry.FromFloat32("stray", [1], [1]),
            TensorEntry.FromFloat32("note.weight", [1], [1])
        );
        (float[] picture, IReadOnlyList<string> warnings) = DrawWithWarnings(EnsembleFolder.Open(harmless));
        Assert.Equal(Draw(EnsembleFolder.Open(_model)), picture);
        Assert.Contains(
            warnings,
            w =>
                w.Contains(
                    "2 tensors belong to none of the model's networks and are not used (note.weight, stray)",
                    StringComparison.Ordinal
                )
        );
        foreach (
            string name in (string[])
                [
                    "down_blocks.0.resnets.7.conv1.weight",
                    "class_embedding.weight",
                    "encoder_hid_proj.weight",
                    "time_embedding.cond_proj.weight",
                ]
        )
        {
            string more = Copy("more", UNet, t => t, TensorEntry.FromFloat32(name, [1], [1]));
            Assert.Contains(
                name,
                Assert.Throws<CheckpointException>(() => Draw(EnsembleFolder.Open(more))).Message,
                StringComparison.Ordinal
            );
            Directory.Delete(more, recursive: true);
        }
    }

    private static long Count(TensorEntry t) => t.Shape.Aggregate(1L, (a, b) => a * b);

    private static byte[] Bytes(TensorEntry t)
    {
        using var stream = new MemoryStream();
        t.WriteData(stream);
        return stream.ToArray();
    }

    private static float[] Values(TensorEntry t) =>
        t.Type switch
        {
            ElementType.Float16 =>
            [
                .. System.Runtime.InteropServices.MemoryMarshal.Cast<byte, Half>(Bytes(t)).ToArray().Select(h => (float)h),
            ],
            _ => [.. Bytes(t).Select(b => Float8.Values(t.Type)[b])],
        };

    // The nearest code of those that are finite.
    private static TensorEntry Narrow(TensorEntry t, ElementType type)
    {
        if (t.Shape.Length < 2)
            return t;
        int[] codes =
        [
            .. Enumerable.Range(0, 256).Where(c => float.IsFinite(Float8.Values(type)[c])).OrderBy(c => Float8.Values(type)[c]),
        ];
        float[] sorted = [.. codes.Select(c => Float8.Values(type)[c])];
        byte[] bytes =
        [
            .. Values(t)
                .Select(v => (byte)codes[Math.Min(codes.Length - 1, Array.BinarySearch(sorted, v) is var i && i < 0 ? ~i : i)]),
        ];
        return new TensorEntry(t.Name, type, t.Shape, s => s.Write(bytes));
    }

    private static TensorEntry Widened(TensorEntry t) =>
        new(t.Name, ElementType.Float16, t.Shape, s => s.Write(Widening.ToBytes(Values(t), ElementType.Float16)));

    private static TensorEntry Times(TensorEntry t, float factor) =>
        TensorEntry.FromFloat32(t.Name, t.Shape, [.. Values(t).Select(v => v * factor)]);

    private static TensorEntry Raw(string name, string _, int bytes) =>
        new(name, ElementType.Boolean, [bytes], s => s.Write(new byte[bytes]));

    // Another dtype's name of the same length or longer, the header's length kept or grown.
    private static void Patch(string path, string from, string to)
    {
        byte[] all = File.ReadAllBytes(path);
        int length = (int)BitConverter.ToInt64(all);
        string header = System.Text.Encoding.UTF8.GetString(all, 8, length).Replace(from, to.Replace("[004]", "[4]"));
        byte[] json = System.Text.Encoding.UTF8.GetBytes(header);
        File.WriteAllBytes(path, [.. BitConverter.GetBytes((long)json.Length), .. json, .. all[(8 + length)..]]);
    }

    private static List<TensorEntry> Entries(string path)
    {
        using SafetensorsFile file = SafetensorsFile.Open(path);
        return
        [
            .. file.Tensors.Values.Select(t =>
            {
                byte[] bytes = file.Bytes(t).ToArray();
                return new TensorEntry(t.Name, t.Type, t.Shape, s => s.Write(bytes));
            }),
        ];
    }

    private static float[] Draw(EnsembleFolder folder) => DrawWithWarnings(folder).Picture;

    private static (float[] Picture, IReadOnlyList<string> Warnings) DrawWithWarnings(EnsembleFolder folder)
    {
        using var device = new CpuDevice(2);
        using DiffusionModel model = DiffusionModel.Load(device, folder, folder.Aggregators.Count > 0 ? 0 : null);
        return (
            new TextToImagePipeline(model).Generate(
                new GenerationOptions
                {
                    Prompt = "a b",
                    Steps = 1,
                    Width = 32,
                    Height = 32,
                    Seeds = [3],
                }
            )[0],
            model.Warnings
        );
    }

    private string Alone(string component, string name, string prefix)
    {
        string path = _folder.File(name);
        SafetensorsWriter.Write(
            path,
            [.. Entries(Path.Combine(_model, component)).Select(t => t with { Name = prefix + t.Name })]
        );
        return path;
    }

    private string Copy(string name, string file, Func<TensorEntry, TensorEntry> change, params TensorEntry[] more)
    {
        string copy = CopyOf(name, _model, null);
        SafetensorsWriter.Write(Path.Combine(copy, file), [.. Entries(Path.Combine(_model, file)).Select(change), .. more]);
        return copy;
    }

    // Another model with one of our files.
    private string CopyOf(string name, string from, string? ours)
    {
        string copy = _folder.File(name);
        foreach (string file in Directory.EnumerateFiles(from, "*", SearchOption.AllDirectories))
        {
            string to = Path.Combine(copy, Path.GetRelativePath(from, file));
            Directory.CreateDirectory(Path.GetDirectoryName(to)!);
            File.Copy(file, to);
        }

        if (ours is not null)
            File.Copy(Path.Combine(_model, ours), Path.Combine(copy, ours), overwrite: true);
        return copy;
    }
}
