using System.Runtime.InteropServices;
using Xunit;

namespace AfaNative.Tests.PtxInterpreter;

/// <summary>
/// The interpreter is only worth something if it fails where hardware would go wrong: every check is provoked once, beside a
/// sound twin.
/// </summary>
public sealed unsafe class PtxInterpreterTests : IDisposable
{
    private const int Bytes = 4096;
    private readonly byte* _memory = (byte*)NativeMemory.AlignedAlloc(Bytes, 256);
    private readonly PtxMemory _regions = new();

    public PtxInterpreterTests()
    {
        new Span<byte>(_memory, Bytes).Clear();
        _regions.Add((ulong)_memory, Bytes, "the buffer");
    }

    private Span<uint> Words => new(_memory, Bytes / 4);

    [Theory]
    [InlineData("0", null)]
    [InlineData("4096", "outside every buffer")]
    [InlineData("-4", "outside every buffer")]
    [InlineData("2", "not aligned")]
    public void Global_accesses_stay_in_their_buffer(string offset, string? fault) =>
        Expect(fault, $"add.s64 %rd1, %rd0, {offset}; st.global.b32 [%rd1], 7;");

    [Theory]
    [InlineData("mov.b32 %r1, 252; st.shared.b32 [%r1], 1;", null)]
    [InlineData("mov.b32 %r1, 256; st.shared.b32 [%r1], 1;", "outside 256 bytes")]
    [InlineData("mov.b32 %r1, 2; st.shared.b32 [%r1], 1;", "misaligned")]
    public void Shared_accesses_stay_in_their_array(string body, string? fault) => Expect(fault, body, threads: 1);

    // Lane l of warp 0 writes word l; a thread of the other warp (or lane) reads it.
    [Theory]
    [InlineData(
        "shl.b32 %r1, %tid.x, 2; st.shared.b32 [%r1], 1; bar.sync 0; xor.b32 %r1, %r1, 128; ld.shared.b32 %r2, [%r1];",
        null
    )]
    [InlineData(
        "shl.b32 %r1, %tid.x, 2; st.shared.b32 [%r1], 1; xor.b32 %r1, %r1, 128; ld.shared.b32 %r2, [%r1];",
        "another warp read"
    )]
    [InlineData(
        "shl.b32 %r1, %tid.x, 2; st.shared.b32 [%r1], 1; bar.warp.sync 0xffffffff; xor.b32 %r1, %r1, 4; ld.shared.b32 "
            + "%r2, [%r1];",
        null
    )]
    [InlineData(
        "shl.b32 %r1, %tid.x, 2; st.shared.b32 [%r1], 1; xor.b32 %r1, %r1, 4; ld.shared.b32 %r2, [%r1];",
        "wrote since the last barrier"
    )]
    [InlineData(
        "shl.b32 %r1, %tid.x, 2; ld.shared.b32 %r2, [%r1]; xor.b32 %r1, %r1, 128; st.shared.b32 [%r1], 1;",
        "wrote since the last barrier"
    )]
    [InlineData(
        "shl.b32 %r1, %tid.x, 2; ld.shared.b32 %r2, [%r1]; xor.b32 %r1, %r1, 4; st.shared.b32 [%r1], 1;",
        "another lane read"
    )]
    [InlineData("mov.b32 %r1, 0; st.shared.b32 [%r1], 1;", "wrote since the last barrier")]
    public void Shared_memory_races_are_found(string body, string? fault) => Expect(fault, body, threads: 64);

    [Theory]
    [InlineData("bar.sync 0;", null)]
    [InlineData("setp.lt.u32 %p1, %tid.x, 32; @%p1 bra L1; bar.sync 0; L1: ret;", "never reach")]
    [InlineData("setp.lt.u32 %p1, %tid.x, 32; @%p1 bra L1; bar.sync 0; bra L2; L1: bar.sync 0; L2: ret;", "different barriers")]
    public void Barriers_need_every_thread(string body, string? fault) => Expect(fault, body, threads: 64);

