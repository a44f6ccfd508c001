using AfaNative.Engine.Core;
using AfaNative.Engine.Training;

namespace AfaNative.Verification;

/// <summary>
/// Follows one case with a tape: which inputs and weights its gradients are known of, and how they lie in its files.
/// </summary>
internal sealed class GradientRecorder(Ops ops) : IDisposable
{
    /// <summary>Relative L2 error of a gradient.</summary>
    public const double Tolerance = 1e-3;

    /// <summary>Why a gradient, and AdamW's steps along it, are not compared.</summary>
    public const string RoundingNote = "the reference's gradient is zero but for rounding";

    /// <summary>
    /// A gradient that is zero but for rounding (a key's bias does not change a softmax) says nothing: root mean squares of it
    /// and of the case's largest.
    /// </summary>
    public static bool IsRounding(double root, double largest) => root <= 1e-6 * largest;

    /// <summary>Root mean square.</summary>
    public static double Root(float[] values) => Math.Sqrt(values.Sum(v => (double)v * v) / Math.Max(1, values.Length));

    private readonly List<(string Name, Tensor Tensor, Func<Tensor, float[]> ToFile)> _inputs = [];
    private readonly List<TrainedParameters> _parameters = [];

    /// <summary>The tape the ops record on.</summary>
    public Tape Tape { get; } = ops.Tape = new Tape(ops.Device, []);

    /// <summary>An input whose gradient the case may know.</summary>
    public Tensor Input(string name, Tensor tensor, Func<Tensor, float[]> toFile)
    {
        _inputs.Add((name, Tape.Watch(tensor), toFile));
        return tensor;
    }

    /// <summary>A layer whose gradients the case may know; disposed with the recorder.</summary>
    public void Train(TrainedParameters parameters)
    {
        _parameters.Add(parameters);
        Tape.Train(parameters.All);
    }

    /// <summary>Goes back from the outputs and compares <c>gin.*</c> and <c>gw.*</c>.</summary>
    public void Compare(GoldenCase c, Comparer compare, params ReadOnlySpan<(Tensor Output, float[] Gradient)> outputs) =>
        Compare(c, compare, "tensors.safetensors", network: false, outputs);

    /// <summary>As above, from another file, perhaps through a whole network; inputs are forgotten afterwards.</summary>
    public void Compare(
        GoldenCase c,
        Comparer compare,
        string file,
        bool network,
        params ReadOnlySpan<(Tensor Output, float[] Gradient)> outputs
    )
    {
        var given = new (Tensor, Tensor)[outputs.Length];
        for (int i = 0; i < given.Length; i++)
            given[i] = (outputs[i].Output, ops.Upload(outputs[i].Gradient, outputs[i].Output.Shape));
        Tape.Backward(given);
        var found = new List<(string Name, float[] Came, float[] Expected)>();
        foreach ((string name, Tensor tensor, Func<Tensor, float[]> toFile) in _inputs)
        {
            string key = name.Replace("in.", "gin.", StringComparison.Ordinal);
            if (!c.Has(key, file))
                continue;
            if (Tape.GradientOf(tensor) is { } gradient)
                found.Add((key, toFile(gradient), c.Values(key, file)));
            else
                compare.Fail(key, "the loss was found not to depend on this input");
        }

        foreach (Parameter parameter in _parameters.SelectMany(p => p.All))
        {
            string key = "g" + parameter.Name;
            if (c.Has(key, file))
                found.Add((key, parameter.Gradient, c.Values(key, file)));
        }

        double largest = found.Count == 0 ? 0 : found.Max(f => Root(f.Expected));
        foreach ((string name, float[] came, float[] expected) in found)
        {
            if (IsRounding(Root(expected), largest))
                compare.Skip(name, RoundingNote);
            else
                compare.CloseInNorm(name, came, expected, Tolerance, network);
        }

        _inputs.Clear();
    }

    public void Dispose()
    {
        ops.Tape = null;
        Tape.Dispose();
        foreach (TrainedParameters parameters in _parameters)
            parameters.Dispose();
    }
}
