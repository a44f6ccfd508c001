using AfaNative.Engine.Core;
using AfaNative.Engine.Models;

namespace AfaNative.Engine.Ensemble;

/// <summary>The size a model was made for, which is what is taken where nothing is said.</summary>
public static class NativeSize
{
    /// <summary>Edge of a square picture in pixels: the first U-Net's <c>sample_size</c> times the VAE's factor.</summary>
    /// <exception cref="CheckpointException">A configuration is missing, or states a size no picture has.</exception>
    public static int Of(EnsembleFolder folder)
    {
        ArgumentNullException.ThrowIfNull(folder);
        string unet = folder.Config(folder.UNets[0], "unet");
        int sample = UNetConfig.Load(unet).SampleSize;
        long size = (long)sample * VaeConfig.Load(folder.Config(folder.Vae, "vae")).Downscale;
        if (sample < 1 || size > 1 << 14)
        {
            throw new CheckpointException(
                $"{Path.Combine(unet, "config.json")}: 'sample_size' is {sample}; pictures of {size} pixels were expected to be "
                    + $"1 to {1 << 14} wide."
            );
        }
        return (int)size;
    }
}
