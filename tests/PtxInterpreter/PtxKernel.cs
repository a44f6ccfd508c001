using System.Globalization;
using System.Text.RegularExpressions;
using AfaNative.Engine.Core;
using AfaNative.Engine.Training;
using AfaNative.Kernels.MachineCode;

namespace AfaNative.Tests.PtxInterpreter;

/// <summary>
/// A kernel's entry point, parsed and decoded: the instructions ILGPU emits and those of the product's PTX templates.
/// </summary>
public sealed partial class PtxKernel
{
    /// <summary>Where shared memory begins among generic addresses.</summary>
    internal const ulong SharedBase = 0x7F00_0000_0000_0000UL;

    private static readonly string[] s_specials =
    [
        "%tid.x",
        "%tid.y",
        "%tid.z",
        "%ctaid.x",
        "%ctaid.y",
        "%ctaid.z",
        "%ntid.x",
        "%ntid.y",
        "%ntid.z",
        "%nctaid.x",
        "%nctaid.y",
        "%nctaid.z",
        "%laneid",
    ];
    private readonly Dictionary<string, int> _registers = [],
        _parameters = [],
        _labels = [],
        _shared = [];
    private readonly Dictionary<int, ulong> _constants = [];
    private readonly List<PtxInstruction> _code = [];
    private readonly Stack<Dictionary<string, int>> _scopes = new();

    private PtxKernel(string name) => Name = name;

    /// <summary>The entry's name.</summary>
    public string Name { get; }

    /// <summary>Bytes of parameters.</summary>
    public int ParameterBytes { get; private set; }

    /// <summary>Offset and size of every parameter.</summary>
    public List<(int Offset, int Size)> Parameters { get; } = [];

    /// <summary>Bytes of static shared memory.</summary>
    public int SharedBytes { get; private set; }

    internal PtxInstruction[] Code { get; private set; } = [];

    internal int RegisterCount { get; private set; }

    internal IReadOnlyDictionary<int, ulong> Constants => _constants;

    /// <summary>Registers of %tid.x and so on, in that order; -1 where the kernel does not read them.</summary>
    internal int[] Specials { get; private set; } = [];

    /// <summary>Parses the only entry point of a module.</summary>
    public static PtxKernel Parse(string ptx)
    {
        ptx = Comment().Replace(ptx, "");
        Match entry = Entry().Match(ptx);
        if (!entry.Success)
            throw new PtxFaultException("the module has no entry point");
        var kernel = new PtxKernel(entry.Groups[1].Value);
        foreach (Match p in Parameter().Matches(entry.Groups[2].Value))
        {
            int size = p.Groups[4].Success ? Number(p.Groups[4].Value) : PtxArithmetic.Bits(p.Groups[2].Value) / 8,
                align = p.Groups[1].Success ? Number(p.Groups[1].Value) : size;
            int offset = (kernel.ParameterBytes + align - 1) / align * align;
            kernel._parameters[p.Groups[3].Value] = offset;
            kernel.Parameters.Add((offset, size));
            kernel.ParameterBytes = offset + size;
        }

        kernel.Body(ptx, entry.Index + entry.Length);
        return kernel;
    }

    private void Body(string ptx, int at)
    {
        _scopes.Push([]);
        int depth = 1;
        while (depth > 0)
        {
            while (char.IsWhiteSpace(ptx[at]))
                at++;
            if (ptx[at] is '{' or '}')
            {
                // Registers declared in braces are not those of the same name outside.
                if (ptx[at] == '{')
                    _scopes.Push([]);
                else
                    _scopes.Pop();
                depth += ptx[at] == '{' ? 1 : -1;
                at++;
                continue;
            }

            int end = at;
            while (ptx[end] != ';' && !(ptx[end] == ':' && Word().IsMatch(ptx[at..end])))
                end++;
            string statement = Spaces().Replace(ptx[at..end].Trim(), " ");
            bool label = ptx[end] == ':';
            at = end + 1;
            if (label)
                _labels[statement] = _code.Count;
            else if (statement.StartsWith('.'))
                Declare(statement);
            else
                _code.Add(Decode(statement));
        }

        foreach (PtxInstruction i in _code)
        {
            if (i.Label is not null)
                i.Detail = _labels.TryGetValue(i.Label, out int target)
                    ? target
                    : throw new PtxFaultException($"{Name}: no label {i.Label}");
        }

        Code = [.. _code];
        Specials = [.. s_specials.Select(s => _registers.GetValueOrDefault(s, -1))];
    }

    private void Declare(string statement)
    {
        Match shared = SharedArray().Match(statement);
        if (shared.Success)
        {
            int align = Number(shared.Groups[1].Value);
            SharedBytes = (SharedBytes + align - 1) / align * align;
            _shared[shared.Groups[2].Value] = SharedBytes;
            SharedBytes += Number(shared.Groups[3].Value);
        }
        else if (statement.StartsWith(".reg", StringComparison.Ordinal))
        {
            if (_scopes.Count > 1)
            {
                foreach (string name in statement[(statement.IndexOf(' ', 5) + 1)..].Split(','))
                    _scopes.Peek()[name.Trim()] = RegisterCount++;
            }
        }
        else if (
            !statement.StartsWith(".loc", StringComparison.Ordinal) || statement.StartsWith(".local", StringComparison.Ordinal)
        )
        {
            throw new PtxFaultException($"{Name}: '{statement}' is not supported");
        }
    }

