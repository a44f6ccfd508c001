using System.Text;
using AfaNative.Engine.Sampling.Samplers;
using Xunit;

namespace AfaNative.Tests.Fuzz;

/// <summary>Inputs that once brought a reader down, each a kind of its own.</summary>
public sealed class FuzzRegressionTests
{
    /// <summary>
    /// Reader, target and a good piece of the input; what is \xNN is that byte, and the last piece is there so many times.
    /// </summary>
    public static TheoryData<string, string, string, string, int, string> Found =>
        new()
        {
            // Texts in JSON that are no Unicode.
            { "options", "options-json", "{\"MODEL\": \"m\", \"prom\\xF4\": \"a\"}", "", 0, "" },
            { "options", "options-json", "{\"MODEL\": \"m\", \"prompt\": \"\\udc00\\ud800\"}", "", 0, "" },
            { "configuration", "configuration-unet", "{\"down_block_types\": [\"\\udc00\\ud800\"]}", "", 0, "" },
            { "configuration", "configuration-scheduler", "{\"beta_schedule\": \"\\ud800\"}", "", 0, "" },
            { "prompt-file", "prompt-file", "{\"prompt\": \"\\ud800\"}", "", 0, "" },
            { "captions", "captions-metadata.jsonl", "{\"file_name\": \"a.png\", \"text\": \"\\ud800\"}", "", 0, "" },
            {
                "safetensors",
                "safetensors-header",
                "{\"\\ud800\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}",
                "",
                0,
                ""
            },
            { "safetensors", "safetensors-index", "{\"weight_map\":{\"\\ud800\":\"model-00001.safetensors\"}}", "", 0, "" },
            { "tokenizer", "tokenizer-vocab.json", "{\"\\ud800\": 0}", "", 0, "" },
            { "tokenizer", "tokenizer-tokenizer_config.json", "{\"bos_token\": \"\\ud800\"}", "", 0, "" },
            {
                "tokenizer",
                "tokenizer-tokenizer_config.json",
                "{\"added_tokens_decoder\": {\"\\ud800\": {\"content\": \"a\"}}}",
                "",
                0,
                ""
            },
            // A plain scalar in the middle of a flow, which the scanner takes for a state it cannot have.
            {
                "options",
                "options-yaml",
                "prompt: &a [x, x]\nl\\x7Fra: &b [*a, *<<: *ateps: &c [*b]\nguidance: [*c]",
                "",
                0,
                ""
            },
            { "options", "options-yaml", "prompt: \"\\udc00\\ud800\"", "", 0, "" },
            { "options", "options-yaml", "prompt: ", "[", 20_000, "" },
            { "options", "options-yaml", "", "- ", 20_000, "" },
            { "options", "options-json", "{\"prompt\": ", "[", 20_000, "" },
            // Sentences as long as the file.
            { "prompt-file", "prompt-file", "{\"prompt\": \"x\", \"", "}]", 15_000, "\": 1}" },
            { "png-text", "parameters", "a\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: ", "{", 14_000, ", Size: 64x64" },
            { "safetensors", "safetensors-header", "{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"dat", "a)", 8_000, "\":[0,4]}}" },
            { "options", "options-json", "{\"MODEL\": \"m\", \"", "x\u0301", 13_000, "\": 1}" },
            { "tokenizer", "tokenizer-vocab.json", "{\"!\": \"", "a\u0301", 100_000, "\"}" },
            // Forty-seven bytes that say they are a picture of hundreds of megabytes.
            {
                "picture",
                "picture",
                "GIF89a\\x01\\x00\\x01\\x00\\x80\\x00\\x00\\x00\\x00\\x00\\xFF\\xFF\\xFF!\\xF9\\x04\\x01"
                    + "\\x00\\x00\\x00\\x00,{\"a\":\\x00\\x00\\x00\\x00\\x01\\x00\\x01\\x00\\x00\\x02\\x01D\\x00;",
                "",
                0,
                ""
            },
            // Time and memory that grow with the square of a prompt.
            { "prompt", "prompt", "", "\u00E9t\u00E9 (a:1.1)", 4_000, "" },
            { "prompt", "prompt", "", "(a:1.1)", 30_000, "" },
            { "prompt", "prompt", "", "(", 100_000, "" },
            { "prompt", "prompt", "", "[a", 50_000, "" },
            { "prompt", "prompt", "", "a", 200_000, "" },
        };

    [Theory]
    [MemberData(nameof(Found))]
    public void What_once_brought_a_reader_down_is_refused_or_read(
        string reader,
        string target,
        string before,
        string piece,
        int times,
        string after
    )
    {
        using var targets = new FuzzTargets();
        byte[] input = [.. Bytes(before), .. Bytes(new StringBuilder().Insert(0, piece, times).ToString()), .. Bytes(after)];
        FuzzRun.Once(targets.Of(reader).First(t => t.Name == target), input);
    }

    private static byte[] Bytes(string text)
    {
        string[] parts = text.Split("\\x");
        return
        [
            .. Encoding.UTF8.GetBytes(parts[0]),
            .. parts.Skip(1).SelectMany(p => Convert.FromHexString(p[..2]).Concat(Encoding.UTF8.GetBytes(p[2..]))),
        ];
    }
}
