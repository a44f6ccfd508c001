using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace AfaNative.Engine.Files;

/// <summary>
/// SHA-256 (FIPS 180-4). Where the system's library is there it does the work; where it is not - a bare container has no libssl,
/// without which the runtime's own
/// classes end the process - the same digest is computed here.
/// </summary>
public sealed class Sha256 : IDisposable
{
    // The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
    private static readonly uint[] s_constants =
    [
        0x428a2f98,
        0x71374491,
        0xb5c0fbcf,
        0xe9b5dba5,
        0x3956c25b,
        0x59f111f1,
        0x923f82a4,
        0xab1c5ed5,
        0xd807aa98,
        0x12835b01,
        0x243185be,
        0x550c7dc3,
        0x72be5d74,
        0x80deb1fe,
        0x9bdc06a7,
        0xc19bf174,
        0xe49b69c1,
        0xefbe4786,
        0x0fc19dc6,
        0x240ca1cc,
        0x2de92c6f,
        0x4a7484aa,
        0x5cb0a9dc,
        0x76f988da,
        0x983e5152,
        0xa831c66d,
        0xb00327c8,
        0xbf597fc7,
        0xc6e00bf3,
        0xd5a79147,
        0x06ca6351,
        0x14292967,
        0x27b70a85,
        0x2e1b2138,
        0x4d2c6dfc,
        0x53380d13,
        0x650a7354,
        0x766a0abb,
        0x81c2c92e,
        0x92722c85,
        0xa2bfe8a1,
        0xa81a664b,
        0xc24b8b70,
        0xc76c51a3,
        0xd192e819,
        0xd6990624,
        0xf40e3585,
        0x106aa070,
        0x19a4c116,
        0x1e376c08,
        0x2748774c,
        0x34b0bcb5,
        0x391c0cb3,
        0x4ed8aa4a,
        0x5b9cca4f,
        0x682e6ff3,
        0x748f82ee,
        0x78a5636f,
        0x84c87814,
        0x8cc70208,
        0x90befffa,
        0xa4506ceb,
        0xbef9a3f7,
        0xc67178f2,
    ];

    private static readonly bool s_system = HasSystemLibrary();

    private readonly IncrementalHash? _fast;
    private readonly uint[] _state =
    [
        0x6a09e667,
        0xbb67ae85,
        0x3c6ef372,
        0xa54ff53a,
        0x510e527f,
        0x9b05688c,
        0x1f83d9ab,
        0x5be0cd19,
    ];
    private readonly byte[] _rest = new byte[64];
    private ulong _length;

    /// <summary>Starts a digest.</summary>
    public Sha256()
        : this(s_system) { }

    /// <summary>Starts a digest, computed by the system's library or here.</summary>
    internal Sha256(bool system) => _fast = system ? IncrementalHash.CreateHash(HashAlgorithmName.SHA256) : null;

    /// <summary>The digest of some bytes, 32 bytes.</summary>
    public static byte[] HashData(ReadOnlySpan<byte> bytes)
    {
        using var hash = new Sha256();
        hash.Append(bytes);
        return hash.Finish();
    }

    /// <summary>Takes more bytes.</summary>
    public void Append(ReadOnlySpan<byte> bytes)
    {
        if (_fast is not null)
        {
            _fast.AppendData(bytes);
            return;
        }

        int held = (int)(_length & 63);
        _length += (ulong)bytes.Length;
        if (held > 0)
        {
            int taken = Math.Min(64 - held, bytes.Length);
            bytes[..taken].CopyTo(_rest.AsSpan(held));
            bytes = bytes[taken..];
            if (held + taken < 64)
                return;
            Blocks(_rest);
        }

        int whole = bytes.Length & ~63;
        Blocks(bytes[..whole]);
        bytes[whole..].CopyTo(_rest);
    }

