using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Host;
using AfaNative.Kernels.MatrixMultiply;
using AfaNative.Kernels.Vectors;

namespace AfaNative.Kernels.Convolution;

/// <summary>Gradients of convolutions as matrix products, or by Winograd's way where the convolution takes it.</summary>
internal static unsafe class ConvolutionGradientSimd
{
    /// <summary>See <see cref="IGradients.ConvolutionInput"/>.</summary>
    public static void Input(
        WorkerPool pool,
        SimdWidth simd,
        Scratch shared,
        in ConvolutionShape shape,
        float* dy,
        CpuPackedWeights weights,
        float* dx
    )
    {
        int rows = shape.Batch * shape.Height * shape.Width,
            outputs = weights.Shape.Out;
        long stride = (long)shape.Batch * shape.OutHeight * shape.OutWidth * outputs;
        if (WinogradConvolution.Suits(shape, new WeightShape(weights.Shape.In, outputs, shape.KernelHeight, shape.KernelWidth)))
        {
            // With stride 1 and a border of 1 the gradient is a convolution of dy with the weights transposed and turned.
            WinogradConvolution.Run(
                pool,
                simd,
                shared,
                dy,
                shape with
                {
                    SharedInput = false,
                },
                new TransposedPanels(weights),
                outputs,
                true,
                EpilogueArguments.Plain(dx, rows, weights.Shape.In)
            );
            return;
        }

        MatrixMultiplySimd.Run(
            pool,
            new Float32Product(simd),
            new GradientPatchRows(dy, stride, shape, outputs),
            shape.Experts,
            rows,
            new TransposedPanels(weights),
            EpilogueArguments.Plain(dx, rows, weights.Shape.In)
        );
    }

    /// <summary>See <see cref="IGradients.ConvolutionWeights"/>; <paramref name="work"/> is as large as dw.</summary>
    public static void Weights(
        WorkerPool pool,
        SimdWidth simd,
        in ConvolutionShape shape,
        WeightShape weights,
        float* x,
        float* dy,
        float* dw,
        float* work
    )
    {
        int rows = shape.Batch * shape.OutHeight * shape.OutWidth,
            taps = weights.KernelHeight * weights.KernelWidth,
            inputs = weights.In,
            k = weights.K;
        long stride = shape.SharedInput ? 0 : (long)shape.Batch * shape.Height * shape.Width * inputs;
        MatrixMultiplySimd.Run(
            pool,
            new Float32Product(simd),
            new TransposedRows(dy, (long)rows * weights.Out, weights.Out),
            shape.Experts,
            weights.Out,
            new RowPanels<PatchRows>(new PatchRows(x, stride, shape, inputs), rows, k),
            EpilogueArguments.Plain(work, weights.Out, k)
        );
        // (tap, input) to the file's (input, tap).
        pool.Run(
            shape.Experts * weights.Out,
            (task, _) => Transpose.Run(work + (long)task * k, inputs, taps, inputs, dw + (long)task * k, taps)
        );
    }
}
