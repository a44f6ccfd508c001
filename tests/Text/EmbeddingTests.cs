using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Files;
using AfaNative.Engine.Imaging;
using AfaNative.Engine.Models;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Prompts;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Kernels.Devices.Reference;
using AfaNative.Tests.Ensemble;
using AfaNative.Tests.StandIn;
using AfaNative.Tests.Tool;
using Xunit;

namespace AfaNative.Tests.Text;

/// <summary>Textual inversions: vectors of the encoder's own vocabulary must do what its words do.</summary>
public sealed class EmbeddingTests(TinyEnsemble tiny) : IClassFixture<TinyEnsemble>, IDisposable
{
    private const int Length = 77;
    private readonly TemporaryFolder _folder = new();
    private readonly CpuDevice _device = new(2);

    public void Dispose()
    {
        _device.Dispose();
        _folder.Dispose();
    }

    [Theory]
    [InlineData("a b c d", "a b mine d")]
    [InlineData("a b c, d", "a b MINE, d")]
    [InlineData("a b c d", "a b <mine> d")]
    [InlineData("a b c d", "a b <cat-toy> d")]
    [InlineData("a b (c:1.3) d", "a b (mine:1.3) d")]
    [InlineData("a [c d] (c)", "a [Mine d] (mine)")]
    [InlineData("a BREAK c", "a BREAK mine")]
    [InlineData("c", "mine")]
    [InlineData("a c c e", "a pair e")]
    [InlineData("a (c c:0.7) e", "a (pair:0.7) e")]
    public void Rows_of_the_vocabulary_do_what_its_words_do(string words, string named)
    {
        for (int expert = 0; expert < 3; expert++)
        {
            float[] row = Row("c", expert);
            using DiffusionModel model = Load([
                new(Write("mine", ("<cat-toy>", [row.Length], row))),
                new(Write("x", ("emb_params", [2, row.Length], [.. row, .. row])), "pair"),
            ]);
            (float[] expected, int experts) = Encode(model, ["e", words]);
            (float[] came, _) = Encode(model, ["e", named]);
            int per = expected.Length / experts;
            Assert.Equal(expected.Length, came.Length);
            // Every expert has its own vocabulary: the row is a word of one alone, and a vector in all.
            for (int e = 0; e < experts; e++)
            {
                if (e == expert)
                    Assert.Equal(expected[(e * per)..((e + 1) * per)], came[(e * per)..((e + 1) * per)]);
                else
                    Assert.NotEqual(expected[(e * per)..((e + 1) * per)], came[(e * per)..((e + 1) * per)]);
            }
        }
    }

    [Theory]
    [InlineData("cpu-reference", ElementType.Float32)]
    [InlineData("ilgpu-cpu", ElementType.Float32)]
    [InlineData("ilgpu-cpu", ElementType.Float16)]
    public void Every_device_adds_positions_to_vectors_as_to_words(string name, ElementType activations)
    {
        // ILGPU looks for CUDA's driver once in a process: the stand-in must be there before anything opens a device.
        _ = StandInCuda.TryLoad(out _);
        using IDevice device = name == "ilgpu-cpu" ? DeviceRegistry.Open(name, activations) : new ReferenceDevice();
        string folder = Path.Combine(tiny.Path, "text_encoder");
        ClipTextConfig config = ClipTextConfig.Load(folder);
        (ClipTextEncoder encoder, CheckpointParameters weights) = DiffusionModel.ReadComponent(
            device,
            [folder],
            p => new ClipTextEncoder(p, config),
            KnownExtras.IsIgnorable
        );
        using (weights)
        {
            var ops = new Ops(device);
            using TensorScope scope = ops.Scope();
            int[] words = ClipTokenizer.Load(Path.Combine(tiny.Path, "tokenizer")).Tokenize("a b c d e c"),
                named = [.. words];
            (named[2], named[5]) = (0, 0);
            // Two sequences of three.
            float[] expected = ops.Download(encoder.Encode(ops, words, 3)),
                came = ops.Download(
                    encoder.Encode(ops, named, 3, vectors: [new TokenVector(5, Row("c", 0)), new TokenVector(2, Row("c", 0))])
                );
            Assert.Equal(expected, came);
            Assert.NotEqual(expected, ops.Download(encoder.Encode(ops, named, 3)));
            Assert.Contains(
                "takes 32",
                Assert
                    .Throws<AfaException>(() => encoder.Encode(ops, named, 3, vectors: [new TokenVector(5, new float[5])]))
                    .Message
            );
        }
    }

