using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Models;
using AfaNative.Engine.Prompts;
using AfaNative.Engine.Sampling;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Random;

namespace AfaNative.Engine.Training;

/// <summary>What a U-Net is trained with.</summary>
public sealed record UNetTrainingSetup
{
    /// <summary>The U-Net's architecture.</summary>
    public required UNetConfig UNet { get; init; }

    /// <summary>The text encoder's architecture.</summary>
    public required ClipTextConfig Text { get; init; }

    /// <summary>Makes ids of captions.</summary>
    public required ClipTokenizer Tokenizer { get; init; }

    /// <summary>The noise schedule; its prediction type is what the U-Net learns to predict.</summary>
    public required SchedulerConfig Scheduler { get; init; }

    /// <summary>The VAE's scaling factor.</summary>
    public required float LatentScale { get; init; }

    /// <summary>Folder of a U-Net to go on from, or null.</summary>
    public string? UNetFrom { get; init; }

    /// <summary>Folder of a text encoder to go on from, or null.</summary>
    public string? TextFrom { get; init; }

    /// <summary>Train the text encoder too; one that is not trained must come from a folder.</summary>
    public bool TrainText { get; init; }
}

/// <summary>
/// Trains a U-Net, and its text encoder if wanted, to predict noise in encoded pictures (Ho et al., 2020; Rombach et al., 2022).
/// </summary>
public sealed class UNetTrainer : NetworkTrainer
{
    private readonly UNetTrainingSetup _setup;
    private readonly LatentPool _pool;
    private readonly NoiseSchedule _schedule;
    private readonly UNetModel _unet;
    private readonly ClipTextEncoder _text;
    private readonly IDisposable? _frozenText;
    private ulong _epoch = ulong.MaxValue;
    private int[] _order = [];

    /// <summary>A trainer on pictures of a pool.</summary>
    public UNetTrainer(IDevice device, TrainingOptions options, UNetTrainingSetup setup, LatentPool pool)
        : base(device, options)
    {
        _setup = setup;
        _pool = pool;
        _schedule = new NoiseSchedule(setup.Scheduler);
        _unet = Add("unet", setup.UNetFrom, p => new UNetModel(p, setup.UNet));
        if (setup.TrainText)
        {
            _text = Add("text_encoder", setup.TextFrom, p => new ClipTextEncoder(p, setup.Text), KnownExtras.IsIgnorable);
        }
        else
        {
            string from =
                setup.TextFrom ?? throw new AfaException("A text encoder that is not trained must be read from a folder.");
            (_text, _frozenText) = Ensemble.DiffusionModel.ReadComponent(
                device,
                [from],
                p => new ClipTextEncoder(p, setup.Text),
                KnownExtras.IsIgnorable
            );
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        _frozenText?.Dispose();
        base.Dispose(disposing);
    }

    /// <inheritdoc/>
    protected internal override double Gradients(long number, float scale = 1)
    {
        int batch = Options.BatchSize,
            length = _setup.Text.MaxPositions,
            per = _pool.Channels * _pool.Height * _pool.Width;
        float[] latents = new float[per],
            noise = new float[batch * per],
            posterior = new float[batch * per],
            noisy = new float[batch * per],
            target = new float[batch * per],
            times = new float[batch];
        var ids = new int[batch * length];
        GaussianNoise.Fill(noise, Options.Seed, 2 * (ulong)number);
        GaussianNoise.Fill(posterior, Options.Seed, 2 * (ulong)number + 1);
        for (int b = 0; b < batch; b++)
        {
            ulong position = (ulong)number * (ulong)batch + (ulong)b,
                epoch = position / (ulong)_pool.Count;
            if (epoch != _epoch)
                (_epoch, _order) = (epoch, Shuffle.Order(Options.Seed, epoch, _pool.Count));
            int index = _order[position % (ulong)_pool.Count];
            ReadOnlySpan<float> moments = _pool.Moments(index);
            for (int i = 0; i < per; i++)
                latents[i] =
                    (
                        moments[i]
                        + (
                            Options.PosteriorMeans
                                ? 0
                                : MathF.Exp(0.5f * Math.Clamp(moments[per + i], -30f, 20f)) * posterior[b * per + i]
                        )
                    ) * _setup.LatentScale;
            (uint word, uint coin, _, _) = Philox.Block(Options.Seed, position, 1ul << 43);
            int timestep = Timestep(word, b, batch, _schedule.AlphasCumprod.Count);
            times[b] = timestep;
            Span<float> n = noise.AsSpan(b * per, per);
            _schedule.AddNoise(latents, n, timestep, noisy.AsSpan(b * per, per));
            _schedule.GetTarget(latents, n, timestep, target.AsSpan(b * per, per));
            _setup
                .Tokenizer.Encode(coin < Options.TextDropout * 4294967296.0 ? "" : _pool.Caption(index), length)
                .CopyTo(ids, b * length);
        }

        var ops = new Ops(Device);
        using TensorScope scope = ops.Scope();
        using var tape = new Tape(Device, Trained) { Recompute = Options.Recompute };
        ops.Tape = tape;
        Tensor hidden = _text.Encode(ops, ids, length);
        var shape = new Shape(1, batch, _pool.Height, _pool.Width, _pool.Channels);
        Tensor predicted = _unet.Forward(ops, ops.UploadNchw(noisy, shape), _unet.EmbedTime(ops, times), hidden);
        ops.Tape = null;
        float[] came = ops.DownloadNchw(predicted);
        tape.Backward((predicted, ops.UploadNchw(Losses.MeanSquaredErrorGradient(came, target, scale), shape)));
        return Losses.MeanSquaredError(came, target);
    }

    /// <summary>
    /// The time step of picture <paramref name="index"/> of a batch: one from each of as many equal stretches as there are
    /// pictures, for the loss depends on the step more than on the picture
    /// and its mean fluctuates less so (Kingma et al., Variational Diffusion Models, 2021, appendix I.1).
    /// </summary>
    internal static int Timestep(uint random, int index, int batch, int steps) =>
        (int)((random + ((ulong)index << 32)) / (ulong)batch * (ulong)steps >> 32);
}
