using System.Globalization;
using System.Text.Json;
using AfaNative.Engine.Core;

namespace AfaNative.Tool.Bench;

/// <summary>
/// One op with its sizes, as <c>bench kernels</c> times it and as a line of a file of shapes states it:
/// <c>{"op": "linear", "rows": 4096, "in": 320, "out": 320}</c>.
/// </summary>
internal sealed record KernelShape
{
    private const long Needed = -1;

    // Largest size of one axis, and number of all values an op reads and writes: what a mistyped digit must not ask for.
    private const long Most = int.MaxValue;

    private static readonly Dictionary<string, (string Name, long Otherwise)[]> s_ops = new(StringComparer.Ordinal)
    {
        ["conv2d"] =
        [
            ("experts", 1),
            ("batch", 1),
            ("height", Needed),
            ("width", Needed),
            ("in", Needed),
            ("out", Needed),
            ("kernel", 3),
            ("stride", 1),
        ],
        ["linear"] = [("experts", 1), ("rows", Needed), ("in", Needed), ("out", Needed), ("geglu", 0)],
        ["attention"] =
        [
            ("experts", 1),
            ("batch", 1),
            ("heads", Needed),
            ("head_width", Needed),
            ("queries", Needed),
            ("keys", Needed),
            ("causal", 0),
        ],
        ["group_norm"] = [("experts", 1), ("batch", 1), ("pixels", Needed), ("channels", Needed), ("groups", 32), ("silu", 0)],
        ["layer_norm"] = [("experts", 1), ("rows", Needed), ("channels", Needed)],
        ["fuse"] = [("experts", Needed), ("batch", 1), ("pixels", Needed), ("channels", Needed)],
        ["mean"] = [("experts", Needed), ("count", Needed)],
        ["side_by_side"] = [("experts", Needed), ("rows", Needed), ("channels", Needed)],
        ["activation"] = [("count", Needed)],
        ["geglu"] = [("rows", Needed), ("width", Needed)],
        ["softmax"] = [("rows", Needed), ("width", Needed)],
        ["upsample"] = [("maps", 1), ("height", Needed), ("width", Needed), ("channels", Needed)],
        ["concat"] = [("experts", 1), ("rows", Needed), ("channels_a", Needed), ("channels_b", Needed)],
        ["add"] = [("experts", 1), ("count", Needed)],
    };

    // Yes or no, written 0 or 1.
    private static readonly string[] s_flags = ["geglu", "causal", "silu"];

    private readonly Dictionary<string, long> _sizes;

    private KernelShape(string op, Dictionary<string, long> sizes)
    {
        (Op, _sizes) = (op, sizes);
        Name = op + string.Concat(s_ops[op].Where(s => sizes[s.Name] != s.Otherwise).Select(Written));

        string Written((string Name, long Otherwise) size) =>
            s_flags.Contains(size.Name)
                ? $" {size.Name}"
                : string.Create(CultureInfo.InvariantCulture, $" {size.Name} {sizes[size.Name]}");
    }

    /// <summary>The names that can be written after <c>--op</c>; <c>norm</c> stands for both norms.</summary>
    public static IReadOnlyList<string> Ops { get; } = [.. s_ops.Keys, "norm"];

    /// <summary>The op's name.</summary>
    public string Op { get; }

    /// <summary>Op and all sizes that are not the usual ones: the same shape has the same name everywhere.</summary>
    public string Name { get; }

    /// <summary>Every size by name.</summary>
    public IReadOnlyDictionary<string, long> Sizes => _sizes;

    /// <summary>A size that fits an int; flags are 0 or 1.</summary>
    public int this[string name] => checked((int)_sizes[name]);

    /// <summary>A shape of known sizes; those not given are the usual ones.</summary>
    public static KernelShape Of(string op, params ReadOnlySpan<(string Name, long Value)> sizes)
    {
        var all = s_ops[op].ToDictionary(s => s.Name, s => s.Otherwise);
        foreach ((string name, long value) in sizes)
            all[name] = value;
        return new KernelShape(op, all);
    }

    /// <summary>A line of a file of shapes.</summary>
    /// <exception cref="AfaException">It is no such object, lacks a size, or has one nobody knows.</exception>
    public static KernelShape Parse(string line, string where)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(line);
            JsonElement root = document.RootElement;
            if (root.ValueKind != JsonValueKind.Object)
            {
                throw Bad("expected a JSON object such as {\"op\": \"softmax\", \"rows\": 8, \"width\": 77}");
            }