    [Theory]
    [InlineData("minely a", false)]
    [InlineData("a_mine", false)]
    [InlineData("mine2", false)]
    [InlineData("a-mine", true)]
    [InlineData("mine.", true)]
    [InlineData("bad-hands-5", true)]
    public void Names_count_as_words_of_their_own(string prompt, bool used)
    {
        using DiffusionModel model = Load([
            new(Write("mine", ("emb_params", [32], Row("c", 0)))),
            new(Write("bad-hands", ("emb_params", [32], Row("c", 0)))),
            new(Write("bad-hands-5", ("emb_params", [2, 32], [.. Row("c", 0), .. Row("d", 0)]))),
        ]);
        IReadOnlyList<TokenVector> vectors = PromptChunks
            .Split(model.Tokenizer, prompt, Length, PromptSyntax.Weighted, model.Embeddings)[0]
            .Vectors;
        Assert.Equal(
            used
                ? prompt.StartsWith("bad", StringComparison.Ordinal)
                    ? 2
                    : 1
                : 0,
            vectors.Count
        );
        Assert.Equal(used ? 1 : 0, model.Embeddings.UsedBy(PromptSyntax.Weighted, prompt, prompt).Count);
    }

    [Fact]
    public void No_embedding_is_divided_between_chunks()
    {
        using DiffusionModel model = Load([new(Write("five", ("emb_params", [5, 32], new float[160])))]);
        string Words(int count) => string.Join(' ', Enumerable.Repeat("a", count));
        IReadOnlyList<PromptChunk> Split(string prompt, PromptSyntax syntax = PromptSyntax.Weighted) =>
            PromptChunks.Split(model.Tokenizer, prompt, Length, syntax, model.Embeddings);
        int a = model.Tokenizer.Tokenize("a").Single(),
            eos = model.Tokenizer.EosId;

        // 70 and 5 fill a chunk to its end.
        PromptChunk full = Assert.Single(Split(Words(70) + " five"));
        Assert.Equal(Enumerable.Range(71, 5), full.Vectors.Select(v => v.Position));
        Assert.Equal(eos, full.Ids[76]);
        IReadOnlyList<PromptChunk> over = Split(Words(71) + " five a");
        Assert.Equal((2, 0, 5), (over.Count, over[0].Vectors.Count, over[1].Vectors.Count));
        Assert.Equal((71, eos, 1), (over[0].Ids.Count(i => i == a), over[0].Ids[72], over[1].Ids.Count(i => i == a)));
        Assert.Equal(Enumerable.Range(1, 5), over[1].Vectors.Select(v => v.Position));
        // What a comma takes to the next chunk it takes whole.
        IReadOnlyList<PromptChunk> comma = Split(Words(65) + ", five " + Words(10));
        Assert.Equal((65, 10, 5), (comma[0].Ids.Count(i => i == a), comma[1].Ids.Count(i => i == a), comma[1].Vectors.Count));
        Assert.Equal(20, Split(string.Join(' ', Enumerable.Repeat("five", 20))).Sum(c => c.Vectors.Count) / 5);
        // Plain prompts end before it.
        PromptChunk plain = Assert.Single(Split(Words(71) + " five a", PromptSyntax.Plain));
        Assert.Equal((0, 71, eos), (plain.Vectors.Count, plain.Ids.Count(i => i == a), plain.Ids[72]));
        Assert.Equal("five a", PromptChunks.CutOff(model.Tokenizer, Words(71) + " five a", Length, model.Embeddings));
        Assert.Null(PromptChunks.CutOff(model.Tokenizer, Words(70) + " five", Length, model.Embeddings));
    }

