// Draws with an ensemble and shows which expert counted where.
//
//     dotnet run -c Release --project samples/AttentionMaps -- [ENSEMBLE] [OVERVIEW.png]

using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Imaging;
using AfaNative.Engine.Pipeline;
using AfaNative.Kernels.Devices.Cpu;

string path = args.ElementAtOrDefault(0) ?? "tools/afa-native/demo";
string output = args.ElementAtOrDefault(1) ?? "overview.png";

using var device = new CpuDevice();
using DiffusionModel model = DiffusionModel.Load(device, path);
int size = NativeSize.Of(model.Folder);
var options = new GenerationOptions
{
    Prompt = "a red circle left of a green star",
    Seeds = [1],
    Steps = 10,
    GuidanceScale = 4,
    Width = size,
    Height = size,
};

// An observer is told what happens; the recorder keeps the weights of two of the steps at every aggregation point.
var recorder = new AttentionRecorder(model, options.Steps, options.Seeds.Count, columns: 2);
var observer = new GenerationObserver { Aggregation = recorder.Record };
float[] picture = new TextToImagePipeline(model).Generate(options, observer)[0];

IReadOnlyList<AttentionRecord> records = recorder.For(0);
int experts = model.Ensemble.Experts;
RgbImage overview = AttentionOverview.Draw(
    options.Prompt,
    RgbImage.FromFloat(picture, size, size),
    [.. Enumerable.Range(0, experts).Select(n => $"expert {n}")],
    records.Select(r => (r.Height, r.Width, r.Maps))
);
PngFile.Write(output, overview, null);

IReadOnlyList<string> names = AttentionRecorder.PointNames(model.Ensemble.Config);
foreach (IGrouping<int, AttentionRecord> point in records.GroupBy(r => r.Point))
    Console.WriteLine($"{names[point.Key], -22} {string.Join("  ", Enumerable.Range(0, experts).Select(n => Share(point, n)))}");
Console.WriteLine(output);

// The mean of an expert's weights over a map's pixels: the maps lie one after another.
static string Share(IEnumerable<AttentionRecord> records, int expert) =>
    records.Average(r => r.Maps.Skip(expert * r.Height * r.Width).Take(r.Height * r.Width).Average()).ToString("F2");
