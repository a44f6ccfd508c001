using System.Buffers.Binary;
using System.Numerics;

namespace AfaNative.Kernels.MachineCode;

/// <summary>The general registers a leaf function of the System V convention may overwrite, and the stack pointer.</summary>
internal enum Register
{
    Rax = 0,
    Rcx = 1,
    Rdx = 2,
    Rsp = 4,
    Rsi = 6,
    Rdi = 7,
    R8 = 8,
    R9 = 9,
    R10 = 10,
    R11 = 11,
}

/// <summary>base + index * scale + displacement.</summary>
internal readonly record struct Address(Register Base, int Displacement = 0, Register? Index = null, int Scale = 1);

/// <summary>
/// Encodes the few x86-64 instructions the generated kernels are made of (Intel 64 and IA-32 Architectures Software Developer's
/// Manual, volume 2:
/// 2.1 ModRM and SIB, 2.7 EVEX with its compressed displacements). All vectors are 512 bits wide.
/// </summary>
internal sealed class Assembler
{
    private readonly List<byte> _code = [];
    private readonly List<int> _labels = [];
    private readonly List<(int At, int Label)> _jumps = [];

    private enum OpcodeMap
    {
        M0F = 1,
        M0F38 = 2,
        M0F3A = 3,
    }

    private enum Mandatory
    {
        None = 0,
        P66 = 1,
        PF3 = 2,
        PF2 = 3,
    }

    /// <summary>Sixteen float32, unaligned.</summary>
    public void Load(int z, Address from) => Vector(OpcodeMap.M0F, Mandatory.None, 0x10, z, 0, from, 64);

    /// <summary>Sixteen float32, unaligned.</summary>
    public void Store(Address to, int z) => Vector(OpcodeMap.M0F, Mandatory.None, 0x11, z, 0, to, 64);

    /// <summary>One 32-bit value in every lane.</summary>
    public void Broadcast(int z, Address from) => Vector(OpcodeMap.M0F38, Mandatory.P66, 0x18, z, 0, from, 4);

    /// <summary>
    /// The same through the load unit alone (VPBROADCASTD); VBROADCASTSS takes one of the multiplying units as well on Zen 4.
    /// </summary>
    public void BroadcastInteger(int z, Address from) => Vector(OpcodeMap.M0F38, Mandatory.P66, 0x58, z, 0, from, 4);

    /// <summary>Sixteen float16 to float32 (VCVTPH2PS).</summary>
    public void WidenHalf(int z, Address from) => Vector(OpcodeMap.M0F38, Mandatory.P66, 0x13, z, 0, from, 32);

    /// <summary>z = 0.</summary>
    public void Clear(int z) => Vector(OpcodeMap.M0F, Mandatory.P66, 0xEF, z, z, z);

    /// <summary>z += sixteen float32.</summary>
    public void Add(int z, Address other) => Vector(OpcodeMap.M0F, Mandatory.None, 0x58, z, z, other, 64);

    /// <summary>z = a + b.</summary>
    public void Add(int z, int a, int b) => Vector(OpcodeMap.M0F, Mandatory.None, 0x58, z, a, b);

    /// <summary>z = a + one float32, the same in every lane.</summary>
    public void AddOne(int z, int a, Address one) => Vector(OpcodeMap.M0F, Mandatory.None, 0x58, z, a, one, 4, broadcast: true);

    /// <summary>z = a + one 32-bit whole number, the same in every lane.</summary>
    public void AddIntegerOne(int z, int a, Address one) =>
        Vector(OpcodeMap.M0F, Mandatory.P66, 0xFE, z, a, one, 4, broadcast: true);

    /// <summary>z = a - one float32, the same in every lane.</summary>
    public void SubtractOne(int z, int a, Address one) =>
        Vector(OpcodeMap.M0F, Mandatory.None, 0x5C, z, a, one, 4, broadcast: true);

    /// <summary>z = a - b.</summary>
    public void Subtract(int z, int a, int b) => Vector(OpcodeMap.M0F, Mandatory.None, 0x5C, z, a, b);

