namespace AfaNative.Tests.Repository;

/// <summary>Tells names of types from names of members, as far as the tokens around them show.</summary>
internal static class TypeReferences
{
    // Words that stand before a type; any other word does so only where it is a type itself, and what follows is a name.
    private static readonly HashSet<string> s_before =
    [
        .. (
            "abstract and as async await base by case checked class const default delegate do else enum equals event explicit "
            + "extern file fixed for foreach from get global goto if implicit in init interface internal is lock let namespace "
            + "new not notnull on operator or orderby out override params partial private protected public readonly record ref "
            + "required return scoped sealed select set sizeof stackalloc static struct switch throw typeof unmanaged unsafe "
            + "using virtual volatile when where while with yield var this nameof"
        ).Split(' '),
    ];

    /// <summary>The types that token <paramref name="i"/> may name: itself, or the attribute it is short for.</summary>
    public static IEnumerable<string> At(IReadOnlyList<string> tokens, int i)
    {
        string token = tokens[i],
            before = i > 0 ? tokens[i - 1] : "",
            after = i + 1 < tokens.Count ? tokens[i + 1] : "";
        if (!IsWord(token) || IsMember(before, after))
            yield break;
        yield return token;
        if (before == "[")
            yield return token + "Attribute";
    }

    /// <summary>What stands before the dots in front of token <paramref name="i"/>; null where there is no dot.</summary>
    public static string? Qualifier(IReadOnlyList<string> tokens, int i)
    {
        if (i == 0 || tokens[i - 1] != ".")
            return null;
        string qualifier = "";
        for (int k = i; k >= 2 && tokens[k - 1] == "." && IsWord(tokens[k - 2]); k -= 2)
            qualifier = qualifier.Length == 0 ? tokens[k - 2] : $"{tokens[k - 2]}.{qualifier}";
        return qualifier;
    }

    /// <summary>Whether a token is an identifier or a keyword.</summary>
    public static bool IsWord(string token) => char.IsLetter(token[0]) || token[0] == '_';

    private static bool IsMember(string before, string after)
    {
        // A method's declaration or call. A type stands before a parenthesis in new T(..), class X : T(..) and [T(..)] only.
        if (after == "(" && before is not ("new" or ":" or "[" or "."))
            return true;
        // A named argument, or a member in an initializer.
        if ((after == ":" && before is "(" or ",") || (after == "=" && before is "{" or ","))
            return true;
        if (before.Length == 0 || after == ".")
            return false;
        // Behind a type: what that type's variable, parameter or property is called.
        return IsWord(before) ? !s_before.Contains(before) : before is "?" or "]" or "*";
    }
}