    [Fact]
    public void Pictures_do_not_depend_on_their_batch()
    {
        var random = new System.Random(1);
        float[] values = [.. Enumerable.Range(0, 96).Select(_ => random.NextSingle() - 0.5f)];
        using DiffusionModel model = Load([new(Write("mine", ("emb_params", [3, 32], values)))]);
        var options = new GenerationOptions
        {
            Prompt = "",
            NegativePrompt = "blue, mine",
            Syntax = PromptSyntax.Weighted,
            Steps = 2,
            Width = 32,
            Height = 32,
            Seeds = [1, 2, 3],
            Prompts = ["a mine", "mine a (mine:1.2)", "a b c"],
        };
        var pipeline = new TextToImagePipeline(model);
        IReadOnlyList<float[]> all = pipeline.Generate(options);
        for (int i = 0; i < 3; i++)
            Assert.Equal(
                pipeline.Generate(options with { Seeds = [options.Seeds[i]], Prompts = [options.Prompts[i]] })[0],
                all[i]
            );
        Assert.NotEqual(
            all[2],
            pipeline.Generate(options with { Seeds = [3], Prompts = ["a b c"], NegativePrompt = "blue, b" })[0]
        );
    }

    [Fact]
    public void Every_layout_is_read()
    {
        float[] row = Row("c", 0);
        float[][] Read(params (string Name, long[] Shape, float[] Values)[] tensors) =>
            EmbeddingFile.Read(new EmbeddingRequest(Write("layout", tensors)), 32, 75).Vectors;
        Assert.Equal([row], Read(("emb_params", [32], row)));
        Assert.Equal([row], Read(("<cat-toy>", [1, 32], row)));
        Assert.Equal([row, row], Read(("anything", [2, 32], [.. row, .. row])));
        Assert.Equal(
            [row],
            Read(
                ("string_to_param.*", [1, 32], row),
                ("string_to_token.*", [1], [265]),
                ("step", [1], [500]),
                ("optimizer", [4, 4], new float[16])
            )
        );
        Assert.Equal(
            "<cat-toy>",
            EmbeddingFile.Read(new EmbeddingRequest(Write("learned_embeds", ("<cat-toy>", [32], row))), 32, 75).Placeholder
        );
        string half = _folder.File("half.safetensors");
        SafetensorsWriter.Write(
            half,
            [
                new TensorEntry(
                    "emb_params",
                    ElementType.Float16,
                    [32],
                    s =>
                    {
                        foreach (float v in row)
                            s.Write(BitConverter.GetBytes((Half)v));
                    }
                ),
            ]
        );
        Assert.Equal([row], EmbeddingFile.Read(new EmbeddingRequest(half), 32, 75).Vectors);
    }

    [Fact]
    public void What_does_not_fit_is_named()
    {
        void Refused(string expected, params (string, long[])[] tensors) =>
            Assert.Contains(
                expected,
                Assert
                    .Throws<CheckpointException>(() =>
                        EmbeddingFile.Read(
                            new EmbeddingRequest(
                                Write(
                                    "bad",
                                    [
                                        .. tensors.Select(t =>
                                            (t.Item1, t.Item2, new float[t.Item2.Aggregate(1L, (a, b) => a * b)])
                                        ),
                                    ]
                                )
                            ),
                            32,
                            75
                        )
                    )
                    .Message
            );
        Refused("vectors of 768 (for Stable Diffusion 1.x, probably)", ("emb_params", [2, 768]));
        Refused("Stable Diffusion 2.x", ("emb_params", [1024]));
        Refused("second text encoder", ("emb_params", [1280]));
        Refused("Stable Diffusion XL (clip_l and clip_g)", ("clip_l", [2, 768]), ("clip_g", [2, 1280]));
        Refused("holds 76 vectors", ("emb_params", [76, 32]));
        Refused("it holds 2 tensors such as", ("lora.down", [2, 32]), ("lora.up", [32, 2]));
        Refused("it holds 1 tensors such as conv", ("conv", [2, 2, 3, 3]));
        Assert.Contains(
            "no finite numbers",
            Assert
                .Throws<CheckpointException>(() =>
                    EmbeddingFile.Read(
                        new EmbeddingRequest(Write("nan", ("emb_params", [32], [float.NaN, .. new float[31]]))),
                        32,
                        75
                    )
                )
                .Message
        );
        _folder.Write("old.pt", "pickled");
        Assert.Contains(
            "is a pickle",
            Assert
                .Throws<CheckpointException>(() => EmbeddingFile.Read(new EmbeddingRequest(_folder.File("old.pt")), 32, 75))
                .Message
        );
        string twice = Write("twice", ("emb_params", [32], new float[32]));
        Assert.Contains(
            "would both be called 'twice'",
            Assert.Throws<AfaException>(() => EmbeddingSet.Load([new(twice), new(twice)], 32, 75)).Message
        );
        Assert.Equal(new EmbeddingRequest("b.safetensors", "a"), EmbeddingRequest.Parse("a=b.safetensors"));
        Assert.Contains("name is empty", Assert.Throws<AfaException>(() => EmbeddingRequest.Parse("=b.safetensors")).Message);
        Assert.Contains(
            "no such folder",
            Assert.Throws<AfaException>(() => EmbeddingRequest.InFolder(_folder.File("nowhere"))).Message
        );
    }

