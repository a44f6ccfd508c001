// Times one U-Net evaluation in ONNX Runtime on the CPU:
//
//     OnnxRuntimePeer UNET.onnx LATENT BATCH REPEATS [THREADS]
//
// UNET.onnx comes from unet_onnx.py. One evaluation warms up; the median of the others is printed.

using System.Diagnostics;
using System.Globalization;
using Microsoft.ML.OnnxRuntime;

int latent = int.Parse(args[1], CultureInfo.InvariantCulture);
int batch = int.Parse(args[2], CultureInfo.InvariantCulture);
int repeats = int.Parse(args[3], CultureInfo.InvariantCulture);
int threads = int.Parse(args.ElementAtOrDefault(4) ?? "2", CultureInfo.InvariantCulture);

using var options = new SessionOptions
{
    IntraOpNumThreads = threads,
    InterOpNumThreads = 1,
    GraphOptimizationLevel = GraphOptimizationLevel.ORT_ENABLE_ALL,
};
using var session = new InferenceSession(args[0], options);
using OrtIoBinding binding = session.CreateIoBinding();
var random = new Random(1);
var held = new List<OrtValue>();
foreach ((string name, NodeMetadata input) in session.InputMetadata)
{
    long[] shape = name switch
    {
        "sample" => [batch, input.Dimensions[1], latent, latent],
        "text" => [batch, 77, input.Dimensions[2]],
        _ => [1, input.Dimensions[1]],
    };
    held.Add(Normal(shape));
    binding.BindInput(name, held[^1]);
}

(string output, NodeMetadata prediction) = session.OutputMetadata.First();
held.Add(Normal([batch, prediction.Dimensions[1], latent, latent]));
binding.BindOutput(output, held[^1]);

using var run = new RunOptions();
session.RunWithBinding(run, binding);
var times = new List<double>();
for (int i = 0; i < repeats; i++)
{
    long start = Stopwatch.GetTimestamp();
    session.RunWithBinding(run, binding);
    times.Add(Stopwatch.GetElapsedTime(start).TotalMilliseconds);
}

times.Sort();
double square = 0;
foreach (float value in held[^1].GetTensorDataAsSpan<float>())
    square += (double)value * value;
double rms = Math.Sqrt(square / held[^1].GetTensorDataAsSpan<float>().Length);
Console.WriteLine(
    string.Create(
        CultureInfo.InvariantCulture,
        $"ONNX Runtime {OrtEnv.Instance().GetVersionString()} {latent} x {latent} batch {batch}: "
            + $"median {times[times.Count / 2]:F0} ms ({times[0]:F0} to {times[^1]:F0}), output rms {rms:F4}"
    )
);
foreach (OrtValue value in held)
    value.Dispose();

// Numbers of a normal distribution: all zeros would take another path through some processors.
OrtValue Normal(long[] shape)
{
    var values = new float[shape.Aggregate(1L, (a, b) => a * b)];
    for (int i = 0; i < values.Length; i++)
    {
        double radius = Math.Sqrt(-2 * Math.Log(1 - random.NextDouble()));
        values[i] = (float)(radius * Math.Cos(2 * Math.PI * random.NextDouble()));
    }

    return OrtValue.CreateTensorValueFromMemory(values, shape);
}
