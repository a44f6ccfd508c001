using System.Text;
using System.Text.Json;
using AfaNative.Engine.Core;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Checkpoints;

/// <summary>Reads and checks the JSON header of a safetensors file.</summary>
internal static class SafetensorsHeader
{
    internal const long MaximumLength = 100_000_000;

    // The format's other types, with their bits: a tensor of one is no reason not to read its neighbours.
    private static readonly Dictionary<string, int> s_opaque = new(StringComparer.Ordinal)
    {
        ["F4"] = 4,
        ["F6_E2M3"] = 6,
        ["F6_E3M2"] = 6,
        ["F8_E8M0"] = 8,
        ["F8_E4M3FNUZ"] = 8,
        ["F8_E5M2FNUZ"] = 8,
        ["I8"] = 8,
        ["I16"] = 16,
        ["U16"] = 16,
        ["U32"] = 32,
        ["U64"] = 64,
        ["C64"] = 64,
    };

    internal static (Dictionary<string, SafetensorsTensor> Tensors, Dictionary<string, string> Metadata) Parse(
        string path,
        ReadOnlySpan<byte> json,
        long fileLength
    )
    {
        long dataStart = 8L + json.Length;
        var tensors = new Dictionary<string, SafetensorsTensor>(StringComparer.Ordinal);
        var metadata = new Dictionary<string, string>(StringComparer.Ordinal);
        try
        {
            // The whole header must be UTF-8, strings no reader asks for included.
            string text = new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(json);
            using var document = JsonDocument.Parse(text, new JsonDocumentOptions { MaxDepth = 8 });
            if (document.RootElement.ValueKind != JsonValueKind.Object)
                throw new CheckpointException(
                    $"Expected a JSON object as the header, but '{path}' holds {document.RootElement.ValueKind}."
                );
            bool described = false;
            foreach (JsonProperty entry in document.RootElement.EnumerateObject())
            {
                string name = entry.Name;
                if (name == "__metadata__")
                {
                    if (described)
                        throw new CheckpointException($"Expected one entry __metadata__, but '{path}' holds another.");
                    described = true;
                    ReadMetadata(path, entry.Value, metadata);
                    continue;
                }

                if (!tensors.TryAdd(name, ReadTensor(path, name, entry.Value, dataStart, fileLength)))
                    throw new CheckpointException($"Expected every tensor once, but '{path}' lists '{name}' again.");
            }
        }
        catch (Exception e) when (e is JsonException or DecoderFallbackException or InvalidOperationException)
        {
            throw new CheckpointException($"Expected a UTF-8 JSON header, but that of '{path}' is not: {e.Message}", e);
        }

        CheckCover(path, tensors.Values, dataStart, fileLength);
        return (tensors, metadata);
    }

    internal static string TypeName(ElementType type) =>
        type switch
        {
            ElementType.Float64 => "F64",
            ElementType.Float32 => "F32",
            ElementType.Float16 => "F16",
            ElementType.BFloat16 => "BF16",
            ElementType.Int64 => "I64",
            ElementType.Int32 => "I32",
            ElementType.UInt8 => "U8",
            ElementType.Boolean => "BOOL",
            ElementType.Float8E4M3 => "F8_E4M3",
            ElementType.Float8E5M2 => "F8_E5M2",
            ElementType.Opaque => "?",
            _ => throw new ArgumentOutOfRangeException(nameof(type), type, "unknown element type"),
        };

    /// <summary>The bytes of a tensor of that shape, or null where a dimension is negative or the product overflows.</summary>
    internal static long? ByteLength(ElementType type, ReadOnlySpan<long> shape) => Product(type.Size(), shape);

    private static long? Product(long length, ReadOnlySpan<long> shape)
    {
        bool empty = false;
        foreach (long dimension in shape)
        {
            if (dimension < 0)
                return null;
            if (dimension == 0)
                empty = true;
            else if (length > long.MaxValue / dimension)
                return null;
            else
                length *= dimension;
        }

        return empty ? 0 : length;
    }

    private static void ReadMetadata(string path, JsonElement element, Dictionary<string, string> metadata)
    {
        if (element.ValueKind != JsonValueKind.Object)
            throw new CheckpointException($"Expected an object as __metadata__, but '{path}' holds {element.ValueKind}.");
        foreach (JsonProperty entry in element.EnumerateObject())
        {
            if (entry.Value.ValueKind != JsonValueKind.String)
                throw new CheckpointException(
                    $"Expected a string as the metadata '{entry.Name}', but '{path}' holds {entry.Value.ValueKind}."
                );
            if (!metadata.TryAdd(entry.Name, entry.Value.GetString()!))
                throw new CheckpointException($"Expected every metadata key once, but '{path}' lists '{entry.Name}' again.");
        }
    }

