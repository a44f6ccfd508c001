using System.Text.Json;
using AfaNative.Engine.Core;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Sampling.Samplers;
using Xunit;

namespace AfaNative.Tests.Diffusion;

public class SchedulerConfigTests
{
    [Fact]
    public void A_scheduler_folder_is_read_and_unknown_keys_are_named()
    {
        string folder = Directory.CreateTempSubdirectory("scheduler").FullName;
        try
        {
            File.WriteAllText(
                Path.Combine(folder, SchedulerConfig.FileName),
                """
                {"_class_name": "PNDMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
                 "num_train_timesteps": 1000, "clip_sample": false, "set_alpha_to_one": false, "steps_offset": 1,
                 "skip_prk_steps": true, "trained_betas": null, "future": {"a": [1]}}
                """
            );
            SchedulerConfig config = SchedulerConfig.Load(folder);
            Assert.Equal(
                SchedulerConfig.StableDiffusion,
                config with
                {
                    ClassName = null,
                    Sampler = SamplerChoice.Default,
                    Warnings = [],
                }
            );
            Assert.Equal("pndm", config.Sampler.Id);
            Assert.Contains("future is no key of a scheduler", Assert.Single(config.Warnings));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Theory]
    [InlineData("""{"beta_schedule": "cosine"}""", "beta_schedule")]
    [InlineData("""{"prediction_type": 3}""", "prediction_type")]
    [InlineData("""{"timestep_spacing": "sideways"}""", "timestep_spacing")]
    [InlineData("""{"num_train_timesteps": 1.5}""", "num_train_timesteps")]
    [InlineData("""{"num_train_timesteps": 0}""", "num_train_timesteps")]
    [InlineData("""{"beta_start": "0.1"}""", "beta_start")]
    [InlineData("""{"beta_end": 2}""", "beta_end")]
    [InlineData("""{"clip_sample": 1}""", "clip_sample")]
    [InlineData("""{"steps_offset": -1}""", "steps_offset")]
    [InlineData("""{"rescale_betas_zero_snr": 1}""", "rescale_betas_zero_snr")]
    [InlineData("""{"num_train_timesteps": 2, "trained_betas": [0.1, 1.5]}""", "trained_betas")]
    [InlineData("""{"sample_max_value": 0}""", "sample_max_value")]
    [InlineData("""{"use_flow_sigmas": true}""", "use_flow_sigmas")]
    [InlineData("""{"prediction_type": "flow_prediction"}""", "prediction_type")]
    [InlineData("""{"_class_name": "FlowMatchEulerDiscreteScheduler"}""", "FlowMatchEulerDiscreteScheduler")]
    [InlineData("""{"_class_name": "EDMEulerScheduler"}""", "EDMEulerScheduler")]
    [InlineData("""{"_class_name": 7}""", "_class_name")]
    [InlineData("""{"_class_name": "\ud800"}""", "_class_name")]
    [InlineData("""{"prediction_type": "\ud800"}""", "surrogate")]
    [InlineData("""{"\ud800": 1}""", "surrogate")]
    [InlineData("""{"_class_name": "DPMSolverMultistepScheduler", "solver_order": 4}""", "solver_order")]
    [InlineData("""{"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "best"}""", "algorithm_type")]
    [InlineData(
        """{"_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": true, "use_beta_sigmas": true}""",
        "use_beta_sigmas"
    )]
    [InlineData("""{"_class_name": "EulerDiscreteScheduler", "sigma_min": 3, "sigma_max": 2}""", "sigma_min")]
    [InlineData("""{"trained_betas": [0.1]}""", "trained_betas")]
    [InlineData("[]", "JSON object")]
    public void Bad_values_are_named(string json, string named)
    {
        AfaException error = Assert.ThrowsAny<AfaException>(() => SchedulerConfig.FromJson(JsonDocument.Parse(json).RootElement));
        Assert.Contains(named, error.Message);
    }

    [Fact]
    public void A_missing_or_broken_file_is_named()
    {
        string folder = Directory.CreateTempSubdirectory("scheduler").FullName;
        try
        {
            Assert.Contains(folder, Assert.ThrowsAny<AfaException>(() => SchedulerConfig.Load(folder)).Message);
            File.WriteAllText(Path.Combine(folder, SchedulerConfig.FileName), "{");
            Assert.Contains(folder, Assert.ThrowsAny<AfaException>(() => SchedulerConfig.Load(folder)).Message);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
