using System.Text.Json;
using AfaNative.Engine.Checkpoints;

namespace AfaNative.Engine.Verification;

/// <summary>A folder with a <c>case.json</c> and its tensors: inputs, weights and outputs another implementation computed.</summary>
internal sealed class GoldenCase : IDisposable
{
    private readonly JsonFile _json;
    private readonly Dictionary<string, SafetensorsFile> _files = [];

    public GoldenCase(string folder)
    {
        Folder = folder;
        _json = JsonFile.Open(Path.Combine(folder, "case.json"));
        Op = _json.String("op");
        Id = _json.String("id", Path.GetFileName(folder));
    }

    public string Folder { get; }

    /// <summary>Set when gradients are to be compared too.</summary>
    public GradientRecorder? Recorder { get; set; }

    public string Op { get; }

    public string Id { get; }

    public JsonFile Json => _json;

    public JsonElement Root => _json.Root;

    public JsonElement Params => Get(Root, "params");

    public static JsonElement Get(JsonElement element, string key) =>
        element.TryGetProperty(key, out JsonElement value) ? value : throw new CheckpointException($"case.json has no '{key}'.");

    /// <summary>A file beside case.json, kept open until the case is disposed.</summary>
    public SafetensorsFile File(string name = "tensors.safetensors")
    {
        if (!_files.TryGetValue(name, out SafetensorsFile? file)) _files[name] = file = SafetensorsFile.Open(Path.Combine(Folder, name));
        return file;
    }

    public bool HasFile(string name) => System.IO.File.Exists(Path.Combine(Folder, name));

    public float[] Values(string tensor, string file = "tensors.safetensors") => File(file).ReadFloat32(tensor);

    public int[] Dims(string tensor, string file = "tensors.safetensors") =>
        File(file).Tensors.TryGetValue(tensor, out SafetensorsTensor? t) ? [.. t.Shape.Select(d => checked((int)d))] : throw new CheckpointException($"{Folder}: {file} has no tensor '{tensor}'.");

    public bool Has(string tensor, string file = "tensors.safetensors") => File(file).Tensors.ContainsKey(tensor);

    /// <summary>A path in case.json: relative to the folder that holds the set, found by walking up.</summary>
    public string Resolve(string relative)
    {
        for (DirectoryInfo? at = new(Folder); at is not null; at = at.Parent)
        {
            string candidate = Path.Combine(at.FullName, relative);
            if (Directory.Exists(candidate)) return candidate;
        }

        throw new CheckpointException($"{Folder}: '{relative}' was not found in any folder above it.");
    }

    public void Dispose()
    {
        foreach (SafetensorsFile file in _files.Values) file.Dispose();
        _json.Dispose();
    }
}

/// <summary>How a case ended.</summary>
public enum CaseVerdict
{
    /// <summary>All comparisons are within tolerance.</summary>
    Passed,
    /// <summary>Some comparison is not, or the case could not be run.</summary>
    Failed,
    /// <summary>The kind of case is not implemented.</summary>
    Skipped,
}

/// <summary>The outcome of one case.</summary>
/// <param name="Id">The case's name.</param>
/// <param name="Kind">Its <c>op</c>.</param>
/// <param name="Verdict">How it ended.</param>
/// <param name="MaxAbsolute">Largest absolute error of the worst tensor.</param>
/// <param name="MaxRelative">That error over the tensor's largest reference value.</param>
/// <param name="Tolerance">What <see cref="MaxRelative"/> is compared with; 0 means exact.</param>
/// <param name="Comparisons">Tensors compared.</param>
/// <param name="Detail">The worst tensor, the failure, or why it was skipped.</param>
public sealed record CaseResult(string Id, string Kind, CaseVerdict Verdict, double MaxAbsolute, double MaxRelative, double Tolerance, int Comparisons, string Detail);

/// <summary>Collects a case's comparisons; the worst, measured against its own tolerance, speaks for the case.</summary>
/// <param name="floor">What the device rounds to, for results.</param>
/// <param name="gradientFloor">The same for gradients.</param>
internal sealed class Comparer(double floor = 0, double gradientFloor = 0)
{
    private double _worst = -1;

    /// <summary>No tolerance is below this: what the device's storage allows.</summary>
    public double Floor { get; private set; } = floor;

    /// <summary>Whole generations: several steps, and guidance that multiplies the difference of two predictions.</summary>
    public void ForGeneration() => Floor *= 4;

    public double MaxAbsolute { get; private set; }

    public double MaxRelative { get; private set; }

    public double Tolerance { get; private set; }

    public int Count { get; private set; }

    public string Worst { get; private set; } = "";

    public List<string> Failures { get; } = [];

    /// <summary>max |out - ref| at most tolerance * max |ref|.</summary>
    public void Close(string name, ReadOnlySpan<float> came, ReadOnlySpan<float> expected, double tolerance)
    {
        if (came.Length != expected.Length)
        {
            Fail(name, $"{came.Length} values instead of {expected.Length}");
            return;
        }

        double max = 0, reference = 0;
        for (int i = 0; i < came.Length; i++)
        {
            double error = Math.Abs((double)came[i] - expected[i]);
            max = double.IsNaN(error) ? double.PositiveInfinity : Math.Max(max, error);
            reference = Math.Max(reference, Math.Abs(expected[i]));
        }

        double relative = max == 0 ? 0 : max / Math.Max(reference, 1e-30);
        Record(name, max, relative, Math.Max(tolerance, Floor));
    }

    /// <summary>Relative L2 error: for gradients, whose small elements are rounding. They were rounded at every op forward and back: twice their floor, and six times through a whole <paramref name="network"/>.</summary>
    public void CloseInNorm(string name, ReadOnlySpan<float> came, ReadOnlySpan<float> expected, double tolerance, bool network = false)
    {
        if (came.Length != expected.Length)
        {
            Fail(name, $"{came.Length} values instead of {expected.Length}");
            return;
        }

        double error = 0, norm = 0, max = 0;
        for (int i = 0; i < came.Length; i++)
        {
            double d = (double)came[i] - expected[i];
            error += d * d;
            norm += (double)expected[i] * expected[i];
            max = Math.Max(max, Math.Abs(d));
        }

        Record(name, max, double.IsNaN(error) ? double.PositiveInfinity : Math.Sqrt(error / Math.Max(norm, 1e-60)), Math.Max(tolerance, (network ? 6 : 2) * gradientFloor));
    }

    public void Exact(string name, bool equal, string detail)
    {
        Count++;
        if (!equal) Failures.Add($"{name}: {detail}");
    }

    public void Record(string name, double absolute, double relative, double tolerance)
    {
        Count++;
        double badness = relative / Math.Max(tolerance, 1e-30);
        if (badness > _worst) (_worst, MaxAbsolute, MaxRelative, Tolerance, Worst) = (badness, absolute, relative, tolerance, name);
        if (!(relative <= tolerance)) Failures.Add($"{name}: relative error {relative:E2} exceeds {tolerance:E0}");
    }

    public void Fail(string name, string detail)
    {
        Count++;
        Failures.Add($"{name}: {detail}");
    }
}
