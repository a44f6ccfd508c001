using System.CommandLine;
using AfaNative.Engine.Core;

namespace AfaNative.Tool;

/// <summary>Options that count only beside others: alone they are refused, not ignored.</summary>
internal static class LoneOptions
{
    /// <summary>Whether an option is on the command line or in its configuration.</summary>
    public static bool Given(ParseResult result, Option option) => result.GetResult(option) is { Implicit: false };

    /// <summary>Refuses options whose companion is missing.</summary>
    /// <param name="result">The command line.</param>
    /// <param name="there">The companion is there.</param>
    /// <param name="companion">As people write it: "--mode auto".</param>
    /// <param name="options">What counts only beside it.</param>
    /// <exception cref="AfaException">One of them is given alone.</exception>
    public static void Check(ParseResult result, bool there, string companion, params ReadOnlySpan<Option> options)
    {
        if (there)
            return;
        foreach (Option option in options)
        {
            if (Given(result, option))
                throw new AfaException($"{option.Name} goes with {companion}: alone it has no effect.");
        }
    }
}
