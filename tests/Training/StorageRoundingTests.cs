using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Host;
using Xunit;

namespace AfaNative.Tests.Training;

/// <summary>Rounding to 16 bits against the runtime's own conversions, bit by bit.</summary>
public sealed class StorageRoundingTests
{
    [Theory]
    [InlineData(ElementType.Float16)]
    [InlineData(ElementType.BFloat16)]
    public void Every_kind_of_number_rounds_to_the_nearest_ties_to_even(ElementType type)
    {
        var random = new System.Random(1);
        List<float> values =
        [
            0,
            -0f,
            1,
            -1,
            65504,
            65519,
            65520,
            -65520,
            1e30f,
            float.MaxValue,
            float.PositiveInfinity,
            float.NegativeInfinity,
            float.NaN,
            float.Epsilon,
            6e-8f,
            2.9802322e-8f,
            2.98023224e-8f * 1.0001f,
            6.1035156e-5f,
            6.1e-5f,
        ];
        // Every exponent with mantissas at, just below and just above the middle between two neighbours, and at random.
        for (uint exponent = 0; exponent < 255; exponent++)
        {
            foreach (
                uint mantissa in (uint[])
                    [
                        0,
                        1,
                        0xFFF,
                        0x1000,
                        0x1001,
                        0x2FFF,
                        0x3000,
                        0x7FFF,
                        0x8000,
                        0x8001,
                        0x18000,
                        0x7FFFFF,
                        (uint)random.Next(1 << 23),
                        (uint)random.Next(1 << 23),
                    ]
            )
            {
                values.Add(BitConverter.UInt32BitsToSingle(exponent << 23 | mantissa));
                values.Add(BitConverter.UInt32BitsToSingle(0x80000000 | exponent << 23 | mantissa));
            }
        }

        float[] came = [.. values];
        StorageRounding.Round(came, type);
        for (int i = 0; i < came.Length; i++)
        {
            float expected = type == ElementType.Float16 ? (float)(Half)values[i] : BFloat16(values[i]);
            if (float.IsNaN(expected))
                Assert.True(float.IsNaN(came[i]), $"{values[i]:R}");
            else
                Assert.True(
                    BitConverter.SingleToUInt32Bits(expected) == BitConverter.SingleToUInt32Bits(came[i]),
                    $"{values[i]:R} became {came[i]:R} instead of {expected:R}"
                );
        }
    }

    // By exact arithmetic: the neighbours are 16 bits apart, the even one wins a tie.
    private static float BFloat16(float value)
    {
        if (!float.IsFinite(value))
            return value;
        uint bits = BitConverter.SingleToUInt32Bits(value),
            low = bits & 0xFFFF,
            down = bits & 0xFFFF0000;
        bool up = low > 0x8000 || (low == 0x8000 && (down & 0x10000) != 0);
        return BitConverter.UInt32BitsToSingle(up ? down + 0x10000 : down);
    }
}
