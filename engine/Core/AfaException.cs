namespace AfaNative.Engine.Core;

/// <summary>
/// Something a user can understand and act on: a bad file, mismatched experts, an unsupported model. The message is one
/// sentence that says what was expected, what came and where; tools print it without a stack trace.
/// </summary>
public class AfaException : Exception
{
    // What a file quotes of itself may be as long as the file: beginning and end are enough to find it.
    private const int Most = 6000,
        Beginning = 4000,
        End = 1000;

    /// <summary>Creates the exception with its one sentence.</summary>
    public AfaException(string message)
        : base(Bounded(message)) { }

    /// <summary>Creates the exception with its one sentence and what caused it.</summary>
    public AfaException(string message, Exception inner)
        : base(Bounded(message), inner) { }

    private static string Bounded(string message) =>
        message is { Length: > Most } ? $"{message.AsSpan(0, Beginning)} ... {message.AsSpan(message.Length - End)}" : message;
}

/// <summary>A checkpoint file or folder that cannot be used: truncated, hostile, incomplete or of another kind.</summary>
public sealed class CheckpointException : AfaException
{
    /// <summary>Creates the exception with its one sentence.</summary>
    public CheckpointException(string message)
        : base(message) { }

    /// <summary>Creates the exception with its one sentence and what caused it.</summary>
    public CheckpointException(string message, Exception inner)
        : base(message, inner) { }
}