    /// <summary>z *= sixteen float32.</summary>
    public void Multiply(int z, int other) => Vector(OpcodeMap.M0F, Mandatory.None, 0x59, z, z, other);

    /// <summary>z += a * b, rounded once.</summary>
    public void MultiplyAdd(int z, int a, int b) => Vector(OpcodeMap.M0F38, Mandatory.P66, 0xB8, z, a, b);

    /// <summary>z += a * one float32, rounded once.</summary>
    public void MultiplyAddOne(int z, int a, Address one) =>
        Vector(OpcodeMap.M0F38, Mandatory.P66, 0xB8, z, a, one, 4, broadcast: true);

    /// <summary>z = z * a + b, rounded once.</summary>
    public void MultiplyThenAdd(int z, int a, int b) => Vector(OpcodeMap.M0F38, Mandatory.P66, 0xA8, z, a, b);

    /// <summary>z = z * a + sixteen float32, rounded once.</summary>
    public void MultiplyThenAdd(int z, int a, Address other) => Vector(OpcodeMap.M0F38, Mandatory.P66, 0xA8, z, a, other, 64);

    /// <summary>z = z * a + one float32, rounded once.</summary>
    public void MultiplyThenAddOne(int z, int a, Address one) =>
        Vector(OpcodeMap.M0F38, Mandatory.P66, 0xA8, z, a, one, 4, broadcast: true);

    /// <summary>z = a's nearest whole numbers, ties to even (VRNDSCALEPS).</summary>
    public void Round(int z, int a)
    {
        Vector(OpcodeMap.M0F3A, Mandatory.P66, 0x08, z, 0, a);
        Emit(0);
    }

    /// <summary>z = a * 2^floor(b) (VSCALEFPS).</summary>
    public void ScaleByPower(int z, int a, int b) => Vector(OpcodeMap.M0F38, Mandatory.P66, 0x2C, z, a, b);

    /// <summary>z = a.</summary>
    public void Copy(int z, int a) => Vector(OpcodeMap.M0F, Mandatory.None, 0x28, z, 0, a);

    /// <summary>z += the dot products of pairs of bfloat16 (VDPBF16PS).</summary>
    public void DotBFloat16(int z, int a, int b) => Vector(OpcodeMap.M0F38, Mandatory.PF3, 0x52, z, a, b);

    public void Move(Register to, Register from) => Integer(0x8B, (int)to, (int)from);

    public void Move(Register to, Address from) => Integer(0x8B, (int)to, from);

    public void Move(Address to, Register from) => Integer(0x89, (int)from, to);

    public void LoadAddress(Register to, Address from) => Integer(0x8D, (int)to, from);

    public void Add(Register to, Register other) => Integer(0x03, (int)to, (int)other);

    public void Add(Register to, Address other) => Integer(0x03, (int)to, other);

    public void Add(Register to, int value) => Immediate(0, to, value);

    public void Subtract(Register to, int value) => Immediate(5, to, value);

    /// <summary>vzeroupper and ret: the caller may go on with narrow vectors at full speed.</summary>
    public void Return() => Emit(0xC5, 0xF8, 0x77, 0xC3);

    public int NewLabel()
    {
        _labels.Add(-1);
        return _labels.Count - 1;
    }

    public void Place(int label) => _labels[label] = _code.Count;

    /// <summary>Jumps if the last subtraction's result was negative.</summary>
    public void JumpIfLess(int label) => Jump(0x8C, label);

    /// <summary>Jumps if the last subtraction's result was not negative.</summary>
    public void JumpIfNotLess(int label) => Jump(0x8D, label);

    /// <summary>Jumps if the last result was zero.</summary>
    public void JumpIfZero(int label) => Jump(0x84, label);

    /// <summary>Jumps if the last result was not zero.</summary>
    public void JumpIfNotZero(int label) => Jump(0x85, label);

