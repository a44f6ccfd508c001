using System.Globalization;
using System.Text;
using AfaNative.Engine.Sampling.Samplers;

namespace AfaNative.Demo;

/// <summary>A mean and its standard error.</summary>
public readonly record struct Estimate(double Mean, double Error)
{
    /// <summary>Of independent values.</summary>
    public static Estimate Of(IReadOnlyCollection<double> values)
    {
        double mean = values.Average(),
            squares = values.Sum(v => (v - mean) * (v - mean));
        return new(mean, values.Count > 1 ? Math.Sqrt(squares / (values.Count - 1) / values.Count) : 0);
    }

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{100 * Mean:F1} ± {100 * Error:F1}");
}

/// <summary>
/// Tables of an evaluation. Prompts are independent, pictures of one prompt are not: a prompt's pictures are averaged first.
/// </summary>
public static class DemoReport
{
    /// <summary>A method's share of correct pictures in a class.</summary>
    public static Estimate Correct(IEnumerable<DemoVerdict> verdicts, string method, string @class) =>
        Correct(verdicts.Where(v => v.Class == @class), method);

    /// <summary>A method's share of correct pictures in all verdicts given.</summary>
    public static Estimate Correct(IEnumerable<DemoVerdict> verdicts, string method) =>
        Estimate.Of([
            .. verdicts
                .Where(v => v.Method == method)
                .GroupBy(v => (v.Class, v.Prompt))
                .Select(g => g.Average(v => v.Correct ? 1.0 : 0)),
        ]);

    /// <summary>How much more often one method is correct than another, prompt by prompt.</summary>
    public static Estimate Difference(
        IEnumerable<DemoVerdict> verdicts,
        string method,
        string other,
        string @class,
        Func<DemoVerdict, double> measure
    )
    {
        Dictionary<int, double> a = ByPrompt(verdicts, method, @class, measure),
            b = ByPrompt(verdicts, other, @class, measure);
        return Estimate.Of([.. a.Where(p => b.ContainsKey(p.Key)).Select(p => p.Value - b[p.Key])]);
    }

    /// <summary>How a comparison was made, its charts, and all of <see cref="Markdown"/>: a page that stands alone.</summary>
    public static string Page(
        DemoEvaluationOptions options,
        IReadOnlyList<DemoVerdict> verdicts,
        IReadOnlyList<DemoError>? errors = null
    )
    {
        (string File, string Shows, bool There)[] charts =
        [
            ("correct-mixed.png", "correct pictures on mixed prompts", verdicts.Any(v => v.Class == "mixed")),
            ("correct-family.png", "correct pictures on prompts of one family", verdicts.Any(v => v.Class != "mixed")),
            ("difference.png", "how far AFA is ahead", verdicts.Any(v => v.Method == "AFA")),
        ];
        int half = Math.Max(1, options.Steps / 2);
        string command = string.Create(
            CultureInfo.InvariantCulture,
            $"demo evaluate --sampler {options.Sampler.Id} --steps {options.Steps} --guidance {options.Guidance} "
                + $"--prompts {options.MixedPrompts} --family-prompts {options.FamilyPrompts} --seeds {options.Seeds} "
                + $"--trials {options.Trials}"
        );
        return string.Create(
                    CultureInfo.InvariantCulture,
                    $"""
                    # The demo ensemble and its rivals

                    Written by
                    `afa-native {command}`.
                    All methods draw the same held-out prompts from the same noise; `mixed` prompts name two objects of
                    different families, `family-N` prompts only shapes of expert N. Means are followed by standard errors,
                    prompts being the independent units.
                    Expert 0 knows circles and rings, 1 squares and crosses, 2 triangles and stars; the base is the model they
                    were fine-tuned from. MBW is the best of six ways to give three presets of block weights to three experts,
                    autoMBW the best of {options.Trials} trials of a search, both chosen on {options.ValidationPrompts} other
                    mixed prompts. "AFA untrained" averages features. "AFA, half the steps" takes {half} steps where the others
                    take {options.Steps}.


                    """
                )
                .ReplaceLineEndings("\n")
            + string.Concat(charts.Where(c => c.There).Select(c => $"![{c.Shows}]({c.File})\n\n"))
            + Markdown(verdicts, errors);
    }