    [Theory]
    [InlineData("shfl.sync.bfly.b32 %r1, %r0, 1, 31, 0xffffffff;", null)]
    [InlineData(
        "setp.lt.u32 %p1, %tid.x, 16; @%p1 bra L1; shfl.sync.bfly.b32 %r1, %r0, 1, 31, 0xffffffff; L1: ret;",
        "only lanes 0xffff0000"
    )]
    [InlineData(
        "setp.lt.u32 %p1, %tid.x, 16; @%p1 bra L1; mov.b32 %r1, 1; L1: shfl.sync.bfly.b32 %r1, %r0, 1, 31, 0xffffffff;",
        null
    )]
    public void Warp_instructions_need_every_lane(string body, string? fault) => Expect(fault, body);

    [Theory]
    [InlineData("cp.async.commit_group; cp.async.wait_group 0; bar.sync 0;", null)]
    [InlineData("cp.async.commit_group; cp.async.wait_group 1; bar.sync 0;", "on its way")]
    [InlineData("cp.async.commit_group; bar.sync 0;", "on its way")]
    [InlineData("cp.async.wait_all; bar.sync 0;", null)]
    [InlineData("cp.async.commit_group; cp.async.wait_group 0;", "wrote since the last barrier")]
    public void Asynchronous_copies_must_be_waited_for(string wait, string? fault) =>
        // Thread t copies 16 bytes and reads its neighbour's.
        Expect(
            fault,
            $"setp.gt.u32 %p1, %tid.x, 15; shl.b32 %r1, %tid.x, 4; cvt.u64.u32 %rd1, %r1; add.s64 %rd1, %rd0, %rd1; @!%p1 "
                + $"cp.async.cg.shared.global [%r1], [%rd1], 16; {wait} xor.b32 %r1, %r1, 16; @!%p1 ld.shared.b32 %r2, [%r1];"
        );

    [Fact]
    public void A_copy_onto_what_another_warp_still_reads_is_a_race() =>
        Expect(
            "another warp read",
            "and.b32 %r1, %tid.x, 15; shl.b32 %r1, %r1, 4; ld.shared.b32 %r2, [%r1]; setp.eq.u32 %p1, %tid.x, 40; @%p1 "
                + "cp.async.cg.shared.global [%r1], [%rd0], 16;",
            threads: 64
        );

    [Fact]
    public void Bytes_a_copy_does_not_read_become_zero()
    {
        Words.Fill(0x11111111);
        Expect(
            null,
            "mov.b32 %r1, 0; mov.b32 %r3, 4; cp.async.cg.shared.global [%r1], [%rd0], 16, %r3; cp.async.wait_all; "
                + "ld.shared.v4.b32 {%r4,%r5,%r6,%r7}, [%r1]; st.global.v4.b32 [%rd0+64], {%r4,%r5,%r6,%r7};",
            threads: 1
        );
        Assert.Equal([0x11111111, 0, 0, 0], Words[16..20].ToArray());
    }

    [Fact]
    public void Lanes_that_parted_meet_again()
    {
        // Odd lanes add 1, lanes from 16 on loop three times.
        Run(
            """
            and.b32 %r1, %tid.x, 1; mov.b32 %r2, 0; setp.eq.u32 %p1, %r1, 0; @%p1 bra EVEN; add.s32 %r2, %r2, 1;
            EVEN: setp.lt.u32 %p2, %tid.x, 16; @%p2 bra DONE; mov.b32 %r3, 0;
            LOOP: add.s32 %r2, %r2, 10; add.s32 %r3, %r3, 1; setp.lt.s32 %p3, %r3, 3; @%p3 bra LOOP;
            DONE: shfl.sync.idx.b32 %r4, %r2, 31, 31, 0xffffffff; mul.wide.u32 %rd1, %tid.x, 8; add.s64 %rd1, %rd0, %rd1;
            st.global.v2.b32 [%rd1], {%r2,%r4};
            """
        );
        for (int t = 0; t < 32; t++)
            Assert.Equal(((uint)(t % 2 + (t < 16 ? 0 : 30)), 31u), (Words[t * 2], Words[t * 2 + 1]));
    }

