namespace AfaNative.Engine.Core;

/// <summary>Between the channels-first layout of files and APIs and the engine's channels-last maps.</summary>
public static class Layout
{
    /// <summary>[E, B, C, H, W] to [E, B, H, W, C].</summary>
    public static float[] ToChannelsLast(ReadOnlySpan<float> values, Shape shape)
    {
        var result = new float[values.Length];
        int pixels = shape.Pixels,
            channels = shape.Channels;
        for (int map = 0; map < shape.Experts * shape.Batch; map++)
        {
            int origin = map * pixels * channels;
            for (int c = 0; c < channels; c++)
            {
                for (int p = 0; p < pixels; p++)
                    result[origin + p * channels + c] = values[origin + c * pixels + p];
            }
        }

        return result;
    }

    /// <summary>[E, B, H, W, C] to [E, B, C, H, W].</summary>
    public static float[] ToChannelsFirst(ReadOnlySpan<float> values, Shape shape)
    {
        var result = new float[values.Length];
        int pixels = shape.Pixels,
            channels = shape.Channels;
        for (int map = 0; map < shape.Experts * shape.Batch; map++)
        {
            int origin = map * pixels * channels;
            for (int p = 0; p < pixels; p++)
            {
                for (int c = 0; c < channels; c++)
                    result[origin + c * pixels + p] = values[origin + p * channels + c];
            }
        }

        return result;
    }
}
