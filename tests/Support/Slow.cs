using Xunit;

namespace AfaNative.Tests.Support;

/// <summary>
/// Tests of minutes, each a repetition of what a quick one asserts as well (in another storage type, more rounds, larger
/// models): they run where <c>AFA_SLOW=1</c> asks for them and say that they are skipped elsewhere.
/// </summary>
internal static class Slow
{
    public const string Reason = "slow: AFA_SLOW=1 runs it";

    public static bool IsAskedFor => Environment.GetEnvironmentVariable("AFA_SLOW") == "1";

    /// <summary>Skips the test that calls it, unless slow ones are asked for.</summary>
    public static void Only(bool unless = false)
    {
        if (!unless && !IsAskedFor)
            Assert.Skip(Reason);
    }
}