    private static SafetensorsTensor ReadTensor(string path, string name, JsonElement element, long dataStart, long fileLength)
    {
        if (element.ValueKind != JsonValueKind.Object)
            throw Bad("an object", element.ValueKind.ToString());
        ElementType? type = null;
        string dtype = "";
        long[]? shape = null,
            offsets = null;
        foreach (JsonProperty field in element.EnumerateObject())
        {
            switch (field.Name)
            {
                case "dtype" when type is null:
                    type = ReadType(field.Value);
                    break;
                case "shape" when shape is null:
                    shape = ReadNumbers(field.Value, "shape");
                    break;
                case "data_offsets" when offsets is null:
                    offsets = ReadNumbers(field.Value, "data_offsets");
                    break;
                default:
                    throw Bad("dtype, shape and data_offsets once each", $"the field '{field.Name}'");
            }
        }

        if (type is not ElementType known || shape is null || offsets is null)
            throw Bad("dtype, shape and data_offsets", "fewer fields");
        if (offsets.Length != 2 || offsets[0] > offsets[1] || offsets[1] > fileLength - dataStart)
            throw Bad($"two ascending data_offsets up to {fileLength - dataStart}", $"[{string.Join(", ", offsets)}]");
        int bits = known == ElementType.Opaque ? s_opaque[dtype] : 8 * known.Size();
        if (Product(bits, shape) is not long counted || counted % 8 != 0)
            throw Bad("a shape whose bytes can be counted", $"[{string.Join(", ", shape)}]");
        long length = counted / 8;
        if (length != offsets[1] - offsets[0])
            throw Bad($"{length} bytes for its shape and dtype", $"{offsets[1] - offsets[0]}");
        return new SafetensorsTensor(name, known, shape, dataStart + offsets[0], length) { TypeName = dtype };

        ElementType ReadType(JsonElement value)
        {
            string text = value.ValueKind == JsonValueKind.String ? value.GetString()! : value.ValueKind.ToString();
            dtype = text;
            foreach (ElementType candidate in Enum.GetValues<ElementType>())
            {
                if (candidate != ElementType.Opaque && TypeName(candidate) == text)
                    return candidate;
            }

            if (s_opaque.ContainsKey(text))
                return ElementType.Opaque;
            throw Bad(
                "a dtype of the format (F64, F32, F16, BF16, F8_E4M3, F8_E5M2, I64, I32, U8, BOOL and others)",
                $"'{Printable.Shortened(text)}'"
            );
        }

        long[] ReadNumbers(JsonElement value, string field)
        {
            if (value.ValueKind != JsonValueKind.Array || value.GetArrayLength() > 32)
                throw Bad(
                    $"a list of at most 32 numbers as {field}",
                    value.ValueKind == JsonValueKind.Array ? "a longer one" : value.ValueKind.ToString()
                );
            long[] numbers = new long[value.GetArrayLength()];
            int at = 0;
            foreach (JsonElement item in value.EnumerateArray())
            {
                if (item.ValueKind != JsonValueKind.Number || !item.TryGetInt64(out numbers[at]) || numbers[at] < 0)
                    throw Bad($"whole numbers from 0 as {field}", item.GetRawText());
                at++;
            }

            return numbers;
        }

        CheckpointException Bad(string expected, string came) =>
            new($"Expected {expected} for the tensor '{name}', but '{path}' holds {came}.");
    }

    private static void CheckCover(string path, IEnumerable<SafetensorsTensor> tensors, long dataStart, long fileLength)
    {
        long end = dataStart;
        foreach (SafetensorsTensor tensor in tensors.OrderBy(t => t.Offset).ThenBy(t => t.ByteLength))
        {
            if (tensor.Offset != end)
                throw new CheckpointException(
                    $"Expected the tensor '{tensor.Name}' to start at byte {end}, where the one before ends, but in "
                        + $"'{path}' it starts at {tensor.Offset}."
                );
            end += tensor.ByteLength;
        }

        if (end != fileLength)
            throw new CheckpointException($"Expected {end} bytes as the header says, but '{path}' has {fileLength}.");
    }
}