    [Fact]
    public void In_a_folder_only_what_a_prompt_names_has_to_fit()
    {
        Directory.CreateDirectory(_folder.File("embeddings/more"));
        Write("embeddings/good", ("emb_params", [32], Row("c", 0)));
        Write("embeddings/more/wide", ("emb_params", [1024], new float[1024]));
        _folder.Write("embeddings/old.pt", "pickled");
        _folder.Write("embeddings/good.pt", "pickled");
        string output = _folder.File("out");
        string[] Arguments(params string[] more) =>
            [
                "sample",
                tiny.Path,
                "--expert",
                "0",
                "--embedding-dir",
                _folder.File("embeddings"),
                "--steps",
                "1",
                "--width",
                "32",
                "--height",
                "32",
                "--count",
                "1",
                "--seed",
                "1",
                "--out",
                output,
                .. more,
            ];
        (int code, _, string error) = InProcess.Run(
            Arguments(
                "--prompt",
                "a (good:1.2) b",
                "--negative",
                "<good>",
                "--embedding",
                "own=" + Write("other", ("emb_params", [32], Row("c", 0)))
            )
        );
        Assert.True(code == 0, error);
        _ = PngFile.Read(Path.Combine(output, "00001-1.png"), out string? text);
        Assert.Contains($", TI hashes: \"good: {FileHash.Short([_folder.File("embeddings/good.safetensors")])}\", ", text);
        Assert.Equal("a (good:1.2) b", GenerationMetadata.Parse(text!).Prompt);
        (code, _, error) = InProcess.Run(Arguments("--prompt", "a wide b"));
        Assert.NotEqual(0, code);
        Assert.Contains("Stable Diffusion 2.x", error.ReplaceLineEndings(" "));
        (code, _, error) = InProcess.Run(Arguments("--prompt", "old"));
        Assert.NotEqual(0, code);
        Assert.Contains("is a pickle", error.ReplaceLineEndings(" "));
    }

    private DiffusionModel Load(IReadOnlyList<EmbeddingRequest> embeddings) =>
        DiffusionModel.Load(_device, EnsembleFolder.Open(tiny.Path), embeddings: embeddings);

    private (float[] Hidden, int Experts) Encode(DiffusionModel model, IReadOnlyList<string> prompts)
    {
        var ops = new Ops(_device);
        using TensorScope scope = ops.Scope();
        Tensor hidden = new TextToImagePipeline(model).EncodePrompts(ops, prompts, 0, PromptSyntax.Weighted).HiddenStates;
        return (ops.Download(hidden), hidden.Shape.Experts);
    }

    // A word's row of an expert's vocabulary.
    private float[] Row(string word, int expert)
    {
        using Checkpoint checkpoint = Checkpoint.Open(
            Path.Combine(tiny.Path, expert == 0 ? "text_encoder" : $"additional_text_encoder_{expert - 1}"),
            "model"
        );
        const string Name = "text_model.embeddings.token_embedding.weight";
        checkpoint.TryGet(Name, out SafetensorsFile? file, out SafetensorsTensor? tensor);
        int width = (int)tensor!.Shape[1],
            id = ClipTokenizer.Load(Path.Combine(tiny.Path, "tokenizer")).Tokenize(word).Single();
        return file!.ReadFloat32(Name).AsSpan(id * width, width).ToArray();
    }

    private string Write(string name, params (string Name, long[] Shape, float[] Values)[] tensors)
    {
        string path = _folder.File(name + ".safetensors");
        SafetensorsWriter.Write(path, [.. tensors.Select(t => TensorEntry.FromFloat32(t.Name, t.Shape, t.Values))]);
        return path;
    }
}
