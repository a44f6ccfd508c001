using System.Buffers.Binary;
using System.IO.MemoryMappedFiles;
using System.Runtime.InteropServices;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.MatrixMultiply;

namespace AfaNative.Engine.Checkpoints;

/// <summary>A safetensors file mapped into memory: nothing is copied until a tensor is read.</summary>
public sealed unsafe class SafetensorsFile : IDisposable
{
    private readonly MemoryMappedFile _file;
    private readonly MemoryMappedViewAccessor _view;
    private byte* _start;

    private SafetensorsFile(string path, MemoryMappedFile file, MemoryMappedViewAccessor view, byte* start, long length)
    {
        Path = path;
        _file = file;
        _view = view;
        _start = start;
        ulong header = BinaryPrimitives.ReadUInt64LittleEndian(new ReadOnlySpan<byte>(start, 8));
        if (header > SafetensorsHeader.MaximumLength || header > (ulong)(length - 8))
            throw new CheckpointException(
                $"Expected a safetensors file with a header of at most "
                    + $"{Math.Min(SafetensorsHeader.MaximumLength, length - 8)} bytes, but '{path}' announces {header}."
            );
        (Tensors, Metadata) = SafetensorsHeader.Parse(path, new ReadOnlySpan<byte>(start + 8, (int)header), length);
    }

    /// <summary>The path the file was opened by.</summary>
    public string Path { get; }

    /// <summary>The tensors by name.</summary>
    public IReadOnlyDictionary<string, SafetensorsTensor> Tensors { get; }

