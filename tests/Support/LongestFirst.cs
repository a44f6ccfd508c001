using Xunit;
using Xunit.Sdk;
using Xunit.v3;

[assembly: TestCollectionOrderer(typeof(AfaNative.Tests.Support.LongestFirst))]

namespace AfaNative.Tests.Support;

/// <summary>
/// Starts the collections that take longest before all others, so that none of them runs alone at the end. Those of one class are
/// named after it.
/// </summary>
public sealed class LongestFirst : ITestCollectionOrderer
{
    private static readonly string[] s_longest =
    [
        "CUDA",
        "OpenCL",
        "FileFuzzTests",
        "TextFuzzTests",
        "ReferenceCaseTests",
        "TrainerTests",
        "DemoTrainingTests",
        "CpuHalfPrecisionTests",
        "DataSafetyTests",
        "HighResolutionTests",
        "MatrixMultiplyTests",
    ];

    public IReadOnlyCollection<TTestCollection> OrderTestCollections<TTestCollection>(
        IReadOnlyCollection<TTestCollection> testCollections
    )
        where TTestCollection : ITestCollection => [.. testCollections.OrderBy(c => Rank(c.TestCollectionDisplayName))];

    private static int Rank(string name)
    {
        int rank = Array.FindIndex(s_longest, l => name.Contains(l, StringComparison.Ordinal));
        return rank < 0 ? s_longest.Length : rank;
    }
}
