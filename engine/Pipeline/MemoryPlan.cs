using System.Globalization;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices.Planning;

namespace AfaNative.Engine.Pipeline;

/// <summary>
/// What a run will need, known before a weight is read: the model is built on a device that only counts, and one step and one
/// picture are run on it.
/// </summary>
/// <param name="Weights">Bytes of packed weights of all components.</param>
/// <param name="LargestWeight">Bytes of the largest single weight, which is what streaming stages.</param>
/// <param name="Denoising">Bytes of buffers at the peak of text encoding and denoising, norms and embeddings included.</param>
/// <param name="Decoding">Bytes of buffers at the peak of decoding a picture, with what the pool still keeps from
/// denoising.</param>
/// <param name="Workspace">Bytes of kernels' scratch and the runtime.</param>
public sealed record MemoryPlan(long Weights, long LargestWeight, long Denoising, long Decoding, long Workspace)
{
    /// <summary>Bytes of buffers at the peak of the run.</summary>
    public long Buffers => Math.Max(Denoising, Decoding);

    /// <summary>Bytes at the peak of the run, all weights resident.</summary>
    public long Total => Weights + Buffers + Workspace;

    /// <summary>The least a device that streams weights can run in.</summary>
    public long Least => LargestWeight + Buffers + Workspace;

    /// <summary>
    /// Plans a run of <paramref name="options"/> with the model in <paramref name="path"/> on <paramref name="device"/>, without
    /// touching either.
    /// </summary>
    /// <exception cref="AfaException">The model or the options are no good; the same complaint loading or sampling would
    /// make.</exception>
    public static MemoryPlan For(IDevice device, string path, GenerationOptions options, int? expert = null) =>
        For(device, EnsembleFolder.Open(path), options, expert);

    /// <summary>As above, of a model whose parts were found already.</summary>
    public static MemoryPlan For(IDevice device, EnsembleFolder folder, GenerationOptions options, int? expert = null)
    {
        using var planning = new PlanningDevice(device);
        using DiffusionModel model = DiffusionModel.Load(planning, folder, expert);
        var pipeline = new TextToImagePipeline(model);
        planning.ResetPeak();
        float[] latents = pipeline.GenerateLatents(
            options with
            {
                Steps = 1,
                HighResolution = options.HighResolution is { } pass ? pass with { Steps = 1 } : null,
            }
        );
        long denoising = planning.Peak;
        planning.ResetPeak();
        pipeline.DecodeImages(latents, options);
        return new MemoryPlan(planning.WeightBytes, planning.LargestWeight, denoising, planning.Peak, device.WorkspaceBytes);
    }

    /// <summary>
    /// Makes the run fit <paramref name="budget"/> bytes: by keeping weights on the host where the device can stream them, else
    /// not at all.
    /// Returns the bytes of weights that will be streamed.
    /// </summary>
    /// <exception cref="AfaException">It cannot fit; the message says what is needed and what to lower.</exception>
    public long Fit(IDevice device, long budget)
    {
        if (Total <= budget)
            return 0;
        if (device.ResidentWeightLimit is null)
        {
            throw new AfaException(
                $"This run needs {Format(Total)} on {device.Name}, the budget is {Format(budget)}: weights take "
                    + $"{Format(Weights)}, "
                    + $"denoising {Format(Denoising)}, decoding {Format(Decoding)}. Smaller pictures, a smaller "
                    + $"`batch-size` or fewer experts need less."
            );
        }

        if (Least > budget)
        {
            throw new AfaException(
                $"Even with all weights streamed from the host this run needs {Format(Least)} on {device.Name}, the "
                    + $"budget is {Format(budget)}: denoising takes {Format(Denoising)}, "
                    + $"decoding {Format(Decoding)}, the largest weight {Format(LargestWeight)}. Smaller pictures, a "
                    + $"smaller `batch-size` or `precision` f16 need less."
            );
        }

        long resident = budget - Least;
        device.ResidentWeightLimit = resident;
        return Weights - resident;
    }

    /// <inheritdoc/>
    public override string ToString() =>
        $"memory: weights {Format(Weights)}, denoising {Format(Denoising)}, decoding {Format(Decoding)}, workspace "
        + $"{Format(Workspace)}; {Format(Total)} at the peak";

    /// <summary>Bytes for people: "7.4 GiB".</summary>
    public static string Format(long bytes) =>
        bytes >= 1L << 30
            ? string.Create(CultureInfo.InvariantCulture, $"{bytes / (double)(1L << 30):F2} GiB")
            : string.Create(CultureInfo.InvariantCulture, $"{bytes / (double)(1 << 20):F0} MiB");

    /// <summary>Reads "6GiB", "6G", "6000MiB", "6.5 GB" (decimal) or plain bytes.</summary>
    /// <exception cref="AfaException">It is none of them.</exception>
    public static long Parse(string text)
    {
        string trimmed = text.Trim();
        int digits = 0;
        while (digits < trimmed.Length && (char.IsAsciiDigit(trimmed[digits]) || trimmed[digits] == '.'))
            digits++;
        double unit = trimmed[digits..].Trim().ToUpperInvariant() switch
        {
            "" or "B" => 1,
            "K" or "KIB" => 1 << 10,
            "M" or "MIB" => 1 << 20,
            "G" or "GIB" => 1 << 30,
            "MB" => 1e6,
            "GB" => 1e9,
            _ => 0,
        };
        if (
            unit == 0
            || !Numbers.TryDouble(trimmed.AsSpan(0, digits), out double number)
            || !(number > 0)
            || number * unit > 1e18
        )
        {
            throw new AfaException(
                $"'{Printable.Shortened(text)}' is no amount of memory: expected a number with MiB, GiB, MB or GB, such as 6GiB."
            );
        }

        return (long)(number * unit);
    }
}