    [Fact]
    public void Arithmetic_is_that_of_the_types()
    {
        float[] expected = [MathF.FusedMultiplyAdd(1.1f, 2.3f, 0.7f), 7f / 3f, -3, 2147483648f, 0];
        Run(
            """
            mov.f32 %f1, 0f3F8CCCCD; mov.f32 %f2, 0f40133333; mov.f32 %f3, 0f3F333333; fma.rn.f32 %f4, %f1, %f2, %f3;
            st.global.f32 [%rd0], %f4;
            mov.f32 %f1, 0f40E00000; mov.f32 %f2, 0f40400000; div.rn.f32 %f4, %f1, %f2; st.global.f32 [%rd0+4], %f4;
            mov.f32 %f1, 0fC0733333; cvt.rzi.s32.f32 %r1, %f1; cvt.rn.f32.s32 %f4, %r1; st.global.f32 [%rd0+8], %f4;
            mov.f32 %f1, 0f501502F9; cvt.rzi.s32.f32 %r1, %f1; cvt.rn.f32.s32 %f4, %r1; st.global.f32 [%rd0+12], %f4;
            mov.f32 %f1, 0f7FC00000; cvt.rzi.s32.f32 %r1, %f1; cvt.rn.f32.s32 %f4, %r1; st.global.f32 [%rd0+16], %f4;
            mov.b32 %r1, -7; shr.s32 %r2, %r1, 1; st.global.b32 [%rd0+20], %r2; shr.u32 %r2, %r1, 28;
            st.global.b32 [%rd0+24], %r2;
            div.s32 %r2, %r1, 2; st.global.b32 [%rd0+28], %r2; rem.s32 %r2, %r1, 4; st.global.b32 [%rd0+32], %r2;
            mov.f32 %f1, 0f7FC00000; max.f32 %f2, %f1, 0f3F800000; st.global.f32 [%rd0+36], %f2;
            setp.leu.f32 %p1, %f1, 0f00000000; selp.b32 %r2, 1, 2, %p1; st.global.b32 [%rd0+40], %r2; shl.b32 %r2, %r1, 32;
            st.global.b32 [%rd0+44], %r2;
            """,
            threads: 1
        );
        for (int i = 0; i < 5; i++)
            Assert.Equal(expected[i], BitConverter.UInt32BitsToSingle(Words[i]));
        Assert.Equal(
            [unchecked((uint)-4), 15, unchecked((uint)-3), unchecked((uint)-3), 0x3F800000, 1, 0],
            Words[5..12].ToArray()
        );
    }

