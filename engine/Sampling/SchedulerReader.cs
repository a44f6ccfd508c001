using System.Text.Json;
using AfaNative.Engine.Core;

namespace AfaNative.Engine.Sampling;

/// <summary>
/// Reads keys of a scheduler's configuration; what is missing or null has a default, and what is of another kind is named.
/// </summary>
internal readonly struct SchedulerReader(JsonElement json, string source)
{
    /// <summary>Where the keys come from.</summary>
    public string Source => source;

    /// <summary>All keys, those that are null as well.</summary>
    public IEnumerable<string> Keys => json.EnumerateObject().Select(p => p.Name);

    /// <summary>Whether a key is there and not null.</summary>
    public bool Has(string key) => TryGet(key, out _);

    /// <summary>A finite number.</summary>
    public double Number(string key, double fallback)
    {
        if (!TryGet(key, out JsonElement value))
            return fallback;
        return value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out double number) && double.IsFinite(number)
            ? number
            : throw Bad(key, "a number", value);
    }

    /// <summary>A number, or a bound that JSON has no number for: diffusers writes <c>-Infinity</c> as a text.</summary>
    public double Bound(string key, double fallback)
    {
        if (
            TryGet(key, out JsonElement value)
            && value.ValueKind == JsonValueKind.String
            && value.GetString() is "-Infinity" or "-inf"
        )
            return double.NegativeInfinity;
        return Number(key, fallback);
    }

    /// <summary>A whole number.</summary>
    public int Integer(string key, int fallback)
    {
        if (!TryGet(key, out JsonElement value))
            return fallback;
        return value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int number)
            ? number
            : throw Bad(key, "a whole number", value);
    }

    /// <summary>A whole number in a range.</summary>
    public int Integer(string key, int fallback, int least, int most)
    {
        int number = Integer(key, fallback);
        if (number >= least && number <= most)
            return number;
        throw new CheckpointException($"Expected {key} from {least} to {most} in {source}, but {number} came.");
    }

    /// <summary>True or false.</summary>
    public bool Flag(string key, bool fallback)
    {
        if (!TryGet(key, out JsonElement value))
            return fallback;
        return value.ValueKind switch
        {
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            _ => throw Bad(key, "true or false", value),
        };
    }

    /// <summary>A text.</summary>
    public string? Text(string key)
    {
        if (!TryGet(key, out JsonElement value))
            return null;
        try
        {
            return value.ValueKind == JsonValueKind.String ? value.GetString() : throw Bad(key, "a text", value);
        }
        catch (InvalidOperationException)
        {
            // A text that is no valid Unicode.
            throw Bad(key, "a text", value);
        }
    }

    /// <summary>Finite numbers, or null.</summary>
    public IReadOnlyList<double>? Numbers(string key)
    {
        if (!TryGet(key, out JsonElement value))
            return null;
        if (value.ValueKind != JsonValueKind.Array)
            throw Bad(key, "a list of numbers", value);
        var numbers = new List<double>();
        foreach (JsonElement one in value.EnumerateArray())
        {
            numbers.Add(
                one.ValueKind == JsonValueKind.Number && one.TryGetDouble(out double number) && double.IsFinite(number)
                    ? number
                    : throw Bad(key, "a list of numbers", value)
            );
        }

        return numbers;
    }

    /// <summary>One of some texts.</summary>
    public T Choice<T>(string key, T fallback, params (string Name, T Value)[] choices)
    {
        if (!TryGet(key, out JsonElement value))
            return fallback;
        foreach ((string name, T choice) in choices)
        {
            if (value.ValueKind == JsonValueKind.String && value.ValueEquals(name))
                return choice;
        }

        throw Bad(key, string.Join(" or ", choices.Select(choice => $"\"{choice.Name}\"")), value);
    }

    private bool TryGet(string key, out JsonElement value) =>
        json.TryGetProperty(key, out value) && value.ValueKind != JsonValueKind.Null;

    private CheckpointException Bad(string key, string expected, JsonElement value) =>
        new($"Expected {expected} for {key} in {source}, but {Printable.Shortened(value.GetRawText())} came.");
}
