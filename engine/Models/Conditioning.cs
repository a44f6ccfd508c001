using AfaNative.Engine.Core;

namespace AfaNative.Engine.Models;

/// <summary>
/// What a denoiser is told of the picture besides its noisy latents: everything that text encoders and settings make of a prompt.
/// A model family that is told more adds it here.
/// </summary>
/// <param name="HiddenStates">
/// The text's tokens [N, B, tokens, 1, D], by every expert's text encoder, for B latents.
/// </param>
public sealed record Conditioning(Tensor HiddenStates);