    /// <summary>The digest, 32 bytes; nothing may be appended afterwards.</summary>
    public byte[] Finish()
    {
        if (_fast is not null)
            return _fast.GetHashAndReset();
        ulong bits = _length * 8;
        Span<byte> padding = stackalloc byte[72];
        padding.Clear();
        padding[0] = 0x80;
        int zeros = (int)((119 - (_length & 63)) & 63);
        BinaryPrimitives.WriteUInt64BigEndian(padding[(1 + zeros)..], bits);
        Append(padding[..(9 + zeros)]);
        var digest = new byte[32];
        for (int i = 0; i < 8; i++)
            BinaryPrimitives.WriteUInt32BigEndian(digest.AsSpan(4 * i), _state[i]);
        return digest;
    }

    /// <inheritdoc/>
    public void Dispose() => _fast?.Dispose();

    // The runtime looks for these names itself and ends the process where it finds none.
    private static bool HasSystemLibrary()
    {
        if (!OperatingSystem.IsLinux())
            return true;
        foreach (string name in (string[])["libssl.so.3", "libssl.so.1.1"])
        {
            if (NativeLibrary.TryLoad(name, out _))
                return true;
        }

        return false;
    }

    private unsafe void Blocks(ReadOnlySpan<byte> bytes)
    {
        // Pointers: the bounds are constants, and checking them costs a third of the time.
        uint* w = stackalloc uint[64];
        fixed (uint* constants = s_constants)
            for (; bytes.Length >= 64; bytes = bytes[64..])
            {
                for (int i = 0; i < 16; i++)
                    w[i] = BinaryPrimitives.ReadUInt32BigEndian(bytes[(4 * i)..]);
                for (int i = 16; i < 64; i++)
                {
                    uint near = w[i - 2],
                        far = w[i - 15];
                    uint small1 = BitOperations.RotateRight(near, 17) ^ BitOperations.RotateRight(near, 19) ^ near >> 10;
                    uint small0 = BitOperations.RotateRight(far, 7) ^ BitOperations.RotateRight(far, 18) ^ far >> 3;
                    w[i] = w[i - 16] + small0 + w[i - 7] + small1;
                }

                uint a = _state[0],
                    b = _state[1],
                    c = _state[2],
                    d = _state[3],
                    e = _state[4],
                    f = _state[5],
                    g = _state[6],
                    h = _state[7];
                // Eight rounds at a time, so that the eight words change their roles instead of their places.
                for (int i = 0; i < 64; i += 8)
                {
                    Round(a, b, c, ref d, e, f, g, ref h, constants[i] + w[i]);
                    Round(h, a, b, ref c, d, e, f, ref g, constants[i + 1] + w[i + 1]);
                    Round(g, h, a, ref b, c, d, e, ref f, constants[i + 2] + w[i + 2]);
                    Round(f, g, h, ref a, b, c, d, ref e, constants[i + 3] + w[i + 3]);
                    Round(e, f, g, ref h, a, b, c, ref d, constants[i + 4] + w[i + 4]);
                    Round(d, e, f, ref g, h, a, b, ref c, constants[i + 5] + w[i + 5]);
                    Round(c, d, e, ref f, g, h, a, ref b, constants[i + 6] + w[i + 6]);
                    Round(b, c, d, ref e, f, g, h, ref a, constants[i + 7] + w[i + 7]);
                }

                _state[0] += a;
                _state[1] += b;
                _state[2] += c;
                _state[3] += d;
                _state[4] += e;
                _state[5] += f;
                _state[6] += g;
                _state[7] += h;
            }
    }

    [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.AggressiveInlining)]
    private static void Round(uint a, uint b, uint c, ref uint d, uint e, uint f, uint g, ref uint h, uint word)
    {
        uint big1 = BitOperations.RotateRight(e, 6) ^ BitOperations.RotateRight(e, 11) ^ BitOperations.RotateRight(e, 25);
        uint first = h + big1 + (g ^ (e & (f ^ g))) + word;
        uint big0 = BitOperations.RotateRight(a, 2) ^ BitOperations.RotateRight(a, 13) ^ BitOperations.RotateRight(a, 22);
        d += first;
        h = first + big0 + ((a & b) | (c & (a | b)));
    }
}
