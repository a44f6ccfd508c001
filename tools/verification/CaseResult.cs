namespace AfaNative.Verification;

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

/// <summary>One tensor, or one fact, of a case beside its reference.</summary>
/// <param name="Name">As the case's files name it.</param>
/// <param name="MaxAbsolute">Largest absolute error; infinite where something is not a number.</param>
/// <param name="MaxRelative">
/// That error over the tensor's largest reference value; for gradients and movements of weights the relative L2 error.
/// </param>
/// <param name="Tolerance">What <paramref name="MaxRelative"/> is compared with; 0 means exact.</param>
/// <param name="Verdict">Within tolerance, beyond it, or not compared because the reference is rounding.</param>
/// <param name="Detail">Why it failed or was skipped; else empty.</param>
public sealed record TensorComparison(
    string Name,
    double MaxAbsolute,
    double MaxRelative,
    double Tolerance,
    CaseVerdict Verdict,
    string Detail = ""
);

/// <summary>The outcome of one case.</summary>
/// <param name="Id">The case's name.</param>
/// <param name="Kind">Its <c>op</c>.</param>
/// <param name="Verdict">How it ended.</param>
/// <param name="MaxAbsolute">Largest absolute error of the worst tensor.</param>
/// <param name="MaxRelative">That error over the tensor's largest reference value.</param>
/// <param name="Tolerance">What <see cref="MaxRelative"/> is compared with; 0 means exact.</param>
/// <param name="Comparisons">Tensors compared.</param>
/// <param name="Detail">The worst tensor, the failure, or why it was skipped.</param>
public sealed record CaseResult(
    string Id,
    string Kind,
    CaseVerdict Verdict,
    double MaxAbsolute,
    double MaxRelative,
    double Tolerance,
    int Comparisons,
    string Detail
)
{
    /// <summary>Every tensor compared or skipped, in the order of the case.</summary>
    public IReadOnlyList<TensorComparison> Tensors { get; init; } = [];
}
