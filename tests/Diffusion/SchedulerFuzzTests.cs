using System.Text;
using AfaNative.Engine.Core;
using AfaNative.Engine.Sampling;
using AfaNative.Engine.Sampling.Samplers;
using Xunit;

namespace AfaNative.Tests.Diffusion;

/// <summary>
/// Damaged scheduler configurations are read or refused in a sentence, and what was read makes a sampler or says why not.
/// </summary>
public sealed class SchedulerFuzzTests
{
    private static readonly string[] s_seeds =
    [
        """{"_class_name": "DDIMScheduler", "beta_end": 0.012"""
            + """, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "steps_offset": 1}""",
        """{"_class_name": "DPMSolverMultistepScheduler", "solver_order": 3, "lambda_min_clipped": -Infinity"""
            + """, "use_lu_lambdas": true}""",
        """{"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver" """
            + """, "beta_schedule": "squaredcos_cap_v2"}""",
        """{"_class_name": "UniPCMultistepScheduler", "solver_order": 3, "disable_corrector": [0, 1], "predict_x0": false}""",
        """{"_class_name": "EulerDiscreteScheduler", "sigma_min": 0.1, "sigma_max": 9"""
            + """, "use_karras_sigmas": true, "timestep_type": "discrete"}""",
        """{"_class_name": "LCMScheduler", "original_inference_steps": 50, "timestep_scaling": 10.0"""
            + """, "rescale_betas_zero_snr": true}""",
        """{"_class_name": "PNDMScheduler", "skip_prk_steps": false, "num_train_timesteps": 3"""
            + """, "trained_betas": [0.1, 0.2, 0.3]}""",
    ];

    private static readonly string[] s_parts =
    [
        "0",
        "-1",
        "1e308",
        "null",
        "true",
        "\"",
        "[",
        "]",
        "{",
        "}",
        "NaN",
        "-Infinity",
        "\\ud800",
        "\\u0000",
        "99999999999",
        ",",
        ":",
    ];

    [Fact]
    public void Damage_is_a_sentence()
    {
        using var folder = new TemporaryFolder();
        var random = new System.Random(21);
        int read = 0;
        for (int round = 0; round < 1500; round++)
        {
            var text = new StringBuilder(s_seeds[round % s_seeds.Length]);
            for (int k = random.Next(1, 4); k > 0; k--)
            {
                int at = random.Next(text.Length),
                    length = Math.Min(random.Next(4), text.Length - at);
                text.Remove(at, length).Insert(at, random.Next(3) == 0 ? "" : s_parts[random.Next(s_parts.Length)]);
            }

            folder.Write(SchedulerConfig.FileName, text.ToString());
            try
            {
                SchedulerConfig config = SchedulerConfig.Load(folder.Path);
                if (config.NumTrainTimesteps > 2000)
                    continue;
                read++;
                Sampler sampler = config.Sampler.Create(new NoiseSchedule(config), 3);
                float[] sample = [1, 2];
                for (int i = 0; i < sampler.Timesteps.Count; i++)
                    sampler.Step(i, [0.1f, 0.2f], [0.3f, 0.4f], sample);
            }
            catch (AfaException e)
            {
                Assert.False(string.IsNullOrWhiteSpace(e.Message), text.ToString());
            }
            catch (Exception e) when (e is not Xunit.Sdk.XunitException)
            {
                Assert.Fail($"{e.GetType().Name} of {text}: {e.Message}");
            }
        }

        Assert.True(read > 100, $"only {read} could be read");
    }
}
