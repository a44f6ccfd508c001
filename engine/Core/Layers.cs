using AfaNative.Kernels.Contracts;

namespace AfaNative.Engine.Core;

/// <summary>A linear layer of E experts: weights [E][Out, In], bias [E, Out] or none.</summary>
public sealed record Linear(string Name, PackedWeights Weights, DeviceBuffer? Bias);

/// <summary>Padding of a convolution in pixels.</summary>
public readonly record struct Padding(int Top, int Left, int Bottom, int Right)
{
    /// <summary>The same on all four sides.</summary>
    public static Padding All(int pixels) => new(pixels, pixels, pixels, pixels);

    /// <summary>Bottom and right only, as the VAE encoder's down-sampler pads.</summary>
    public static Padding BottomRight => new(0, 0, 1, 1);
}

/// <summary>A convolution of E experts: weights [E][Out, In, k, k], bias [E, Out] or none.</summary>
public sealed record Convolution(string Name, PackedWeights Weights, DeviceBuffer? Bias, int Stride, Padding Padding)
{
    internal ConvolutionShape ShapeFor(Shape x, int experts) =>
        new(
            experts,
            x.Batch,
            x.Height,
            x.Width,
            x.Experts < experts,
            Stride,
            Padding.Top,
            Padding.Left,
            Padding.Bottom,
            Padding.Right,
            Weights.Shape.KernelHeight,
            Weights.Shape.KernelWidth
        );
}

/// <summary>A group norm of E experts: weight and bias [E, Channels].</summary>
public sealed record GroupNorm(
    string Name,
    DeviceBuffer Weight,
    DeviceBuffer Bias,
    int Experts,
    int Channels,
    int Groups,
    float Epsilon
);

/// <summary>A layer norm of E experts: weight and bias [E, Channels].</summary>
public sealed record LayerNorm(string Name, DeviceBuffer Weight, DeviceBuffer Bias, int Experts, int Channels, float Epsilon);

/// <summary>A table [E, Rows, Channels] looked up by row.</summary>
public sealed record Embedding(string Name, DeviceBuffer Table, int Experts, int Rows, int Channels);
