using AfaNative.Kernels.MachineCode;
using static AfaNative.Kernels.MachineCode.Register;

namespace AfaNative.Kernels.MatrixMultiply;

/// <summary>
/// How generated tiles reach their up to 12 rows of a: rdi, r10 (row 5) and r11 (row 10), plus 0, 1, 2, 3 (rax) or 4 times the
/// stride in rsi.
/// </summary>
internal static class TileRows
{
    /// <summary>rax = three strides.</summary>
    public static void Begin(Assembler code) => code.LoadAddress(Rax, new(Rsi, 0, Rsi, 2));

    /// <summary>r10 and r11 from rdi, as far as <paramref name="rows"/> need them.</summary>
    public static void Place(Assembler code, int rows)
    {
        if (rows > 5)
        {
            code.LoadAddress(R10, new(Rdi, 0, Rsi, 4));
            code.Add(R10, Rsi);
        }

        if (rows > 10)
        {
            code.LoadAddress(R11, new(R10, 0, Rsi, 4));
            code.Add(R11, Rsi);
        }
    }

    /// <summary>All rows by some bytes.</summary>
    public static void Advance(Assembler code, int rows, int bytes)
    {
        code.Add(Rdi, bytes);
        if (rows > 5)
            code.Add(R10, bytes);
        if (rows > 10)
            code.Add(R11, bytes);
    }

    /// <summary>Where row <paramref name="r"/> is, so many bytes further on.</summary>
    public static Address At(int r, int displacement)
    {
        Register start =
            r < 5 ? Rdi
            : r < 10 ? R10
            : R11;
        return (r % 5) switch
        {
            0 => new(start, displacement),
            1 => new(start, displacement, Rsi),
            2 => new(start, displacement, Rsi, 2),
            3 => new(start, displacement, Rax),
            _ => new(start, displacement, Rsi, 4),
        };
    }
}
