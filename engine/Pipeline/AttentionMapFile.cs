using System.Globalization;
using System.Text.Json;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Ensemble;

namespace AfaNative.Engine.Pipeline;

/// <summary>
/// A picture's attention maps as numbers: a safetensors file with a float32 tensor [N, H, W] for every step and aggregation
/// point, named <c>step.S.point.P</c> (both from 0), which sums to 1 over the N experts. The metadata holds the points' names
/// (<c>points</c>) and the steps' training steps (<c>timesteps</c>) as JSON lists.
/// </summary>
public static class AttentionMapFile
{
    /// <summary>Writes what an <see cref="AttentionRecorder"/> recorded, whole or not at all.</summary>
    /// <param name="path">The file.</param>
    /// <param name="model">The ensemble.</param>
    /// <param name="options">The run.</param>
    /// <param name="picture">The picture of the batch.</param>
    /// <param name="records">Its maps.</param>
    /// <exception cref="AfaNative.Engine.Core.CheckpointException">The file cannot be written.</exception>
    public static void Write(
        string path,
        DiffusionModel model,
        GenerationOptions options,
        int picture,
        IEnumerable<AttentionRecord> records
    )
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(options);
        TensorEntry[] tensors =
        [
            .. records
                .OrderBy(r => r.Step)
                .ThenBy(r => r.Point)
                .Select(r =>
                    TensorEntry.FromFloat32(
                        string.Create(CultureInfo.InvariantCulture, $"step.{r.Step}.point.{r.Point}"),
                        [r.Maps.Length / (r.Height * r.Width), r.Height, r.Width],
                        r.Maps
                    )
                ),
        ];
        SafetensorsWriter.Write(
            path,
            tensors,
            new Dictionary<string, string>
            {
                ["format"] = "pt",
                ["content"] = "AfaNative attention maps",
                ["seed"] = options.Seeds[picture].ToString(CultureInfo.InvariantCulture),
                ["points"] = JsonSerializer.Serialize(AttentionRecorder.PointNames(model.Ensemble.Config)),
                ["timesteps"] = JsonSerializer.Serialize(new TextToImagePipeline(model).Timesteps(options)),
            }
        );
    }
}
