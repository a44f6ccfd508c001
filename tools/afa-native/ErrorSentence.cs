using AfaNative.Engine.Core;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Tool;

/// <summary>What people are told of an exception.</summary>
internal static class ErrorSentence
{
    /// <summary>One sentence.</summary>
    public static string Of(Exception e) =>
        e switch
        {
            // Parallel loops wrap what happened.
            AggregateException many when many.Flatten().InnerExceptions is [{ } first, ..] => Of(first),
            TypeInitializationException { InnerException: { } inner } => Of(inner),
            AfaException or DeviceMemoryException => OptionNames.Dashed(e.Message),
            OutOfMemoryException =>
                "Out of memory: a smaller --width and --height, a smaller --batch-size or fewer experts need less.",
            OverflowException =>
                "The sizes asked for are beyond what can be counted: smaller pictures, or fewer at once, need less.",
            UnauthorizedAccessException or IOException => e.Message,
            DllNotFoundException or BadImageFormatException =>
                $"A library that belongs to this program could not be loaded: {e.Message}",
            _ => $"{e.Message} (unexpected {e.GetType().Name}; --verbose shows where)",
        };
}
