using System.Globalization;
using System.Text.Json;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;

namespace AfaNative.Engine.Checkpoints;

/// <summary>
/// Every key a kind of configuration may have: those that are read, those that change nothing here, and those of which one value
/// is implemented. Whatever else a file
/// states is named in a warning.
/// </summary>
internal sealed class ConfigKeys
{
    // What transformers and diffusers write into every configuration, and settings of text generation older transformers put into
    // those of CLIP.
    private static readonly HashSet<string> s_everywhere =
    [
        "architectures",
        "torch_dtype",
        "dtype",
        "transformers_version",
        "model_type",
        "id2label",
        "label2id",
        "finetuning_task",
        "tokenizer_class",
        "prefix",
        "sep_token_id",
        "decoder_start_token_id",
        "task_specific_params",
        "problem_type",
        "return_dict",
        "output_hidden_states",
        "output_attentions",
        "torchscript",
        "use_bfloat16",
        "tf_legacy_loss",
        "pruned_heads",
        "tie_word_embeddings",
        "is_encoder_decoder",
        "is_decoder",
        "cross_attention_hidden_size",
        "add_cross_attention",
        "tie_encoder_decoder",
        "max_length",
        "min_length",
        "do_sample",
        "early_stopping",
        "num_beams",
        "num_beam_groups",
        "diversity_penalty",
        "temperature",
        "top_k",
        "top_p",
        "typical_p",
        "repetition_penalty",
        "length_penalty",
        "no_repeat_ngram_size",
        "encoder_no_repeat_ngram_size",
        "bad_words_ids",
        "num_return_sequences",
        "chunk_size_feed_forward",
        "output_scores",
        "return_dict_in_generate",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "remove_invalid_values",
        "exponential_decay_length_penalty",
        "suppress_tokens",
        "begin_suppress_tokens",
        "_name_or_path",
        "_diffusers_version",
        "_commit_hash",
        "_use_default_values",
        "_attn_implementation_autoset",
    ];

    private readonly HashSet<string> _known;
    private readonly (string Key, object? Value)[] _only;
    private readonly string[] _classes;

    /// <summary>A kind of configuration.</summary>
    /// <param name="classes">Names its <c>_class_name</c> may have without a warning.</param>
    /// <param name="read">Keys whose values are used.</param>
    /// <param name="irrelevant">Keys that change nothing that is computed here.</param>
    /// <param name="only">Keys of which one value is implemented, by the default of diffusers; it counts where a file does not
    /// state the key.</param>
    public ConfigKeys(string[] classes, string[] read, string[] irrelevant, (string Key, object? Value)[] only)
    {
        _known = [.. read, .. irrelevant, .. s_everywhere, "_class_name"];
        _only = only;
        _classes = classes;
    }

    /// <summary>Looks all keys of a file over.</summary>
    /// <returns>Whole sentences about keys that are not acted on.</returns>
    /// <exception cref="CheckpointException">A key has a value whose network is not implemented.</exception>
    public IReadOnlyList<string> Check(JsonFile file)
    {
        List<string> warnings = [];
        foreach (JsonProperty property in file.Root.EnumerateObject())
        {
            JsonElement value = property.Value;
            if (_only.FirstOrDefault(o => o.Key == property.Name) is { Key: not null } only)
            {
                // null leaves the default.
                if (value.ValueKind != JsonValueKind.Null && !IsValue(value, only.Value))
                    throw file.Error(
                        $"'{property.Name}' is {JsonFile.Shown(value)}; only {Words(only.Value)} is implemented (Stable "
                            + $"Diffusion 1.x)"
                    );
            }
            else if (property.Name == "_class_name")
            {
                if (!Array.Exists(_classes, c => value.ValueKind == JsonValueKind.String && value.GetString() == c))
                    warnings.Add($"{file.Path}: it was saved from {JsonFile.Shown(value)} and is read as {_classes[0]}.");
            }
            else if (!_known.Contains(property.Name) && value.ValueKind != JsonValueKind.Null)
            {
                warnings.Add(
                    $"{file.Path}: '{Printable.Shortened(property.Name)}' is {JsonFile.Shown(value)}, which this program "
                        + $"does not know and does not act on."
                );
            }
        }

        // A file of thousands of keys is none that anybody reads.
        return warnings.Count <= 8
            ? warnings
            : [.. warnings.Take(8), $"{file.Path}: {warnings.Count - 8} more of its keys are not known either."];
    }

    private static bool IsValue(JsonElement value, object? wanted) =>
        (value.ValueKind, wanted) switch
        {
            (JsonValueKind.True, true) or (JsonValueKind.False, false) => true,
            (JsonValueKind.Number, double number) => value.GetDouble() == number,
            (JsonValueKind.String, string text) => value.GetString() == text,
            // One value for each block.
            (JsonValueKind.Array, not null) => value.EnumerateArray().All(v => IsValue(v, wanted)),
            _ => false,
        };

    private static string Words(object? value) =>
        value switch
        {
            null => "null",
            true => "true",
            false => "false",
            double number => number.ToString(CultureInfo.InvariantCulture),
            _ => $"\"{value}\"",
        };
}
