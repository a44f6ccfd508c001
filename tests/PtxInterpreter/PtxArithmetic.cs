using System.Globalization;

namespace AfaNative.Tests.PtxInterpreter;

/// <summary>What PTX's arithmetic computes, on registers of 64 bits that hold values of any type.</summary>
internal static class PtxArithmetic
{
    public static float F(ulong bits) => BitConverter.UInt32BitsToSingle((uint)bits);

    public static ulong F(float value) => BitConverter.SingleToUInt32Bits(value);

    public static float Half(ulong bits) => (float)BitConverter.UInt16BitsToHalf((ushort)bits);

    public static float BFloat(ulong bits) => BitConverter.UInt32BitsToSingle((uint)(ushort)bits << 16);

    public static ushort ToHalf(float value) => BitConverter.HalfToUInt16Bits((System.Half)value);

    /// <summary>To nearest, ties to even.</summary>
    public static ushort ToBFloat(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        return float.IsNaN(value) ? (ushort)0x7FFF : (ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
    }

    public static int Bits(string type) => type == "pred" ? 1 : int.Parse(type.AsSpan(1), CultureInfo.InvariantCulture);

    /// <summary>Cuts values to a type and extends them to 64 bits as the type is signed or not.</summary>
    private readonly struct Width(string type)
    {
        private readonly bool _signed = type[0] == 's';
        private readonly int _unused = int.TryParse(type.AsSpan(1), out int bits) && bits is > 1 and < 64 ? 64 - bits : 0;

        public ulong Cut(ulong value) => _signed ? (ulong)((long)(value << _unused) >> _unused) : value << _unused >> _unused;

        public long Signed(ulong value) => (long)Cut(value);
    }

    public static Func<ulong, ulong>? UnaryOf(string op, string[] parts)
    {
        string type = parts[^1];
        var width = new Width(type);
        switch (op)
        {
            case "mov":
                return static a => a;
            case "neg":
                return type == "f32" ? static a => a ^ 0x80000000u : a => width.Cut(0 - a);
            case "abs":
                return type == "f32" ? static a => a & 0x7FFFFFFFu : a => width.Cut((ulong)Math.Abs(width.Signed(a)));
            case "not":
                return type == "pred" ? static a => a == 0 ? 1ul : 0 : a => width.Cut(~a);
            case "rcp":
                return static a => F(1 / F(a));
            case "sqrt":
                return static a => F(MathF.Sqrt(F(a)));
            case "rsqrt":
                return static a => F(1 / MathF.Sqrt(F(a)));
            case "ex2":
                return static a => F(MathF.Pow(2, F(a)));
            case "lg2":
                return static a => F(MathF.Log2(F(a)));
            case "sin":
                return static a => F(MathF.Sin(F(a)));
            case "cos":
                return static a => F(MathF.Cos(F(a)));
            case "cvta":
                return null;
            case "cvt":
                return Convert(parts);
            default:
                return null;
        }
    }

    public static Func<ulong, ulong, ulong>? BinaryOf(string op, string[] parts)
    {
        string type = parts[^1];
        bool real = type == "f32",
            signed = type[0] == 's';
        Width width = new(type),
            plain = new("u" + type[1..]);
        int bits = type[0] is 's' or 'u' or 'b' ? Bits(type) : 32;
        switch (op)
        {
            case "add":
                return real ? static (a, b) => F(F(a) + F(b)) : (a, b) => width.Cut(a + b);
            case "sub":
                return real ? static (a, b) => F(F(a) - F(b)) : (a, b) => width.Cut(a - b);
            case "mul" when real:
                return static (a, b) => F(F(a) * F(b));
            case "mul" when parts.Contains("wide"):
                return signed ? (a, b) => (ulong)(width.Signed(a) * width.Signed(b)) : (a, b) => width.Cut(a) * width.Cut(b);
            case "mul" when parts.Contains("hi"):
                return signed
                    ? static (a, b) => (uint)(((long)(int)a * (int)b) >> 32)
                    : static (a, b) => ((ulong)(uint)a * (uint)b) >> 32;
            case "mul":
                return (a, b) => width.Cut(a * b);
            case "div":
                return real ? static (a, b) => F(F(a) / F(b))
                    : signed ? (a, b) => width.Cut((ulong)(width.Signed(a) / Divisor(width.Signed(b))))
                    : (a, b) => width.Cut(a) / (ulong)Divisor(width.Signed(b));
            case "rem":
                return signed
                    ? (a, b) => width.Cut((ulong)(width.Signed(a) % Divisor(width.Signed(b))))
                    : (a, b) => width.Cut(a) % (ulong)Divisor(width.Signed(b));
            case "min":
                return real ? static (a, b) => F(Pick(F(a), F(b), F(a) < F(b)))
                    : signed ? (a, b) => width.Signed(a) < width.Signed(b) ? a : b
                    : (a, b) => width.Cut(a) < width.Cut(b) ? a : b;
            case "max":
                return real ? static (a, b) => F(Pick(F(a), F(b), F(a) > F(b)))
                    : signed ? (a, b) => width.Signed(a) > width.Signed(b) ? a : b
                    : (a, b) => width.Cut(a) > width.Cut(b) ? a : b;
            case "and":
                return static (a, b) => a & b;
            case "or":
                return static (a, b) => a | b;
            case "xor":
                return static (a, b) => a ^ b;
            case "shl":
                return (a, b) => (uint)b >= bits ? 0 : width.Cut(a << (int)b);
            case "shr":
                return signed
                    ? (a, b) => width.Cut((ulong)(width.Signed(a) >> (int)Math.Min((uint)b, (uint)bits - 1)))
                    : (a, b) => (uint)b >= bits ? 0 : plain.Cut(a) >> (int)b;
            case "setp":
                return Compare(parts[1], type);
            case "cvt" when parts.Contains("f16x2"):
                return static (a, b) => ((ulong)ToHalf(F(a)) << 16) | ToHalf(F(b));
            case "cvt" when parts.Contains("bf16x2"):
                return static (a, b) => ((ulong)ToBFloat(F(a)) << 16) | ToBFloat(F(b));
            default:
                return null;
        }
    }

    public static Func<ulong, ulong, ulong, ulong>? TernaryOf(string op, string[] parts)
    {
        string type = parts[^1];
        var width = new Width(type);
        switch (op)
        {
            case "selp":
                return static (a, b, p) => p != 0 ? a : b;
            case "fma":
                return static (a, b, c) => F(MathF.FusedMultiplyAdd(F(a), F(b), F(c)));
            case "mad" when parts.Contains("wide"):
                return type[0] == 's'
                    ? (a, b, c) => (ulong)(width.Signed(a) * width.Signed(b)) + c
                    : (a, b, c) => width.Cut(a) * width.Cut(b) + c;
            case "mad" when parts.Contains("lo"):
                return (a, b, c) => width.Cut(a * b + c);
            default:
                return null;
        }
    }

    private static long Divisor(long value) => value != 0 ? value : throw new PtxFaultException("division by zero");

    // A NaN loses against a number.
    private static float Pick(float a, float b, bool first) =>
        float.IsNaN(a) ? b
        : float.IsNaN(b) || first ? a
        : b;

    private static Func<ulong, ulong, ulong> Compare(string how, string type)
    {
        if (type == "f32")
        {
            Func<float, float, bool> real = how switch
            {
                "eq" => static (a, b) => a == b,
                "ne" => static (a, b) => a != b && !float.IsNaN(a) && !float.IsNaN(b),
                "lt" => static (a, b) => a < b,
                "le" => static (a, b) => a <= b,
                "gt" => static (a, b) => a > b,
                "ge" => static (a, b) => a >= b,
                "equ" => static (a, b) => !(a < b) && !(a > b),
                "neu" => static (a, b) => a != b,
                "ltu" => static (a, b) => !(a >= b),
                "leu" => static (a, b) => !(a > b),
                "gtu" => static (a, b) => !(a <= b),
                "geu" => static (a, b) => !(a < b),
                _ => throw new PtxFaultException($"comparison {how} is not known"),
            };
            return (a, b) => real(F(a), F(b)) ? 1ul : 0;
        }

        Width width = new(type),
            plain = new("u" + type[1..]);
        return how switch
        {
            "eq" => (a, b) => plain.Cut(a) == plain.Cut(b) ? 1ul : 0,
            "ne" => (a, b) => plain.Cut(a) != plain.Cut(b) ? 1ul : 0,
            "lt" when type[0] == 's' => (a, b) => width.Signed(a) < width.Signed(b) ? 1ul : 0,
            "le" when type[0] == 's' => (a, b) => width.Signed(a) <= width.Signed(b) ? 1ul : 0,
            "gt" when type[0] == 's' => (a, b) => width.Signed(a) > width.Signed(b) ? 1ul : 0,
            "ge" when type[0] == 's' => (a, b) => width.Signed(a) >= width.Signed(b) ? 1ul : 0,
            "lt" or "lo" => (a, b) => width.Cut(a) < width.Cut(b) ? 1ul : 0,
            "le" or "ls" => (a, b) => width.Cut(a) <= width.Cut(b) ? 1ul : 0,
            "gt" or "hi" => (a, b) => width.Cut(a) > width.Cut(b) ? 1ul : 0,
            "ge" or "hs" => (a, b) => width.Cut(a) >= width.Cut(b) ? 1ul : 0,
            _ => throw new PtxFaultException($"comparison {how} is not known"),
        };
    }

    private static Func<ulong, ulong>? Convert(string[] parts)
    {
        string to = parts[^2],
            from = parts[^1];
        Width before = new(from),
            after = new(to);
        Func<ulong, double>? read = from switch
        {
            "f32" => static a => F(a),
            "f16" => static a => Half(a),
            "bf16" => static a => BFloat(a),
            _ when from[0] == 's' => a => before.Signed(a),
            _ when from[0] is 'u' or 'b' => a => before.Cut(a),
            _ => null,
        };
        if (read is null)
            return null;
        switch (to)
        {
            case "f32":
                // From integers rounding is to float32 directly: up to 2^53 the detour over double is exact.
                return from == "f32"
                    ? Round(parts) is { } round
                        ? a => F((float)round(F(a)))
                        : static a => a
                    : a => F((float)read(a));
            case "f16":
                return a => ToHalf((float)read(a));
            case "bf16":
                return a => ToBFloat((float)read(a));
        }

        if (to[0] is not ('s' or 'u' or 'b'))
            return null;
        if (from[0] is 's' or 'u')
            return a => after.Cut(before.Cut(a));
        Func<double, double> whole = Round(parts) ?? Math.Truncate;
        int bits = Bits(to);
        double least = to[0] == 's' ? -Math.Pow(2, bits - 1) : 0,
            most = to[0] == 's' ? Math.Pow(2, bits - 1) - 1 : Math.Pow(2, bits) - 1;
        return a =>
        {
            double value = read(a);
            return double.IsNaN(value) ? 0
                : to[0] == 's' ? after.Cut((ulong)(long)Math.Clamp(whole(value), least, most))
                : (ulong)Math.Clamp(whole(value), least, most);
        };
    }

    private static Func<double, double>? Round(string[] parts) =>
        parts.Contains("rzi") ? Math.Truncate
        : parts.Contains("rmi") ? Math.Floor
        : parts.Contains("rpi") ? Math.Ceiling
        : parts.Contains("rni") ? static x => Math.Round(x, MidpointRounding.ToEven)
        : null;
}
