using System.Globalization;

namespace AfaNative.Verification;

/// <summary>Collects a case's comparisons; the worst, measured against its own tolerance, speaks for the case.</summary>
/// <param name="floor">What the device rounds to, for results.</param>
/// <param name="gradientFloor">The same for gradients.</param>
internal sealed class Comparer(double floor = 0, double gradientFloor = 0)
{
    private readonly List<TensorComparison> _tensors = [];
    private double _worst = -1;

    /// <summary>No tolerance is below this: what the device's storage allows.</summary>
    public double Floor { get; private set; } = floor;

    /// <summary>Whole generations: several steps, and guidance that multiplies the difference of two predictions.</summary>
    public void ForGeneration() => Floor *= 4;

    public double MaxAbsolute { get; private set; }

    public double MaxRelative { get; private set; }

    public double Tolerance { get; private set; }

    /// <summary>Comparisons that were made: those skipped are not among them.</summary>
    public int Count { get; private set; }

    public string Worst { get; private set; } = "";

    /// <summary>Everything compared or skipped, in order.</summary>
    public IReadOnlyList<TensorComparison> Tensors => _tensors;

    /// <summary>A sentence for each comparison that failed.</summary>
    public IReadOnlyList<string> Failures =>
        [
            .. _tensors
                .Where(t => t.Verdict == CaseVerdict.Failed)
                .Select(t => t.Name.Length == 0 ? t.Detail : $"{t.Name}: {t.Detail}"),
        ];

    /// <summary>max |out - ref| at most tolerance * max |ref|.</summary>
    public void Close(string name, ReadOnlySpan<float> came, ReadOnlySpan<float> expected, double tolerance)
    {
        if (came.Length != expected.Length)
        {
            Fail(name, $"{came.Length} values instead of {expected.Length}");
            return;
        }

        double max = 0,
            reference = 0;
        for (int i = 0; i < came.Length; i++)
        {
            double error = Math.Abs((double)came[i] - expected[i]);
            max = double.IsNaN(error) ? double.PositiveInfinity : Math.Max(max, error);
            reference = Math.Max(reference, Math.Abs(expected[i]));
        }

        double relative = max == 0 ? 0 : max / Math.Max(reference, 1e-30);
        Record(name, max, relative, Math.Max(tolerance, Floor));
    }

    /// <summary>
    /// Relative L2 error: for gradients, whose small elements are rounding. They were rounded at every op forward and back: twice
    /// their floor, and six times
    /// through a whole <paramref name="network"/>.
    /// </summary>
    public void CloseInNorm(
        string name,
        ReadOnlySpan<float> came,
        ReadOnlySpan<float> expected,
        double tolerance,
        bool network = false
    )
    {
        if (came.Length != expected.Length)
        {
            Fail(name, $"{came.Length} values instead of {expected.Length}");
            return;
        }

        double error = 0,
            norm = 0,
            max = 0;
        for (int i = 0; i < came.Length; i++)
        {
            double d = (double)came[i] - expected[i];
            error += d * d;
            norm += (double)expected[i] * expected[i];
            max = Math.Max(max, Math.Abs(d));
        }

        double relative = double.IsNaN(error) ? double.PositiveInfinity : Math.Sqrt(error / Math.Max(norm, 1e-60));
        Record(name, max, relative, Math.Max(tolerance, (network ? 6 : 2) * gradientFloor));
    }

    public void Exact(string name, bool equal, string detail)
    {
        Count++;
        _tensors.Add(new TensorComparison(name, 0, 0, 0, equal ? CaseVerdict.Passed : CaseVerdict.Failed, equal ? "" : detail));
    }

    public void Record(string name, double absolute, double relative, double tolerance)
    {
        Count++;
        double badness = relative / Math.Max(tolerance, 1e-30);
        if (badness > _worst)
            (_worst, MaxAbsolute, MaxRelative, Tolerance, Worst) = (badness, absolute, relative, tolerance, name);
        bool passed = relative <= tolerance;
        _tensors.Add(
            new TensorComparison(
                name,
                absolute,
                relative,
                tolerance,
                passed ? CaseVerdict.Passed : CaseVerdict.Failed,
                passed ? "" : string.Create(CultureInfo.InvariantCulture, $"relative error {relative:E2} exceeds {tolerance:E0}")
            )
        );
    }

    /// <summary>A tensor that the case has, but that says nothing.</summary>
    public void Skip(string name, string why) => _tensors.Add(new TensorComparison(name, 0, 0, 0, CaseVerdict.Skipped, why));

    /// <summary>Something else than a difference; without a name it is the case's as a whole.</summary>
    public void Fail(string name, string detail)
    {
        Count++;
        _tensors.Add(new TensorComparison(name, 0, 0, 0, CaseVerdict.Failed, detail));
    }
}