    /// <summary>The finished code, jumps resolved.</summary>
    public byte[] ToArray()
    {
        byte[] code = [.. _code];
        foreach ((int at, int label) in _jumps)
            BinaryPrimitives.WriteInt32LittleEndian(code.AsSpan(at), _labels[label] - at - 4);
        return code;
    }

    private void Emit(params ReadOnlySpan<byte> bytes) => _code.AddRange(bytes);

    private void Emit32(int value)
    {
        for (int i = 0; i < 4; i++)
            _code.Add((byte)(value >> (8 * i)));
    }

    private void Jump(byte condition, int label)
    {
        Emit(0x0F, condition);
        _jumps.Add((_code.Count, label));
        Emit32(0);
    }

    private void Rex(int register, int index, int @base) =>
        Emit((byte)(0x48 | (register >> 3 & 1) << 2 | (index >> 3 & 1) << 1 | (@base >> 3 & 1)));

    private void Integer(byte opcode, int register, int other)
    {
        Rex(register, 0, other);
        Emit(opcode, (byte)(0xC0 | (register & 7) << 3 | (other & 7)));
    }

    private void Integer(byte opcode, int register, Address address)
    {
        Rex(register, (int)(address.Index ?? 0), (int)address.Base);
        Emit(opcode);
        Memory(register, address, 1);
    }

    private void Immediate(int extension, Register to, int value)
    {
        Rex(0, 0, (int)to);
        byte modRm = (byte)(0xC0 | extension << 3 | ((int)to & 7));
        if (value is >= sbyte.MinValue and <= sbyte.MaxValue)
        {
            Emit(0x83, modRm, (byte)value);
            return;
        }

        Emit(0x81, modRm);
        Emit32(value);
    }

    private void Vector(OpcodeMap map, Mandatory prefix, byte opcode, int z, int first, int second)
    {
        Evex(map, prefix, z, first, second >> 4, second >> 3);
        Emit(opcode, (byte)(0xC0 | (z & 7) << 3 | (second & 7)));
    }

    private void Vector(
        OpcodeMap map,
        Mandatory prefix,
        byte opcode,
        int z,
        int first,
        Address second,
        int unit,
        bool broadcast = false
    )
    {
        Evex(map, prefix, z, first, (int)(second.Index ?? 0) >> 3, (int)second.Base >> 3, broadcast);
        Emit(opcode);
        Memory(z, second, unit);
    }

    // W = 0, 512 bits, no mask. Register numbers' high bits are stored inverted.
    private void Evex(OpcodeMap map, Mandatory prefix, int z, int first, int x, int b, bool broadcast = false) =>
        Emit(
            0x62,
            (byte)((~z >> 3 & 1) << 7 | (~x & 1) << 6 | (~b & 1) << 5 | (~z >> 4 & 1) << 4 | (int)map),
            (byte)((~first & 15) << 3 | 4 | (int)prefix),
            (byte)(0x40 | (broadcast ? 0x10 : 0) | (~first >> 4 & 1) << 3)
        );

    // An 8-bit displacement counts units: the bytes a vector instruction touches.
    private void Memory(int register, Address address, int unit)
    {
        int @base = (int)address.Base & 7;
        bool sib = address.Index is not null || @base == 4;
        // Without displacement, a base of 5 would mean an address relative to the instruction.
        int mode =
            address.Displacement == 0 && @base != 5 ? 0
            : address.Displacement % unit == 0 && address.Displacement / unit is >= sbyte.MinValue and <= sbyte.MaxValue ? 1
            : 2;
        Emit((byte)(mode << 6 | (register & 7) << 3 | (sib ? 4 : @base)));
        if (sib)
            Emit(
                (byte)(
                    BitOperations.Log2((uint)address.Scale) << 6 | (address.Index is { } index ? (int)index & 7 : 4) << 3 | @base
                )
            );
        if (mode == 1)
            Emit((byte)(address.Displacement / unit));
        else if (mode == 2)
            Emit32(address.Displacement);
    }
}
