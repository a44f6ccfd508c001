namespace AfaNative.Kernels.Contracts;

/// <summary>Element-wise functions of the Stable Diffusion family.</summary>
public enum ActivationKind
{
    /// <summary>x.</summary>
    None,

    /// <summary>x * sigmoid(x).</summary>
    Silu,

    /// <summary>0.5 x (1 + erf(x / sqrt 2)).</summary>
    Gelu,

    /// <summary>x * sigmoid(1.702 x), the original CLIP's.</summary>
    QuickGelu,
}