    /// <summary>The tables in Markdown.</summary>
    public static string Markdown(IReadOnlyList<DemoVerdict> verdicts, IReadOnlyList<DemoError>? errors = null)
    {
        string[] methods = [.. DemoEvaluation.Methods.Where(m => verdicts.Any(v => v.Method == m))],
            classes = [.. DemoEvaluation.Classes.Where(c => verdicts.Any(v => v.Class == c))];
        var text = new StringBuilder();
        foreach (
            (string title, Func<DemoVerdict, double> measure) in ((string, Func<DemoVerdict, double>)[])
                [
                    ("Pictures with exactly the objects asked for, lying as asked, %", v => v.Correct ? 1 : 0),
                    ("Objects asked for that are there in shape and colour, %", v => v.Objects),
                ]
        )
        {
            text.Append(title)
                .Append("\n\n| method | ")
                .AppendJoin(" | ", classes)
                .Append(" |\n|---|")
                .Append(string.Concat(classes.Select(_ => "---|")))
                .Append('\n');
            foreach (string method in methods)
                text.Append("| ")
                    .Append(method)
                    .Append(" | ")
                    .AppendJoin(
                        " | ",
                        classes.Select(c => Estimate.Of([.. ByPrompt(verdicts, method, c, measure).Values]).ToString())
                    )
                    .Append(" |\n");
            text.Append('\n');
        }

        if (errors is { Count: > 0 })
        {
            text.Append(
                "Mean squared error of the predicted noise on held-out mixed scenes, and AFA's less it (paired by scene), "
                    + "times 1000\n\n| method | error | AFA minus it |\n|---|---|---|\n"
            );
            foreach (IGrouping<string, DemoError> method in errors.GroupBy(e => e.Method))
            {
                Dictionary<int, double> afa = errors.Where(e => e.Method == "AFA").ToDictionary(e => e.Scene, e => e.Error);
                string behind =
                    method.Key == "AFA" || afa.Count == 0
                        ? ""
                        : Thousandths(
                            Estimate.Of([.. method.Where(e => afa.ContainsKey(e.Scene)).Select(e => afa[e.Scene] - e.Error)])
                        );
                text.Append("| ")
                    .Append(method.Key)
                    .Append(" | ")
                    .Append(Thousandths(Estimate.Of([.. method.Select(e => e.Error)])))
                    .Append(" | ")
                    .Append(behind)
                    .Append(" |\n");
            }

            text.Append('\n');
        }

        if (!methods.Contains("AFA"))
            return text.ToString();
        text.Append(
            "AFA minus each other method on mixed prompts, percentage points (paired by prompt)\n\n| method | correct | "
                + "objects |\n|---|---|---|\n"
        );
        foreach (string method in methods.Where(m => m != "AFA"))
        {
            text.Append("| ")
                .Append(method)
                .Append(" | ")
                .Append(Difference(verdicts, "AFA", method, "mixed", v => v.Correct ? 1 : 0))
                .Append(" | ")
                .Append(Difference(verdicts, "AFA", method, "mixed", v => v.Objects))
                .Append(" |\n");
        }

        return text.ToString();
    }

    private static string Thousandths(Estimate e) =>
        string.Create(CultureInfo.InvariantCulture, $"{1000 * e.Mean:F2} ± {1000 * e.Error:F2}");

    private static Dictionary<int, double> ByPrompt(
        IEnumerable<DemoVerdict> verdicts,
        string method,
        string @class,
        Func<DemoVerdict, double> measure
    ) =>
        verdicts
            .Where(v => v.Method == method && v.Class == @class)
            .GroupBy(v => v.Prompt)
            .ToDictionary(g => g.Key, g => g.Average(measure));
}
