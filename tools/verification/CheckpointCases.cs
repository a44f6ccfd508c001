using System.Text.Json;
using AfaNative.Engine.Checkpoints;

namespace AfaNative.Verification;

/// <summary>Names of single-file checkpoints, and one whole file against the folders it must equal.</summary>
internal static class CheckpointCases
{
    public static bool TryRun(GoldenCase c, Comparer compare)
    {
        switch (c.Op)
        {
            case "ldm_key_mapping":
                Names(c, compare);
                return true;
            case "ldm_single_file":
                File(c, compare);
                return true;
            default:
                return false;
        }
    }

    private static void Names(GoldenCase c, Comparer compare)
    {
        JsonElement.ArrayEnumerator mapping = GoldenCase.Get(c.Root, "mapping").EnumerateArray();
        IReadOnlyDictionary<string, string> map = OriginalNames.Map(
            mapping.Select(m => m.GetProperty("name_ldm").GetString()!).ToHashSet(StringComparer.Ordinal)
        );
        foreach (JsonElement one in mapping)
        {
            string original = one.GetProperty("name_ldm").GetString()!,
                diffusers = one.GetProperty("name_diffusers").GetString()!;
            compare.Exact(
                diffusers,
                map.TryGetValue(diffusers, out string? came) && came == original,
                $"comes from {came ?? "nothing"} instead of {original}"
            );
            compare.Exact(
                original,
                OriginalNames.Of(diffusers) == original,
                $"{diffusers} becomes {OriginalNames.Of(diffusers)}"
            );
        }
    }

    private static void File(GoldenCase c, Comparer compare)
    {
        using Checkpoint file = Checkpoint.OpenFile(Path.Combine(c.Folder, c.Json.String("file")));
        string text = c.Json.String("must_equal"),
            path = text[..text.IndexOf(':', StringComparison.Ordinal)];
        string model = c.Resolve(path.StartsWith("public/", StringComparison.Ordinal) ? path["public/".Length..] : path);
        int seen = 0;
        foreach (string component in (string[])["unet", "vae", "text_encoder"])
        {
            using Checkpoint expected = Checkpoint.Open(Path.Combine(model, component), "diffusion_pytorch_model", "model");
            foreach (string name in expected.Names)
            {
                if (name.EndsWith("position_ids", StringComparison.Ordinal))
                    continue;
                seen++;
                expected.TryGet(name, out SafetensorsFile? theirs, out SafetensorsTensor? tensor);
                bool found = file.TryGet(name, out SafetensorsFile? ours, out SafetensorsTensor? own);
                compare.Exact(
                    name,
                    found && own!.Type == tensor!.Type && ours!.Bytes(own).SequenceEqual(theirs!.Bytes(tensor)),
                    found ? "differs" : "is missing"
                );
            }
        }

        compare.Exact("tensors", seen == file.Names.Count, $"{file.Names.Count} instead of {seen}");
    }
}
