using AfaNative.Engine.Core;
using AfaNative.Engine.Imaging;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Sampling.Samplers;
using Xunit;

namespace AfaNative.Tests.Imaging;

public sealed class ImagingTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("imaging").FullName;

    private string Target => Path.Combine(_folder, "picture.png");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("a café\nSteps: 5, Seed: 1")]
    [InlineData("a 猫 and 🐈\nSteps: 5")]
    public void A_picture_and_its_parameters_come_back(string? parameters)
    {
        RgbImage image = Picture(37, 21, 5);
        PngFile.Write(Target, image, parameters);
        PngFile.Write(Target, image, parameters);
        RgbImage back = PngFile.Read(Target, out string? text);
        Assert.Equal(parameters, text);
        Assert.Equal((37, 21), (back.Width, back.Height));
        Assert.Equal(image.Pixels, back.Pixels);
        Assert.Single(Directory.GetFiles(_folder));
    }

    [Fact]
    public void Corrupt_pictures_are_named()
    {
        PngFile.Write(Target, Picture(16, 16, 1), "text");
        byte[] good = File.ReadAllBytes(Target);
        for (int cut = 0; cut < good.Length; cut += 7)
        {
            File.WriteAllBytes(Target, good[..cut]);
            Assert.Contains(Target, Assert.Throws<AfaException>(() => PngFile.Read(Target, out _)).Message);
        }
        good[^20] ^= 1;
        File.WriteAllBytes(Target, good);
        Assert.Throws<AfaException>(() => PngFile.Read(Target, out _));
        Assert.Throws<AfaException>(() => PngFile.Read(Path.Combine(_folder, "none.png"), out _));
    }

    [Fact]
    public void A_failed_write_leaves_nothing_behind()
    {
        Directory.CreateDirectory(Target);
        Assert.Throws<AfaException>(() => PngFile.Write(Target, Picture(4, 4, 1), null));
        Assert.Empty(Directory.GetFiles(_folder));
        Assert.Throws<AfaException>(() => PngFile.Write(Path.Combine(_folder, "none", "a.png"), Picture(4, 4, 1), null));
    }

    [Fact]
    public void Floats_are_clamped_and_rounded_half_to_even() =>
        Assert.Equal([0, 255, 0, 0, 2, 255], RgbImage.FromFloat([-1f, 2f, float.NaN, 0.5f / 255f, 1.5f / 255f, 1f], 1, 2).Pixels);

    [Fact]
    public void Metadata_reads_as_common_tools_write_it()
    {
        GenerationMetadata metadata = new()
        {
            Prompt = "a cat",
            NegativePrompt = "blur",
            Steps = 50,
            CfgScale = 7.5,
            Seed = 1,
            Width = 512,
            Height = 768,
            ModelHashes = ["aa", "bb"],
            Models = ["one", "two, x"],
            AggregatorHash = "cc",
            Version = "0.1.0",
        };
        Assert.Equal(
            "a cat\nNegative prompt: blur\nSteps: 50, Sampler: DDIM, CFG scale: 7.5, Seed: 1, Size: 512x768, "
                + "Model hash: aa + bb, Model: \"one + two, x\", Aggregator hash: cc, Version: AfaNative 0.1.0",
            metadata.ToParameters()
        );
        GenerationMetadata some = GenerationMetadata.Parse(
            (
                metadata with
                {
                    Fusion = "feature mean",
                    Experts = "0+2",
                    Plot = "x steps 1 | steps 2; y cat, \"dog\"",
                }
            ).ToParameters()
        );
        Assert.Equal(("feature mean", "0+2", "x steps 1 | steps 2; y cat, \"dog\""), (some.Fusion, some.Experts, some.Plot));
    }

    [Theory]
    [InlineData(1, 1, 1)]
    [InlineData(2, 2, 1)]
    [InlineData(3, 2, 2)]
    [InlineData(5, 3, 2)]
    [InlineData(9, 3, 3)]
    public void Grids_are_near_square(int count, int columns, int rows)
    {
        RgbImage[] images = Enumerable.Range(0, count).Select(k => Picture(5, 4, k)).ToArray();
        RgbImage grid = ImageGrid.Compose(images);
        Assert.Equal((5 * columns, 4 * rows), (grid.Width, grid.Height));
        int last = count - 1;
        int at = 3 * (last / columns * 4 * grid.Width + last % columns * 5);
        Assert.Equal(images[last].Pixels[..15], grid.Pixels[at..(at + 15)]);
    }

    [Fact]
    public void Grids_want_pictures_of_one_size()
    {
        Assert.Throws<AfaException>(() => ImageGrid.Compose([]));
        Assert.Throws<AfaException>(() => ImageGrid.Compose([Picture(4, 4, 0), Picture(4, 5, 0)]));
    }

    [Fact]
    public void Labelled_grids_hold_every_picture_and_their_labels()
    {
        RgbImage[] cells = [.. Enumerable.Range(0, 6).Select(k => Picture(20, 30, k))];
        RgbImage grid = LabelledGrid.Draw(
            cells,
            3,
            ["steps 10", "steps 20", "steps 30"],
            ["a", "a label that is far too long for the few pixels that there are beside so small a picture, and so it is cut"]
        );
        int last = -1;
        foreach (RgbImage cell in cells)
        {
            int at = Find(grid, cell);
            Assert.True(at > last, "cells come row by row");
            last = at;
        }

        // Above the first picture and left of it there is ink, between the labels' corner and the edge none.
        int first = Find(grid, cells[0]),
            left = first % grid.Width,
            top = first / grid.Width;
        Assert.True(Ink(grid, left, 0, grid.Width, top) > 100 && Ink(grid, 0, top, left, grid.Height) > 100);
        Assert.Equal(0, Ink(grid, 0, 0, left - 20, top));
        RgbImage bare = LabelledGrid.Draw(cells, 6, [], []);
        Assert.Equal((6 * 20 + 7 * 4, 30 + 2 * 4), (bare.Width, bare.Height));
        Assert.Throws<AfaException>(() => LabelledGrid.Draw(cells, 4, [], []));
        Assert.Throws<AfaException>(() => LabelledGrid.Draw(cells, 3, ["one"], []));
        Assert.Throws<AfaException>(() => LabelledGrid.Draw([Picture(4, 4, 0), Picture(4, 5, 0)], 2, [], []));
        Assert.Contains(
            "too many for one picture",
            Assert
                .Throws<AfaException>(() => LabelledGrid.Draw([.. Enumerable.Repeat(Picture(2048, 2048, 0), 200)], 20, [], []))
                .Message
        );

        static int Ink(RgbImage image, int left, int top, int right, int bottom) =>
            Enumerable
                .Range(top, bottom - top)
                .Sum(y => Enumerable.Range(left, right - left).Count(x => image.Pixels[3 * (y * image.Width + x)] < 100));

        static int Find(RgbImage whole, RgbImage part)
        {
            for (int i = 0; i < whole.Pixels.Length / 3; i++)
            {
                if (
                    Enumerable
                        .Range(0, part.Height)
                        .All(y =>
                            whole
                                .Pixels.AsSpan(
                                    3 * Math.Min(i + y * whole.Width, whole.Width * whole.Height - part.Width),
                                    3 * part.Width
                                )
                                .SequenceEqual(part.Pixels.AsSpan(3 * y * part.Width, 3 * part.Width))
                        )
                )
                    return i;
            }

            return -1;
        }
    }

    [Theory]
    [InlineData("short", 60, "short")]
    [InlineData("two words", 41, "two|words")]
    [InlineData("one two three four five six", 29, "one|two|thr..")]
    [InlineData("unbreakable", 41, "unbreak|able")]
    public void Labels_are_wrapped_between_words(string text, int pixels, string lines) =>
        Assert.Equal(lines, string.Join('|', LabelledGrid.Wrap(text, pixels, 1)));

    private static RgbImage Picture(int width, int height, int seed)
    {
        byte[] pixels = new byte[3 * width * height];
        new System.Random(seed).NextBytes(pixels);
        return new RgbImage(width, height, pixels);
    }
}
