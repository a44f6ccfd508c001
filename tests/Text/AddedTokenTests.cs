using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Prompts;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Training;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Cpu;
using AfaNative.Tests.Ensemble;
using Xunit;

namespace AfaNative.Tests.Text;

/// <summary>Parts of a model's folder that were passed over: used, or named.</summary>
public sealed class AddedTokenTests(TinyEnsemble tiny) : IClassFixture<TinyEnsemble>, IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Added_tokens_are_tokens_of_their_own()
    {
        ClipTokenizer plain = Load();
        int size = plain.VocabularySize;
        _folder.Write("tokenizer/added_tokens.json", $$"""{"<sks>": {{size}}, "<sks>-dog": {{size + 1}}, "<|endoftext|>": 7}""");
        ClipTokenizer tokenizer = Load();
        Assert.Equal(size, tokenizer.VocabularySize);
        Assert.Equal([.. plain.Tokenize("a"), size, .. plain.Tokenize("b"), size + 1], tokenizer.Tokenize("a <SKS> b <sks>-dog"));
        Assert.Equal(plain.Tokenize("a b"), tokenizer.Tokenize("a b"));
        Assert.Equal([plain.EosId], tokenizer.Tokenize("<|endoftext|>"));
        Assert.Equal([.. plain.Tokenize("a"), size], tokenizer.Within(size + 1).Tokenize("a <sks>"));
        Assert.Equal(plain.Tokenize("a <sks>"), tokenizer.Within(size).Tokenize("a <sks>"));
    }

    [Fact]
    public void The_configuration_says_how_they_are_found()
    {
        Load();
        _folder.Write(
            "tokenizer/tokenizer_config.json",
            """
            {"added_tokens_decoder": {
              "900001": {"content": "Xy", "normalized": false, "single_word": true, "special": false},
              "900002": {"content": "z!z", "normalized": true}}}
            """
        );
        ClipTokenizer tokenizer = Load();
        Assert.Equal([900001], tokenizer.Tokenize("Xy"));
        Assert.DoesNotContain(900001, tokenizer.Tokenize("xy aXy"));
        Assert.Contains(900002, tokenizer.Tokenize("aZ!Za"));
        _folder.Write("tokenizer/tokenizer_config.json", """{"added_tokens_decoder": {"1": "x"}}""");
        Assert.Contains("added_tokens_decoder", Assert.Throws<CheckpointException>(Load).Message);
    }

    [Fact]
    public void Tokens_without_a_row_and_parts_nothing_uses_are_named()
    {
        Load();
        _folder.Write("tokenizer/added_tokens.json", """{"<sks>": 900000}""");
        foreach (string part in Directory.GetDirectories(tiny.Path).Where(d => Path.GetFileName(d) != "tokenizer"))
            Directory.CreateSymbolicLink(_folder.File(Path.GetFileName(part)), part);
        foreach (
            string part in (string[])["additional_vae_0", "additional_tokenizer_0", "controlnet", "text_encoder_2", "images"]
        )
            Directory.CreateDirectory(_folder.File(part));
        string said = Assert.Single(EnsembleFolder.Open(_folder.Path).Warnings);
        Assert.Contains(": additional_tokenizer_0, additional_vae_0, controlnet, text_encoder_2 (", said);
        Assert.Empty(EnsembleFolder.Open(tiny.Path).Warnings);
        using var device = new CpuDevice(1);
        using DiffusionModel model = DiffusionModel.Load(device, _folder.Path, expert: 0);
        Assert.Contains(model.Warnings, w => w.Contains("no row for what was added: '<sks>'", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("""{"predict_epsilon": false}""", PredictionType.Sample, 0)]
    [InlineData("""{"predict_epsilon": true}""", PredictionType.Epsilon, 0)]
    [InlineData("""{"predict_epsilon": false, "prediction_type": "v_prediction"}""", PredictionType.VPrediction, 1)]
    public void What_older_schedulers_say_they_predict_counts(string json, PredictionType expected, int warnings)
    {
        using var document = System.Text.Json.JsonDocument.Parse(json);
        SchedulerConfig config = SchedulerConfig.FromJson(document.RootElement);
        Assert.Equal((expected, warnings), (config.PredictionType, config.Warnings.Count));
    }

    [Fact]
    public void The_same_model_twice_is_said()
    {
        var said = new List<string>();
        string other = _folder.File("copy");
        Directory.CreateDirectory(other);
        foreach (string part in Directory.GetDirectories(tiny.Path))
            Directory.CreateSymbolicLink(Path.Combine(other, Path.GetFileName(part)), part);
        EnsembleBuilder.Create(
            _folder.File("out"),
            new EnsembleOptions
            {
                Base = tiny.Path,
                Experts = [tiny.Path, other],
                HiddenSize = 64,
                Link = true,
            },
            warn: said.Add
        );
        Assert.Contains($"{other}: the same model is named twice", said);
    }

    [Fact]
    public void Other_options_of_a_run_are_refused_before_it_is_gone_on_with()
    {
        var options = new TrainingOptions { LearningRate = 0.5 };
        RunIdentity whole = new RunIdentity().Add(options, ElementType.Float32, true).AddContents("pictures", "a");
        string checkpoint = _folder.File("checkpoints/step-00000003");
        Directory.CreateDirectory(checkpoint);
        File.WriteAllText(
            Path.Combine(checkpoint, "trainer.json"),
            System.Text.Json.JsonSerializer.Serialize(new { step = 3, options = whole.ToString() })
        );
        using var device = new CpuDevice(1);
        AggregatorTrainer.RequireOptions(device, options, _folder.Path);
        string message = Assert
            .Throws<AfaException>(() => AggregatorTrainer.RequireOptions(device, new TrainingOptions(), _folder.Path))
            .Message;
        Assert.Contains("--learning-rate", message);
        Assert.DoesNotContain("pictures;", message);
        AggregatorTrainer.RequireOptions(device, options, _folder.File("none"));
    }

    private ClipTokenizer Load()
    {
        string to = _folder.File("tokenizer");
        Directory.CreateDirectory(to);
        foreach (string file in Directory.GetFiles(Path.Combine(tiny.Path, "tokenizer")))
        {
            if (!File.Exists(Path.Combine(to, Path.GetFileName(file))))
                File.Copy(file, Path.Combine(to, Path.GetFileName(file)));
        }

        return ClipTokenizer.Load(to);
    }
}
