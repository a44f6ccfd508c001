using AfaNative.Engine.Core;
using AfaNative.Engine.Files;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Verification;

/// <summary>Replays reference cases on a device.</summary>
public static class CaseRunner
{
    /// <summary>Folders with a <c>case.json</c> at any depth below <paramref name="folder"/>, sorted, each once.</summary>
    /// <exception cref="AfaException">The folder does not exist.</exception>
    public static IReadOnlyList<string> Find(string folder)
    {
        if (!Directory.Exists(folder))
            throw new AfaException($"{folder}: no such folder of cases.");
        // Links may lead back to where they lie, or twice to the same place.
        IEnumerable<string> files = FolderFiles.Enumerate(
            folder,
            (path, why) =>
            {
                if (Directory.Exists(path))
                    throw new AfaException($"{path}: the folder of cases cannot be read: {why}");
            }
        );
        return
        [
            .. files
                .Where(f => Path.GetFileName(f) == "case.json")
                .Select(f => Path.GetDirectoryName(Path.GetFullPath(f))!)
                .Order(StringComparer.Ordinal),
        ];
    }

    /// <summary>
    /// Runs one case, with <paramref name="gradients"/> also backwards where the device can. A case that cannot be read or run
    /// fails; a kind that is not implemented is skipped.
    /// </summary>
    public static CaseResult Run(string folder, IDevice device, CancellationToken cancellation = default, bool gradients = false)
    {
        string id = Path.GetFileName(folder),
            kind = "?";
        // Half-precision activations: 5e-3 of the largest value for float16, eight times that for bfloat16's shorter mantissa;
        // half of it where only what is multiplied is rounded.
        double floor = device.Products switch
        {
            ElementType.Float16 => 5e-3,
            ElementType.BFloat16 => 4e-2,
            _ => 0,
        };
        var compare = new Comparer(device.Products == device.Storage ? floor : floor / 2, floor);
        try
        {
            using var c = new GoldenCase(folder);
            (id, kind) = (c.Id, c.Op);
            var ops = new Ops(device, cancellation);
            using TensorScope scope = ops.Scope();
            string? skipped = null;
            using GradientRecorder? recorder = c.Recorder =
                gradients && device.Gradients is not null ? new GradientRecorder(ops) : null;
            if (
                !CheckpointCases.TryRun(c, compare)
                && !OpCases.TryRun(c, ops, compare)
                && !NetworkCases.TryRun(c, ops, compare)
                && !PipelineCases.TryRun(c, ops, compare, out skipped)
            )
            {
                skipped = $"kind '{kind}' is not known";
            }

            if (skipped is not null)
                return new CaseResult(id, kind, CaseVerdict.Skipped, 0, 0, 0, 0, skipped) { Tensors = compare.Tensors };
        }
        catch (Exception e) when (e is AfaException or IOException or UnauthorizedAccessException)
        {
            compare.Fail("", e.Message);
        }
        catch (Exception e) when (e is not OperationCanceledException and not OutOfMemoryException)
        {
            // The files are there, but not as this kind of case has them: a key, a shape, a type.
            compare.Fail("", $"the case's files are not as a case of kind '{Printable.Shortened(kind)}' has them: {e.Message}");
        }

        if (compare.Count == 0)
            compare.Fail("", "the case held nothing to compare");
        IReadOnlyList<string> failures = compare.Failures;
        bool passed = failures.Count == 0;
        return new CaseResult(
            id,
            kind,
            passed ? CaseVerdict.Passed : CaseVerdict.Failed,
            compare.MaxAbsolute,
            compare.MaxRelative,
            compare.Tolerance,
            compare.Count,
            passed
                ? compare.Worst
                : string.Join("; ", failures.Take(3)) + (failures.Count > 3 ? $" and {failures.Count - 3} more" : "")
        )
        {
            Tensors = compare.Tensors,
        };
    }
}