    /// <summary>The file's own notes, mostly none.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>Maps a file and checks all of its header.</summary>
    /// <exception cref="CheckpointException">The file is missing, truncated or not what its header says.</exception>
    public static SafetensorsFile Open(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        MemoryMappedFile? file = null;
        MemoryMappedViewAccessor? view = null;
        byte* start = null;
        // Opening a pipe would wait for its writer.
        if (RegularFile.Kind(path) is var kind and not (FileKind.Regular or FileKind.Missing))
            throw new CheckpointException($"Expected a safetensors file, but '{path}' is {RegularFile.Name(kind)}.");
        try
        {
            var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
            long length;
            try
            {
                length = stream.Length;
                if (length < 10)
                    throw new CheckpointException(
                        $"Expected a safetensors file of at least 10 bytes, but '{path}' has {length}."
                    );
                file = MemoryMappedFile.CreateFromFile(
                    stream,
                    null,
                    0,
                    MemoryMappedFileAccess.Read,
                    HandleInheritability.None,
                    leaveOpen: false
                );
            }
            catch
            {
                stream.Dispose();
                throw;
            }

            view = file.CreateViewAccessor(0, length, MemoryMappedFileAccess.Read);
            view.SafeMemoryMappedViewHandle.AcquirePointer(ref start);
            return new SafetensorsFile(path, file, view, start + view.PointerOffset, length);
        }
        catch (Exception e)
        {
            if (start != null)
                view!.SafeMemoryMappedViewHandle.ReleasePointer();
            view?.Dispose();
            file?.Dispose();
            if (e is FileNotFoundException or DirectoryNotFoundException)
                throw new CheckpointException($"Expected the safetensors file '{path}', but there is none.", e);
            if (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
                throw new CheckpointException(
                    $"Expected a readable safetensors file, but '{path}' cannot be read: {e.Message}",
                    e
                );
            throw;
        }
    }

    /// <summary>The tensor's first byte; valid until the file is disposed.</summary>
    public void* Pointer(SafetensorsTensor t)
    {
        ArgumentNullException.ThrowIfNull(t);
        ObjectDisposedException.ThrowIf(_start == null, this);
        if (!Tensors.TryGetValue(t.Name, out SafetensorsTensor? own) || !ReferenceEquals(own, t))
            throw new ArgumentException($"The tensor '{t.Name}' is not of '{Path}'.", nameof(t));
        return _start + t.Offset;
    }

    /// <summary>The tensor's bytes where they lie; valid until the file is disposed.</summary>
    public ReadOnlySpan<byte> Bytes(SafetensorsTensor t)
    {
        void* at = Pointer(t);
        if (t.ByteLength > int.MaxValue)
            throw new CheckpointException(
                $"Expected a tensor of at most {int.MaxValue} bytes, but '{t.Name}' of '{Path}' has {t.ByteLength}."
            );
        return new ReadOnlySpan<byte>(at, (int)t.ByteLength);
    }

    /// <summary>A tensor of any type as float32.</summary>
    public float[] ReadFloat32(string name)
    {
        float[] result = new float[Find(name).ElementCount];
        ReadFloat32(name, 0, result);
        return result;
    }

    /// <summary>Elements of a tensor of any type as float32, from element <paramref name="first"/> on.</summary>
    public void ReadFloat32(string name, long first, Span<float> result)
    {
        SafetensorsTensor t = Find(name);
        if (first < 0 || first + result.Length > t.ElementCount)
            throw new ArgumentException(
                $"'{name}' has {t.ElementCount} elements, {result.Length} from {first} on were asked for"
            );
        int size = t.Type.Size();
        byte* at = (byte*)Pointer(t) + first * size;
        if (BitConverter.IsLittleEndian && t.Type is ElementType.Float16 or ElementType.BFloat16)
        {
            fixed (float* to = result)
                Widening.ToFloat32((ushort*)at, t.Type, to, result.Length);
            return;
        }

        if (t.Type is ElementType.Float8E4M3 or ElementType.Float8E5M2)
        {
            ReadOnlySpan<float> values = Float8.Values(t.Type);
            float scale = Float8.Scale(this, t);
            for (int i = 0; i < result.Length; i++)
                result[i] = values[at[i]];
            for (int i = 0; scale != 1 && i < result.Length; i++)
                result[i] *= scale;
            return;
        }

        if (t.Type == ElementType.Opaque)
            throw new CheckpointException(
                $"Expected a tensor of numbers this program reads, but '{name}' of '{Path}' holds {t.TypeName}."
            );
        for (int i = 0; i < result.Length; i++, at += size)
        {
            var one = new ReadOnlySpan<byte>(at, size);
            result[i] = t.Type switch
            {
                ElementType.Float64 => (float)BinaryPrimitives.ReadDoubleLittleEndian(one),
                ElementType.Float32 => BinaryPrimitives.ReadSingleLittleEndian(one),
                ElementType.Float16 => (float)BinaryPrimitives.ReadHalfLittleEndian(one),
                ElementType.BFloat16 => BitConverter.UInt32BitsToSingle((uint)BinaryPrimitives.ReadUInt16LittleEndian(one) << 16),
                ElementType.Int64 => BinaryPrimitives.ReadInt64LittleEndian(one),
                ElementType.Int32 => BinaryPrimitives.ReadInt32LittleEndian(one),
                _ => *at,
            };
        }
    }

    /// <summary>A tensor of whole numbers as int64.</summary>
    public long[] ReadInt64(string name)
    {
        SafetensorsTensor t = Find(name);
        if (t.Type is not (ElementType.Int64 or ElementType.Int32 or ElementType.UInt8 or ElementType.Boolean))
            throw new CheckpointException($"Expected whole numbers in the tensor '{name}', but '{Path}' holds {t.TypeName}.");
        long[] result = new long[t.ElementCount];
        byte* at = (byte*)Pointer(t);
        int size = t.Type.Size();
        for (int i = 0; i < result.Length; i++, at += size)
        {
            var one = new ReadOnlySpan<byte>(at, size);
            result[i] =
                size == 8 ? BinaryPrimitives.ReadInt64LittleEndian(one)
                : size == 4 ? BinaryPrimitives.ReadInt32LittleEndian(one)
                : *at;
        }

        return result;
    }

    /// <summary>Lets the system drop the tensor's pages from memory; a later read brings them back from the file.</summary>
    public void Release(SafetensorsTensor t)
    {
        nuint start = (nuint)Pointer(t);
        if (!OperatingSystem.IsLinux() || t.ByteLength == 0)
            return;
        // Only whole pages inside the tensor, so that a neighbour in use stays.
        nuint page = (nuint)Environment.SystemPageSize;
        nuint first = (start + page - 1) / page * page,
            end = (start + (nuint)t.ByteLength) / page * page;
        if (end > first)
            _ = Advise((void*)first, end - first, 4);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_start == null)
            return;
        _start = null;
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
        _file.Dispose();
    }

    [DllImport("libc", EntryPoint = "madvise")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int Advise(void* address, nuint length, int advice);

    private SafetensorsTensor Find(string name)
    {
        if (!Tensors.TryGetValue(name, out SafetensorsTensor? tensor))
            throw new CheckpointException($"Expected the tensor '{name}', but '{Path}' does not hold it.");
        if (tensor.ElementCount > Array.MaxLength)
            throw new CheckpointException(
                $"Expected at most {Array.MaxLength} elements, but the tensor '{name}' of '{Path}' has {tensor.ElementCount}."
            );
        return tensor;
    }
}
