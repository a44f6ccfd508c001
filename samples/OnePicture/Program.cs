// Draws one picture and writes it as PNG.
//
//     dotnet run -c Release --project samples/OnePicture -- [MODEL] [PICTURE.png] ["prompt"]

using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Imaging;
using AfaNative.Engine.Pipeline;
using AfaNative.Kernels.Devices.Cpu;

string model = args.ElementAtOrDefault(0) ?? "tools/afa-native/demo";
string output = args.ElementAtOrDefault(1) ?? "picture.png";
string prompt = args.ElementAtOrDefault(2) ?? "a red circle left of a green star";

// A device computes; a model's weights live on it. Both hold memory until they are disposed.
using var device = new CpuDevice();
using DiffusionModel diffusion = DiffusionModel.Load(device, model);
foreach (string warning in diffusion.Warnings)
    Console.Error.WriteLine(warning);

int size = NativeSize.Of(diffusion.Folder);
var options = new GenerationOptions
{
    Prompt = prompt,
    Seeds = [1],
    Steps = 10,
    GuidanceScale = 4,
    Width = size,
    Height = size,
};

// One picture a seed: size x size x 3 numbers from 0 to 1.
IReadOnlyList<float[]> pictures = new TextToImagePipeline(diffusion).Generate(options);
PngFile.Write(output, RgbImage.FromFloat(pictures[0], size, size), prompt);
Console.WriteLine($"{output}: {size} x {size} pixels, \"{prompt}\"");
