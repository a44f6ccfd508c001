using AfaNative.Engine.Core;

namespace AfaNative.Engine.Pipeline;

/// <summary>Told about a run as it goes; every member may be null.</summary>
public sealed record GenerationObserver
{
    /// <summary>Steps done, steps in all.</summary>
    public Action<int, int>? Step { get; init; }

    /// <summary>
    /// The noise [count, C, h, w] of unit variance that a run starts from: given back as
    /// <see cref="GenerationOptions.InitialLatents"/> it draws the same pictures, but for noise that samplers add later, which is
    /// the seeds'.
    /// </summary>
    public Action<float[]>? Noise { get; init; }

    /// <summary>
    /// Step index and what the model predicts there [count, C, h, w], under guidance, of what the schedule's prediction type
    /// says.
    /// </summary>
    public Action<int, float[]>? Predicted { get; init; }

    /// <summary>
    /// Latents [count, C, h, w] after a step (0 = the start); larger ones in a high-resolution run's second pass, which goes on
    /// counting.
    /// </summary>
    public Action<int, float[]>? Latents { get; init; }

    /// <summary>
    /// Steps done, and the finished latents [count, C, h, w] as the model sees them coming at that step: what previews show.
    /// </summary>
    public Action<int, float[], int, int>? Denoised { get; init; }

    /// <summary>
    /// Step index, aggregation point, fused map and expert weights [1, B, H, W, N] (B as the model ran: negatives first under
    /// guidance).
    /// </summary>
    public Action<int, int, Tensor, Tensor>? Aggregation { get; init; }

    // For the part of a run that begins after some steps.
    internal GenerationObserver Part(int before, int total) =>
        new()
        {
            Step = Step is { } step ? (done, _) => step(before + done, total) : null,
            Noise = before == 0 ? Noise : null,
            Predicted = Predicted is { } predicted ? (step, values) => predicted(before + step, values) : null,
            Latents = Latents is { } latents ? (done, values) => latents(before + done, values) : null,
            Denoised = Denoised is { } denoised
                ? (done, values, height, width) => denoised(before + done, values, height, width)
                : null,
            Aggregation = Aggregation is { } aggregation
                ? (step, point, fused, maps) => aggregation(before + step, point, fused, maps)
                : null,
        };
}
