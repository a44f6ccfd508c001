using AfaNative.Engine.Core;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Checkpoints;

/// <summary>
/// Weights of eight bits: E4M3FN (no infinities, NaN 0x7F and 0xFF) and E5M2 as PyTorch writes them, and the factors ComfyUI
/// keeps beside "scaled" ones.
/// </summary>
internal static class Float8
{
    private static readonly float[] s_e4M3 = [.. Enumerable.Range(0, 256).Select(c => Value(c, 4))],
        s_e5M2 = [.. Enumerable.Range(0, 256).Select(c => Value(c, 5))];

    // What ComfyUI and others call the factor of a weight, and the one its inputs were meant to be divided by, which changes no
    // weight.
    private static readonly string[] s_factors = [".scale_weight", ".weight_scale"],
        s_others = [".scale_input", ".input_scale", ".comfy_quant"];

    /// <summary>The values of all 256 codes, each exact in float16.</summary>
    public static ReadOnlySpan<float> Values(ElementType type) => type == ElementType.Float8E4M3 ? s_e4M3 : s_e5M2;

    /// <summary>What a weight's codes are multiplied by: 1 where the file has no factor for it.</summary>
    /// <exception cref="CheckpointException">The factor is no single finite number.</exception>
    public static float Scale(SafetensorsFile file, SafetensorsTensor tensor)
    {
        if (Factor(file, tensor) is not { } factor)
            return 1;
        float scale =
            factor.ElementCount == 1 && (factor.Type.IsWeight() || factor.Type == ElementType.Float64)
                ? file.ReadFloat32(factor.Name)[0]
                : float.NaN;
        if (float.IsFinite(scale))
            return scale;
        throw new CheckpointException(
            $"{file.Path}: the factor '{factor.Name}' of scaled float8 weights should be one finite number, but it is "
                + $"{factor.TypeName} [{string.Join(", ", factor.Shape)}]."
        );
    }

    /// <summary>
    /// The type a tensor's values are held and written in: as <see cref="ElementTypes.Held"/>, float32 where codes are multiplied
    /// by a factor.
    /// </summary>
    public static ElementType Held(SafetensorsFile file, SafetensorsTensor tensor) =>
        tensor.Type is ElementType.Float8E4M3 or ElementType.Float8E5M2 && Factor(file, tensor) is not null
            ? ElementType.Float32
            : tensor.Type.Held();

    /// <summary>Whether a tensor only says how others are scaled.</summary>
    public static bool IsFactor(string name) =>
        name.EndsWith("scaled_fp8", StringComparison.Ordinal)
        || s_factors.Concat(s_others).Any(s => name.EndsWith(s, StringComparison.Ordinal));

    private static SafetensorsTensor? Factor(SafetensorsFile file, SafetensorsTensor tensor)
    {
        if (!tensor.Name.EndsWith(".weight", StringComparison.Ordinal))
            return null;
        string stem = tensor.Name[..^".weight".Length];
        foreach (string suffix in s_factors)
        {
            if (file.Tensors.TryGetValue(stem + suffix, out SafetensorsTensor? factor))
                return factor;
        }

        return null;
    }

    private static float Value(int code, int exponentBits)
    {
        int mantissaBits = 7 - exponentBits,
            bias = (1 << (exponentBits - 1)) - 1;
        int exponent = code >> mantissaBits & ((1 << exponentBits) - 1),
            mantissa = code & ((1 << mantissaBits) - 1);
        float sign = code >= 128 ? -1 : 1;
        bool last = exponent == (1 << exponentBits) - 1;
        if (exponentBits == 5 && last)
            return mantissa == 0 ? sign * float.PositiveInfinity : float.NaN;
        if (exponentBits == 4 && last && mantissa == 7)
            return float.NaN;
        float fraction = mantissa / (float)(1 << mantissaBits);
        return sign * (exponent == 0 ? MathF.ScaleB(fraction, 1 - bias) : MathF.ScaleB(1 + fraction, exponent - bias));
    }
}
