// Trains an ensemble's aggregators (SABW) for two updates, on pictures that lie in a folder beside their captions.
//
//     dotnet run -c Release --project samples/TrainAggregators -- [ENSEMBLE] [RUN]

using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Imaging;
using AfaNative.Engine.Training;
using AfaNative.Kernels.Devices.Cpu;

string path = args.ElementAtOrDefault(0) ?? "tools/afa-native/demo";
string run = args.ElementAtOrDefault(1) ?? "run";

var ensemble = EnsembleFolder.Open(path);
var options = new TrainingOptions
{
    Steps = 2,
    BatchSize = 2,
    Size = NativeSize.Of(ensemble),
    LearningRate = 1e-5,
    Holdout = 1,
};
string data = Path.Combine(run, "data");
WritePictures(data, options.Size);

using var device = new CpuDevice();

// Pictures and captions are encoded once, under a hash of what they were made from.
var cache = new LatentCache(Path.Combine(run, "cache"), ensemble, options.Size, options.Seed);
IReadOnlyList<EncodedRecord> encoded = cache.Encode(device, TrainingRecords.Find(data));
string noCaption = cache.EncodeCaption(device, "");

using var trainer = new AggregatorTrainer(device, ensemble, encoded, noCaption, options, run);
Console.WriteLine($"{trainer.ParameterCount} trained numbers, {encoded.Count} pictures");
trainer.Train(
    step => Console.WriteLine($"update {step.Step}: loss {step.Loss:F4}, gradient norm {step.GradientNorm:F4}"),
    held => Console.WriteLine($"after {held.Step} updates: held-out loss {held.Loss:F4}")
);
Console.WriteLine($"the trained ensemble: {Path.Combine(run, "model")}");

// White pictures with a red disc, each at another place.
static void WritePictures(string folder, int size)
{
    Directory.CreateDirectory(folder);
    for (int i = 0; i < 3; i++)
    {
        byte[] pixels = [.. Enumerable.Repeat((byte)255, 3 * size * size)];
        for (int p = 0; p < size * size; p++)
        {
            double right = (double)(p % size) / size - 0.25 * (i + 1);
            double down = (double)(p / size) / size - 0.5;
            if (right * right + down * down < 0.03)
                (pixels[3 * p + 1], pixels[3 * p + 2]) = (0, 0);
        }

        PngFile.Write(Path.Combine(folder, $"{i}.png"), new RgbImage(size, size, pixels), null);
        File.WriteAllText(Path.Combine(folder, $"{i}.txt"), "a red circle");
    }
}
