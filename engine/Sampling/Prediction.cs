namespace AfaNative.Engine.Sampling;

/// <summary>
/// What a denoiser's output stands for at one noise level: the one place where it becomes the clean picture, or the noise.
/// </summary>
public readonly struct Prediction
{
    private readonly PredictionType _type;
    private readonly bool _unscaled;
    private readonly float _signal;
    private readonly float _sigma;
    private readonly float _ofSample;
    private readonly float _ofOutput;

    private Prediction(PredictionType type, bool unscaled, (float Signal, float Sigma) sample, (float Sample, float Output) clean)
    {
        (_type, _unscaled) = (type, unscaled);
        (_signal, _sigma) = sample;
        (_ofSample, _ofOutput) = clean;
    }

    /// <summary>Of samples signal * clean + sigma * noise, the squares of both adding up to 1: what networks are shown.</summary>
    public static Prediction Of(PredictionType type, float signal, float sigma) =>
        new(type, unscaled: false, (signal, sigma), (signal, sigma));

    /// <summary>
    /// Of samples clean + sigma * noise, as k-diffusion holds them; the network is shown them divided by sqrt(sigma^2 + 1).
    /// </summary>
    public static Prediction OfUnscaled(PredictionType type, double sigma)
    {
        double power = sigma * sigma + 1;
        return new(type, unscaled: true, (1, (float)sigma), ((float)(1 / power), (float)(sigma / Math.Sqrt(power))));
    }

    /// <summary>The clean sample.</summary>
    public float Clean(float sample, float output) =>
        _type switch
        {
            PredictionType.Epsilon => (sample - _sigma * output) / _signal,
            PredictionType.VPrediction => _ofSample * sample - _ofOutput * output,
            _ => output,
        };

    /// <summary>The noise, of unit variance.</summary>
    public float Noise(float sample, float output) =>
        _type switch
        {
            PredictionType.Epsilon => output,
            PredictionType.VPrediction when !_unscaled => _signal * output + _sigma * sample,
            _ => NoiseOf(sample, Clean(sample, output)),
        };

    /// <summary>The noise that a sample holds besides a clean one.</summary>
    public float NoiseOf(float sample, float clean) => (sample - _signal * clean) / _sigma;
}