            string op =
                root.TryGetProperty("op", out JsonElement name) && name.ValueKind == JsonValueKind.String
                    ? name.GetString()!
                    : "";
            if (!s_ops.TryGetValue(op, out (string Name, long Otherwise)[]? known))
            {
                throw Bad($"expected an 'op' out of {string.Join(", ", s_ops.Keys)}");
            }

            var sizes = known.ToDictionary(s => s.Name, s => s.Otherwise);
            foreach (JsonProperty one in root.EnumerateObject())
            {
                if (one.NameEquals("op"))
                    continue;
                if (!sizes.ContainsKey(one.Name))
                {
                    string names = string.Join(", ", known.Select(s => s.Name));
                    throw Bad($"'{Printable.Shortened(one.Name)}' is no size of {op}; it has {names}");
                }

                sizes[one.Name] = Size(one, where);
            }

            string? missing = known.FirstOrDefault(s => sizes[s.Name] == Needed).Name;
            if (missing is not null)
                throw Bad($"{op} needs the size '{missing}'");
            var shape = new KernelShape(op, sizes);
            return shape.Fault() is { } fault ? throw Bad(fault) : shape;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new AfaException($"{where}: expected a JSON object, but it cannot be read: {e.Message}", e);
        }

        AfaException Bad(string what) => new($"{where}: {what}.");
    }

    /// <summary>Values that are read and written once at least.</summary>
    public double Values =>
        Op switch
        {
            "conv2d" => Product("experts", "batch", "height", "width") * (Size("in") + Size("out")) + WeightValues,
            "linear" => Product("experts", "rows") * (Size("in") + Size("out")) + WeightValues,
            "attention" => 2 * Product("experts", "batch", "heads", "head_width") * (Size("queries") + Size("keys")),
            "group_norm" => 2 * Product("experts", "batch", "pixels", "channels"),
            "layer_norm" or "side_by_side" => 2 * Product("experts", "rows", "channels"),
            "fuse" => (Size("experts") + 1) * Product("batch", "pixels", "channels"),
            "mean" => (Size("experts") + 1) * Size("count"),
            "activation" => 2 * Size("count"),
            "geglu" => 3 * Product("rows", "width"),
            "softmax" => 2 * Product("rows", "width"),
            "upsample" => 5 * Product("maps", "height", "width", "channels"),
            "concat" => 2 * Product("experts", "rows") * (Size("channels_a") + Size("channels_b")),
            _ => 3 * Product("experts", "count"),
        };

    /// <summary>Values of the weights of all experts, 0 for an op without.</summary>
    public double WeightValues =>
        Op switch
        {
            "conv2d" => Product("experts", "in", "out", "kernel", "kernel"),
            "linear" => Product("experts", "in", "out"),
            _ => 0,
        };

    /// <inheritdoc/>
    public bool Equals(KernelShape? other) => other is not null && Name == other.Name;

    /// <inheritdoc/>
    public override int GetHashCode() => Name.GetHashCode(StringComparison.Ordinal);

    private static long Size(JsonProperty one, string where)
    {
        string came = Printable.Shortened(one.Value.GetRawText());
        if (s_flags.Contains(one.Name))
        {
            return one.Value.ValueKind switch
            {
                JsonValueKind.True => 1,
                JsonValueKind.False => 0,
                _ => throw new AfaException($"{where}: '{one.Name}' is true or false, not {came}."),
            };
        }

        return one.Value.ValueKind == JsonValueKind.Number && one.Value.TryGetInt64(out long size) && size >= 1 && size <= Most
            ? size
            : throw new AfaException($"{where}: '{one.Name}' is a whole number from 1 to {Most}, not {came}.");
    }

    private double Size(string name) => _sizes[name];

    private double Product(params ReadOnlySpan<string> names)
    {
        double product = 1;
        foreach (string name in names)
            product *= _sizes[name];
        return product;
    }

    // Why no device takes such a shape, or null.
    private string? Fault()
    {
        if (Values > Most)
            return string.Create(CultureInfo.InvariantCulture, $"{Name} has {Values:G3} values; at most {Most} are timed");
        return Op switch
        {
            "group_norm" when this["channels"] % this["groups"] != 0 =>
                $"{this["channels"]} channels cannot be split into {this["groups"]} groups",
            "linear" when this["geglu"] != 0 && this["out"] % 2 != 0 => "with geglu, 'out' is even: values before gates",
            "attention" when this["causal"] != 0 && this["queries"] != this["keys"] =>
                "causal attention has as many keys as queries",
            "conv2d" when this["kernel"] % 2 == 0 || this["kernel"] > 63 =>
                "'kernel' is odd and at most 63; the map is padded by half of it",
            _ => null,
        };
    }
}
