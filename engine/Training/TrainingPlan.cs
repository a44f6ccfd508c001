using AfaNative.Engine.Pipeline;

namespace AfaNative.Engine.Training;

/// <summary>What the held-out pictures say.</summary>
/// <param name="Step">Updates done.</param>
/// <param name="Loss">Mean squared error, the same noise and time steps every time.</param>
/// <param name="Weights">Mean weight of every expert at every aggregation point.</param>
/// <param name="FromUniform">Mean absolute distance of the weights from 1/N at every point.</param>
public sealed record TrainingEvaluation(int Step, double Loss, double[][] Weights, double[] FromUniform);

/// <summary>
/// Bytes a training run needs: packed weights, trained numbers with gradients and moments, activations and gradients at the peak,
/// scratch and runtime.
/// </summary>
public sealed record TrainingPlan(long Weights, long Trained, long Activations, long Workspace)
{
    /// <summary>All of it.</summary>
    public long Total => Weights + Trained + Activations + Workspace;

    /// <inheritdoc/>
    public override string ToString() =>
        $"memory: weights {MemoryPlan.Format(Weights)}, trained numbers {MemoryPlan.Format(Trained)}, activations "
        + $"{MemoryPlan.Format(Activations)}, workspace {MemoryPlan.Format(Workspace)}; {MemoryPlan.Format(Total)} at the peak";
}
