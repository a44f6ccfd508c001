using AfaNative.Engine.Checkpoints;
using AfaNative.Engine.Core;
using AfaNative.Engine.Files;

namespace AfaNative.Engine.Prompts;

/// <summary>Finds the LoRAs that prompts ask for by name.</summary>
public static class LoraFolder
{
    /// <summary>
    /// The requests given and those of prompts, which must all ask for the same, since weights are merged when a model is loaded;
    /// a file asked for several times is there once, its weights added up.
    /// </summary>
    /// <exception cref="AfaException">Prompts differ, or a LoRA is not to be found.</exception>
    public static IReadOnlyList<LoraRequest> Collect(
        IReadOnlyList<LoraRequest> given,
        IReadOnlyList<string> prompts,
        string? folder
    )
    {
        IReadOnlyList<PromptLora> asked = prompts.Count > 0 ? PromptLora.In(prompts[0]) : [];
        for (int i = 1; i < prompts.Count; i++)
        {
            IReadOnlyList<PromptLora> other = PromptLora.In(prompts[i]);
            if (!asked.ToHashSet().SetEquals(other))
                throw new AfaException(
                    $"LoRAs are merged when the model is loaded, so all prompts of a run must ask for the same: "
                        + $"'{Begin(prompts[0])}' asks for {Names(asked)}, '{Begin(prompts[i])}' for {Names(other)}."
                );
        }

        LoraRequest[] all = [.. given, .. asked.Select(l => new LoraRequest(Find(l, folder), l.Weight, l.Expert))];
        return
        [
            .. all.GroupBy(l => (Path.GetFullPath(l.Path), l.Expert))
                .Select(g => g.First() with { Weight = g.Sum(l => l.Weight) }),
        ];

        static string Begin(string prompt) => prompt.Length > 60 ? prompt[..60] + "..." : prompt;

        static string Names(IReadOnlyList<PromptLora> loras) => loras.Count == 0 ? "none" : string.Join(", ", loras);
    }

    // As it is written, else in any case.
    private static string Find(PromptLora lora, string? folder)
    {
        if (folder is null)
            throw new AfaException($"The prompt asks for the LoRA {lora}: `lora-dir` says in which folder it is.");
        if (!Directory.Exists(folder))
            throw new AfaException($"{folder}: there is no such folder of LoRAs.");
        string[] files =
        [
            .. FolderFiles
                .Enumerate(folder)
                .Where(f => Path.GetExtension(f).Equals(".safetensors", StringComparison.OrdinalIgnoreCase))
                .Order(StringComparer.Ordinal),
        ];
        foreach (
            StringComparison comparison in (StringComparison[])[StringComparison.Ordinal, StringComparison.OrdinalIgnoreCase]
        )
        {
            string[] found = [.. files.Where(f => Path.GetFileNameWithoutExtension(f).Equals(lora.Name, comparison))];
            if (found.Length > 1)
                throw new AfaException(
                    $"{folder}: the prompt asks for the LoRA '{lora.Name}', but there are {found.Length} of that name: "
                        + $"{string.Join(", ", found)}."
                );
            if (found.Length == 1)
                return found[0];
        }

        string there =
            files.Length == 0
                ? "no LoRA (.safetensors)"
                : string.Join(", ", files.Take(8).Select(Path.GetFileNameWithoutExtension))
                    + (files.Length > 8 ? $" and {files.Length - 8} more" : "");
        string pickle = FolderFiles
            .Enumerate(folder)
            .Any(f =>
                PickleName.Is(f) && Path.GetFileNameWithoutExtension(f).Equals(lora.Name, StringComparison.OrdinalIgnoreCase)
            )
            ? " (a file of that name is a pickle, which can run code when it is read)"
            : "";
        throw new AfaException(
            $"{folder}: the prompt asks for the LoRA '{lora.Name}', which is not there{pickle}; it holds {there}."
        );
    }
}