    private int Register(string operand)
    {
        operand = operand.Trim();
        foreach (Dictionary<string, int> scope in _scopes)
        {
            if (scope.TryGetValue(operand, out int local))
                return local;
        }

        if (_registers.TryGetValue(operand, out int known))
            return known;
        int register = _registers[operand] = RegisterCount++;
        if (operand.StartsWith("0f", StringComparison.OrdinalIgnoreCase))
            _constants[register] = ulong.Parse(operand.AsSpan(2), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        else if (operand.StartsWith("0x", StringComparison.OrdinalIgnoreCase))
            _constants[register] = ulong.Parse(operand.AsSpan(2), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        else if (char.IsDigit(operand[0]))
            _constants[register] = ulong.Parse(operand.TrimEnd('U'), CultureInfo.InvariantCulture);
        else if (operand[0] == '-')
            _constants[register] = (ulong)long.Parse(operand, CultureInfo.InvariantCulture);
        else if (_shared.TryGetValue(operand, out int offset))
            _constants[register] = (ulong)offset;
        else if (operand[0] != '%' || (operand.Contains('.') && !s_specials.Contains(operand)))
            throw new PtxFaultException($"{Name}: operand '{operand}' is not known");
        return register;
    }

    private PtxInstruction Decode(string statement)
    {
        var i = new PtxInstruction { Text = statement };
        string rest = statement;
        if (rest[0] == '@')
        {
            int space = rest.IndexOf(' ');
            i.Negated = rest[1] == '!';
            i.Predicate = Register(rest[(i.Negated ? 2 : 1)..space]);
            rest = rest[(space + 1)..];
        }

        int first = rest.IndexOf(' ');
        string[] parts = (first < 0 ? rest : rest[..first]).Split('.');
        List<string> operands = first < 0 ? [] : Split(rest[(first + 1)..]);
        if (!Special(i, parts, operands) && !Arithmetic(i, parts, operands))
            throw new PtxFaultException($"{Name}: instruction '{statement}' is not supported");
        return i;
    }

    private bool Arithmetic(PtxInstruction i, string[] parts, List<string> operands)
    {
        if (operands.Count is < 2 or > 4)
            return false;
        if (parts[0] == "mov" && (operands[0][0] == '{' || operands[1][0] == '{'))
        {
            i.Op = operands[0][0] == '{' ? PtxOp.UnpackHalves : PtxOp.PackHalves;
            i.Destinations = Vector(operands[0]);
            i.Sources = Vector(operands[1]);
            return parts[^1] == "b32";
        }

        i.Destinations = [Register(operands[0])];
        i.Sources = [.. operands.Skip(1).Select(Register)];
        switch (operands.Count)
        {
            case 2 when parts[0] == "cvta":
                bool shared = parts.Contains("shared"),
                    to = parts.Contains("to");
                i.Unary =
                    !shared ? static a => a
                    : to ? static a => a - SharedBase
                    : static a => a + SharedBase;
                i.Op = PtxOp.Unary;
                return true;
            case 2:
                i.Op = PtxOp.Unary;
                return (i.Unary = PtxArithmetic.UnaryOf(parts[0], parts)) is not null;
            case 3:
                i.Op = PtxOp.Binary;
                return (i.Binary = PtxArithmetic.BinaryOf(parts[0], parts)) is not null;
            default:
                i.Op = PtxOp.Ternary;
                return (i.Ternary = PtxArithmetic.TernaryOf(parts[0], parts)) is not null;
        }
    }

    private bool Special(PtxInstruction i, string[] parts, List<string> o)
    {
        string type = parts[^1];
        i.Space =
            parts.Contains("shared") ? PtxSpace.Shared
            : parts.Contains("global") ? PtxSpace.Global
            : PtxSpace.Generic;
        switch (parts[0])
        {
            case "bra":
                (i.Op, i.Label) = (PtxOp.Branch, o[0]);
                return true;
            case "ret" or "exit":
                i.Op = PtxOp.Return;
                return true;
            case "bar" when parts[1] == "warp":
                i.Op = PtxOp.WarpBarrier;
                return o[0].Equals("0xffffffff", StringComparison.OrdinalIgnoreCase);
            case "bar":
                i.Op = PtxOp.Barrier;
                return parts[1] == "sync" && o.Count == 1 && o[0] == "0";
            case "membar" or "fence":
                i.Op = PtxOp.Nothing;
                return true;
            case "ld" when parts[1] == "param":
                (string symbol, long offset) = Address(o[1]);
                i.Op = PtxOp.LoadParameter;
                i.Offset = _parameters[symbol] + offset;
                (i.Bytes, i.SignExtend, i.Destinations) = (PtxArithmetic.Bits(type) / 8, type[0] == 's', [Register(o[0])]);
                return true;
            case "ld":
                i.Op = PtxOp.Load;
                (i.Bytes, i.SignExtend, i.Destinations) = (PtxArithmetic.Bits(type) / 8, type[0] == 's', Vector(o[0]));
                (symbol, i.Offset) = Address(o[1]);
                i.Sources = [Register(symbol)];
                return true;
            case "st":
                i.Op = PtxOp.Store;
                i.Bytes = PtxArithmetic.Bits(type) / 8;
                (symbol, i.Offset) = Address(o[0]);
                i.Sources = [Register(symbol), .. Vector(o[1])];
                return true;
            case "red" or "atom" when parts.Contains("add") && type == "f32":
                i.Op = PtxOp.AtomicAdd;
                i.Bytes = 4;
                (symbol, i.Offset) = Address(o[^2]);
                i.Sources = [Register(symbol), Register(o[^1])];
                if (parts[0] == "atom")
                    i.Destinations = [Register(o[0])];
                return true;
            case "cp" when parts.Length > 2 && parts[2] == "commit_group":
                i.Op = PtxOp.CommitCopies;
                return true;
            case "cp" when parts.Length > 2 && parts[2].StartsWith("wait", StringComparison.Ordinal):
                (i.Op, i.Detail, i.Flag) = (PtxOp.WaitCopies, parts[2] == "wait_all" ? 0 : Number(o[0]), parts[2] == "wait_all");
                return true;
            case "cp":
                i.Op = PtxOp.CopyAsync;
                (symbol, i.Offset) = Address(o[0]);
                (string second, i.SecondOffset) = Address(o[1]);
                i.Bytes = Number(o[2]);
                i.Sources =
                    o.Count > 3 ? [Register(symbol), Register(second), Register(o[3])] : [Register(symbol), Register(second)];
                return true;
            case "shfl":
                i.Op = PtxOp.Shuffle;
                i.Detail = Array.IndexOf(["bfly", "down", "up", "idx"], parts[2]);
                i.Destinations = [Register(o[0].Split('|')[0])];
                i.Sources = [Register(o[1]), Register(o[2]), Register(o[3])];
                return i.Detail >= 0;
            case "ldmatrix":
                i.Op = PtxOp.LoadMatrix;
                i.Flag = parts.Contains("trans");
                i.Destinations = Vector(o[0]);
                i.Detail = i.Destinations.Length;
                (symbol, i.Offset) = Address(o[1]);
                i.Sources = [Register(symbol)];
                return true;
            case "mma":
                i.Op = PtxOp.Mma;
                i.Flag = parts.Contains("bf16");
                i.Destinations = Vector(o[0]);
                i.Sources = [.. Vector(o[1]), .. Vector(o[2]), .. Vector(o[3])];
                return parts.Contains("m16n8k16") && i.Sources.Length == 10;
            default:
                return false;
        }
    }

    private int[] Vector(string operand) => [.. operand.Trim('{', '}', ' ').Split(',').Select(Register)];

    // "[%rd1+16]" or "[symbol]".
    private static (string Symbol, long Offset) Address(string operand)
    {
        string inner = operand.Trim('[', ']', ' ');
        int plus = inner.IndexOf('+');
        return plus < 0 ? (inner, 0) : (inner[..plus].Trim(), long.Parse(inner.AsSpan(plus + 1), CultureInfo.InvariantCulture));
    }

    private static List<string> Split(string operands)
    {
        var parts = new List<string>();
        int depth = 0,
            start = 0;
        for (int i = 0; i <= operands.Length; i++)
        {
            if (i < operands.Length && operands[i] == '{')
                depth++;
            if (i < operands.Length && operands[i] == '}')
                depth--;
            if (i == operands.Length || (operands[i] == ',' && depth == 0))
            {
                parts.Add(operands[start..i].Trim());
                start = i + 1;
            }
        }

        return parts;
    }

    private static int Number(string text) => int.Parse(text, CultureInfo.InvariantCulture);

    [GeneratedRegex(@"//[^\n]*")]
    private static partial Regex Comment();

    [GeneratedRegex(@"\.entry\s+(\w+)\s*\(([^)]*)\)[^{]*\{")]
    private static partial Regex Entry();

    [GeneratedRegex(@"\.param\s+(?:\.align (\d+) )?\.(\w+)\s+(\w+)(?:\[(\d+)\])?")]
    private static partial Regex Parameter();

    [GeneratedRegex(@"^\w+$")]
    private static partial Regex Word();

    [GeneratedRegex(@"\s+")]
    private static partial Regex Spaces();

    [GeneratedRegex(@"^\.shared \.align (\d+) \.b8 (\w+)\[(\d+)\]")]
    private static partial Regex SharedArray();
}
