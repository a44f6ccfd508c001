// Searches block weights for a merge of an ensemble's experts (autoMBW) with a score of one's own: how red the picture is.
//
//     dotnet run -c Release --project samples/OwnScorer -- [ENSEMBLE] [TRIALS]

using System.Globalization;
using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Models;
using AfaNative.Engine.Pipeline;
using AfaNative.Kernels.Devices.Cpu;

string path = args.ElementAtOrDefault(0) ?? "tools/afa-native/demo";
int trials = int.Parse(args.ElementAtOrDefault(1) ?? "6", CultureInfo.InvariantCulture);

using var device = new CpuDevice();

// Expert 0 lends text encoder and VAE; its U-Net is replaced by every merge in turn.
using DiffusionModel model = DiffusionModel.Load(device, path, expert: 0);
var folder = EnsembleFolder.Open(path);
Checkpoint[] unets = [.. folder.UNets.Select(u => Checkpoint.Open(u, "diffusion_pytorch_model"))];
int size = NativeSize.Of(folder);
var options = new GenerationOptions
{
    Prompt = "a red circle left of a red star",
    Seeds = [1],
    Steps = 4,
    GuidanceScale = 4,
    Width = size,
    Height = size,
};

var search = new BlockWeightSearchOptions
{
    Models = unets.Length,
    Trials = trials,
    Subject = "redness",
};
SearchTrial best = BlockWeightSearch.Run(search, Score, done: t => Console.WriteLine($"trial {t.Trial}: {t.Score:F4}"));
Console.WriteLine($"best: trial {best.Trial}, shares {string.Join(", ", best.Blocks.Select(b => b.Average().ToString("F2")))}");
foreach (Checkpoint unet in unets)
    unet.Dispose();

// Weights [models][25] in, a number out; higher is better.
double Score(double[][] blocks)
{
    (UNetModel merged, MergedParameters memory) = ModelMerge.LoadUNet(device, unets, model.Ensemble.Config, blocks);
    using (memory)
    {
        model.Replace(merged);
        float[] rgb = new TextToImagePipeline(model).Generate(options)[0];
        return Enumerable.Range(0, rgb.Length / 3).Average(i => rgb[3 * i] - (rgb[3 * i + 1] + rgb[3 * i + 2]) / 2);
    }
}
