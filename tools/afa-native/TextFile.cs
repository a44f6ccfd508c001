using System.Text;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;

namespace AfaNative.Tool;

/// <summary>Text files that people write - configurations, prompts - read whole and strictly.</summary>
internal static class TextFile
{
    private static readonly UTF8Encoding s_strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>The text of a file; a byte order mark is left out.</summary>
    /// <param name="path">A regular file.</param>
    /// <param name="what">What it holds, for errors: "a file of options".</param>
    /// <param name="most">The longest it may be, in bytes.</param>
    /// <exception cref="AfaException">It is not there, no regular file, too long, or not UTF-8.</exception>
    public static string Read(string path, string what, long most)
    {
        byte[] bytes = RegularFile.ReadAllBytes(path, what, most);
        ReadOnlySpan<byte> text = bytes.AsSpan().StartsWith(Encoding.UTF8.Preamble) ? bytes.AsSpan(3) : bytes;
        try
        {
            return s_strict.GetString(text);
        }
        catch (DecoderFallbackException e)
        {
            int line = 1 + text[..Math.Clamp(e.Index, 0, text.Length)].Count((byte)'\n');
            throw new AfaException(
                $"{path}, line {line}: UTF-8 was expected, but byte 0x{e.BytesUnknown?.FirstOrDefault() ?? 0:X2} came.",
                e
            );
        }
    }
}