    [Fact]
    public void Every_half_widens_and_narrows_exactly()
    {
        for (int i = 0; i < 1 << 16; i++)
        {
            var half = BitConverter.UInt16BitsToHalf((ushort)i);
            if (Half.IsNaN(half))
                continue;
            Assert.Equal((float)half, PtxArithmetic.Half((ulong)i));
            Assert.Equal((ushort)i, PtxArithmetic.ToHalf((float)half));
            float brain = BitConverter.UInt32BitsToSingle((uint)i << 16);
            if (!float.IsNaN(brain))
                Assert.Equal((ushort)i, PtxArithmetic.ToBFloat(brain));
        }

        // Ties go to even.
        Assert.Equal(0x3F80, PtxArithmetic.ToBFloat(BitConverter.UInt32BitsToSingle(0x3F808000)));
        Assert.Equal(0x3F82, PtxArithmetic.ToBFloat(BitConverter.UInt32BitsToSingle(0x3F818000)));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Matrix_fragments_are_laid_out_as_the_ISA_draws_them(bool bfloat16)
    {
        // A is 16 x 16 row major, B 16 x 8 given as its transpose [8][16]; both through ldmatrix, as kernels do it.
        var random = new System.Random(1);
        var a = new float[256];
        var b = new float[128];
        var halves = new Span<ushort>(_memory, 384);
        for (int i = 0; i < 384; i++)
        {
            float value = random.Next(-8, 9) / 4f;
            halves[i] = bfloat16 ? PtxArithmetic.ToBFloat(value) : PtxArithmetic.ToHalf(value);
            if (i < 256)
                a[i] = value;
            else
                b[i - 256] = value;
        }

        string type = bfloat16 ? "bf16" : "f16";
        Run(
            $$"""
            shl.b32 %r1, %tid.x, 4; cvt.u64.u32 %rd1, %r1; add.s64 %rd1, %rd0, %rd1;
            cp.async.cg.shared.global [%r1], [%rd1], 16; setp.lt.u32 %p1, %tid.x, 16;
            @%p1 cp.async.cg.shared.global [%r1+512], [%rd1+512], 16; cp.async.wait_all; bar.sync 0;
            and.b32 %r2, %tid.x, 15; shl.b32 %r2, %r2, 5; shr.u32 %r3, %tid.x, 4; shl.b32 %r3, %r3, 4; add.s32 %r2, %r2, %r3;
            ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r4,%r5,%r6,%r7}, [%r2];
            and.b32 %r2, %tid.x, 7; shl.b32 %r2, %r2, 5; shr.u32 %r3, %tid.x, 3; and.b32 %r3, %r3, 1; shl.b32 %r3, %r3, 4;
            add.s32 %r2, %r2, %r3;
            ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r8,%r9}, [%r2+512];
            mov.f32 %f1, 0f3F800000;
            mma.sync.aligned.m16n8k16.row.col.f32.{{type}}.{{type}}.f32
                {%f2,%f3,%f4,%f5}, {%r4,%r5,%r6,%r7}, {%r8,%r9}, {%f1,%f1,%f1,%f1};
            add.s64 %rd1, %rd1, 1024; st.global.v4.f32 [%rd1], {%f2,%f3,%f4,%f5};
            """,
            shared: 1024
        );
        for (int lane = 0; lane < 32; lane++)
        {
            for (int r = 0; r < 4; r++)
            {
                int row = lane / 4 + r / 2 * 8,
                    column = lane % 4 * 2 + r % 2;
                float sum = 1;
                for (int k = 0; k < 16; k++)
                    sum += a[row * 16 + k] * b[column * 16 + k];
                Assert.Equal(sum, BitConverter.UInt32BitsToSingle(Words[256 + lane * 4 + r]));
            }
        }
    }

    [Fact]
    public void Transposed_matrices_are_transposed()
    {
        var halves = new Span<ushort>(_memory, 64);
        for (int i = 0; i < 64; i++)
            halves[i] = (ushort)i;
        Run(
            """
            setp.lt.u32 %p1, %tid.x, 8; shl.b32 %r1, %tid.x, 4; cvt.u64.u32 %rd1, %r1; add.s64 %rd1, %rd0, %rd1;
            @%p1 cp.async.cg.shared.global [%r1], [%rd1], 16; cp.async.wait_all; bar.sync 0;
            and.b32 %r2, %tid.x, 7; shl.b32 %r2, %r2, 4; ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%r3}, [%r2];
            mul.wide.u32 %rd2, %tid.x, 4; add.s64 %rd2, %rd0, %rd2; st.global.b32 [%rd2+128], %r3;
            """
        );
        for (int lane = 0; lane < 32; lane++)
            Assert.Equal((uint)(lane % 4 * 16 + lane / 4) | ((uint)(lane % 4 * 16 + 8 + lane / 4) << 16), Words[32 + lane]);
    }

    [Theory]
    [InlineData("frobnicate.s32 %r1, %r2;")]
    [InlineData(".local .align 4 .b8 a[16];")]
    [InlineData("bra NOWHERE;")]
    [InlineData("mov.b32 %r1, %clock;")]
    public void What_it_does_not_know_it_refuses(string body) =>
        Assert.Throws<PtxFaultException>(() => Run(body + " mov.b64 %rd9, %unknown.x;"));

    [Fact]
    public void A_fault_names_the_kernel_the_thread_and_the_instruction()
    {
        string message = Assert
            .Throws<PtxFaultException>(() => Run("setp.eq.u32 %p1, %tid.x, 5; @%p1 st.global.b32 [%rd0+8192], 1;"))
            .Message;
        Assert.Contains("test, block (0, 0, 0), thread 5", message);
        Assert.Contains("@%p1 st.global.b32 [%rd0+8192], 1", message);
        Assert.Contains("the buffer", message);
    }

    public void Dispose() => NativeMemory.AlignedFree(_memory);

    private void Expect(string? fault, string body, int threads = 32)
    {
        if (fault is null)
            Run(body, threads);
        else
            Assert.Contains(fault, Assert.Throws<PtxFaultException>(() => Run(body, threads)).Message);
    }

    // %rd0 is the buffer's address.
    private void Run(string body, int threads = 32, int shared = 256)
    {
        string ptx =
            $".version 8.0 .target sm_80 .address_size 64 .visible .entry test ( .param .b64 buffer ) {{ .shared .align "
            + $"16 .b8 s[{shared}]; .reg .b32 %r<16>; ld.param.b64 %rd0, [buffer]; {body} ret; }}";
        ulong address = (ulong)_memory;
        new PtxMachine(_regions).Launch(PtxKernel.Parse(ptx), (1, 1, 1), (threads, 1, 1), new ReadOnlySpan<byte>(&address, 8));
    }
}
