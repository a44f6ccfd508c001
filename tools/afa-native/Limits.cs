using AfaNative.Engine.Core;
using AfaNative.Engine.Prompts;

namespace AfaNative.Tool;

/// <summary>
/// What is possible at most, wherever it is said: on the command line, in a file of prompts, on an axis of a plot.
/// </summary>
internal static class Limits
{
    /// <summary>Longest edge of a picture in pixels.</summary>
    public const int Edge = 16384;

    /// <summary>Least edge of a picture in pixels.</summary>
    public const int LeastEdge = 8;

    /// <summary>Denoising steps.</summary>
    public const int Steps = 10_000;

    /// <summary>Pictures of one prompt.</summary>
    public const int Count = 1_000_000;

    /// <summary>Pictures drawn at once.</summary>
    public const int Batch = 1024;

    /// <summary>Classifier-free guidance.</summary>
    public const int Guidance = 1000;

    /// <summary>Text encoder layers that can be left out.</summary>
    public const int ClipSkip = 100;

    /// <summary>Updates of a training.</summary>
    public const int Updates = 100_000_000;

    /// <summary>Characters of a prompt.</summary>
    public const int PromptCharacters = PromptParser.MostCharacters;

    /// <summary>Pixels of a grid of all pictures.</summary>
    public const long GridPixels = 1L << 26;

    /// <summary>Pictures of a plot.</summary>
    public const int Cells = 10_000;

    /// <summary>Refuses a prompt that is too long, or holds what a picture's text cannot, or tags that cannot be read.</summary>
    /// <exception cref="AfaException">One sentence that starts with <paramref name="what"/>.</exception>
    public static void CheckPrompt(string what, string text, PromptSyntax syntax)
    {
        if (text.Length > PromptCharacters)
            throw new AfaException($"{what}: at most {PromptCharacters} characters were expected, but {text.Length} came.");
        if (text.Contains('\0', StringComparison.Ordinal) || !CommandLineFaults.IsWellFormed(text))
            throw new AfaException($"{what}: a prompt cannot hold NUL characters or half surrogate pairs.");
        if (syntax != PromptSyntax.Weighted)
            return;
        _ = PromptLora.In(text);
        _ = PromptParser.Parse(text);
    }

    /// <summary>Refuses an edge that the VAE cannot make.</summary>
    /// <exception cref="AfaException">It is out of range, or no multiple.</exception>
    public static void CheckEdge(string what, int pixels, int multiple)
    {
        if (pixels < LeastEdge || pixels > Edge || pixels % multiple != 0)
            throw new AfaException(
                $"{what}: expected a multiple of {multiple} from {Math.Max(LeastEdge, multiple)} to {Edge}, but {pixels} came."
            );
    }
}
