using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using AfaNative.Engine.Core;
using AfaNative.Engine.Ensemble;
using AfaNative.Engine.Files;
using AfaNative.Engine.Imaging;
using AfaNative.Engine.Pipeline;
using AfaNative.Engine.Sampling.Guidance;
using AfaNative.Engine.Sampling.Samplers;

namespace AfaNative.Tool.Commands;

/// <summary>One picture of a plot.</summary>
/// <param name="Name">Its file's, without extension.</param>
/// <param name="Options">Its settings.</param>
/// <param name="Column">Label of its column, or empty.</param>
/// <param name="Row">Label of its row, or empty.</param>
internal sealed record PlotCell(string Name, GenerationOptions Options, string Column, string Row);

/// <summary>
/// An X/Y plot: a picture for every pair of values of two axes, or for every value of one, drawn with one loaded model.
/// </summary>
internal sealed class Plot(PlotAxis? x, PlotAxis? y)
{
    /// <summary>The plot that --x and --y ask for, or null.</summary>
    /// <exception cref="AfaException">An axis cannot be understood, or both are the same.</exception>
    public static Plot? Of(string? x, string? y)
    {
        if (x is null && y is null)
            return null;
        PlotAxis? across = x is null ? null : PlotAxis.Parse("--x", x),
            down = y is null ? null : PlotAxis.Parse("--y", y);
        if (across?.Name == down?.Name && across?.Search == down?.Search)
            throw new AfaException($"--x and --y both vary {across!.Name}; a plot needs two different axes.");
        return new Plot(across, down);
    }

    private IEnumerable<PlotAxis> Axes => new[] { x, y }.OfType<PlotAxis>();

    /// <summary>Whether a setting is varied.</summary>
    public bool Varies(string name) => Axes.Any(a => a.Name == name);

    /// <summary>Refuses what the run cannot draw, before anything is loaded.</summary>
    /// <exception cref="AfaException">
    /// A search finds nothing, there is no picture to start from, or a fusion does not fit.
    /// </exception>
    public void Check(GenerationOptions options, int experts, bool aggregated = true)
    {
        if (
            Axes.FirstOrDefault(a =>
                a.Search is { } search
                && !options.Prompt.Contains(search, StringComparison.Ordinal)
                && !options.NegativePrompt.Contains(search, StringComparison.Ordinal)
            ) is
            { } lost
        )
            throw new AfaException($"prompt-sr looks for '{lost.Search}', but neither prompt holds it.");
        int columns = x?.Values.Count ?? 1,
            rows = y?.Values.Count ?? 1;
        if ((long)columns * rows > Limits.Cells)
            throw new AfaException($"A plot has at most {Limits.Cells} pictures; these axes ask for {columns} x {rows}.");
        if ((long)columns * rows * options.OutputWidth * options.OutputHeight > 2 * Limits.GridPixels)
            throw new AfaException(
                $"A plot of {columns} x {rows} pictures of {options.OutputWidth}x{options.OutputHeight} is too large for "
                    + $"one picture; fewer values or smaller pictures have room."
            );
        foreach (PlotAxis axis in Axes.Where(a => a.Search is not null))
            CheckLength(axis, options);
        if (Varies("strength") && options.InitImage is null)
            throw new AfaException("The strength says how much of --init-image is changed; there is none.");
        if (Varies("magic-switch") && !Cells(options, "").Any(c => c.Options.Fusion == FusionMode.Magic))
            throw new AfaException("The axis magic-switch is for MagicFusion: --fusion magic, or an axis fusion with it.");
        foreach (PlotCell cell in Cells(options, ""))
            cell.Options.CheckFusion(experts, aggregated);
    }

    // Before anything is replaced: a short word replaced often by a long text fills the memory.
    private static void CheckLength(PlotAxis axis, GenerationOptions options)
    {
        foreach (string prompt in new[] { options.Prompt, options.NegativePrompt })
        {
            long times = 0;
            for (
                int at = prompt.IndexOf(axis.Search!, StringComparison.Ordinal);
                at >= 0;
                at = prompt.IndexOf(axis.Search!, at + axis.Search!.Length, StringComparison.Ordinal)
            )
                times++;
            long longest = prompt.Length + times * (axis.Values.Max(v => v.Label.Length) - axis.Search!.Length);
            if (longest > Limits.PromptCharacters)
                throw new AfaException(
                    $"prompt-sr would make a prompt of {longest} characters; at most {Limits.PromptCharacters} are possible."
                );
        }
    }

    /// <summary>
    /// All pictures, row by row. A file's name holds the values and a hash of everything that decides how the picture looks
    /// (<paramref name="identity"/>: what its settings do not say), so that a plot can be gone on with, and
    /// another one with more values finds what is there.
    /// </summary>
    public IReadOnlyList<PlotCell> Cells(GenerationOptions options, string identity)
    {
        PlotValue[] one = [new("", o => o)];
        return
        [
            .. (y?.Values ?? one).SelectMany(row =>
                (x?.Values ?? one).Select(column =>
                {
                    GenerationOptions o = row.Apply(column.Apply(options));
                    string values = string.Join("_", new[] { column.Label, row.Label }.Where(l => l.Length > 0).Select(Slug));
                    return new PlotCell($"{values}-{Hash(Settings(o) + "\n" + identity)}", o, column.Label, row.Label);
                })
            ),
        ];
    }

    /// <summary>Draws the cells that are not there yet, and the plot of all.</summary>
    /// <param name="model">Loaded once, whatever the axes are.</param>
    /// <param name="all">The settings the axes start from.</param>
    /// <param name="identity">What tells this run's pictures from another model's.</param>
    /// <param name="folder">For the pictures.</param>
    /// <param name="batchSize">Cells that differ in seed and prompt alone are drawn together.</param>
    /// <param name="extras">Previews and results.</param>
    /// <param name="metadata">A picture's text.</param>
    /// <param name="cancellation">Stops between ops; finished cells stay.</param>
    public void Draw(
        DiffusionModel model,
        GenerationOptions all,
        string identity,
        string folder,
        int batchSize,
        SampleExtras extras,
        Func<GenerationOptions, GenerationMetadata> metadata,
        CancellationToken cancellation
    )
    {
        var plotTime = Stopwatch.StartNew();
        IReadOnlyList<PlotCell> cells = Cells(all, identity);
        foreach (PlotCell cell in cells.DistinctBy(c => c.Name).Where(c => File.Exists(PathOf(c))))
            RecordedSettings.MustMatch(PathOf(cell), metadata(cell.Options).ToParameters());
        PlotCell[] open = [.. cells.DistinctBy(c => c.Name).Where(c => !File.Exists(PathOf(c)))];
        if (open.Length < cells.Count)
            Terminal.Note($"{cells.Count - open.Length} of {cells.Count} cells are there already");
        var pipeline = new TextToImagePipeline(model);
        // Cells may take different numbers of steps: time is told by steps. This also finds out early what a sampler will not do.
        var progress = new ProgressLine("plot, step", open.Sum(c => pipeline.Evaluations(c.Options)));
        int done = 0,
            drawn = 0;
        using PreviewFile? preview = open.Length == 0 ? null : PreviewFile.Start(model, folder, extras.Preview, cancellation);
        foreach (
            IReadOnlyList<PromptJob> batch in PromptBatch.Batches(
                [.. open.Select((c, i) => new PromptJob(i, c.Options))],
                batchSize
            )
        )
        {
            GenerationOptions options = batch[0].Options with
            {
                Prompts = [.. batch.Select(j => j.Options.Prompt)],
                Seeds = [.. batch.Select(j => j.Options.Seeds[0])],
            };
            int evaluations = pipeline.Evaluations(options),
                before = done;
            PlotCell first = open[batch[0].Number];
            string note =
                $"cell {drawn + 1} of {open.Length} "
                + $"({string.Join(", ", new[] { first.Column, first.Row }.Where(l => l.Length > 0))})";
            var observer = new GenerationObserver
            {
                Step = (step, _) => progress.Report(before + step * batch.Count, note),
                Denoised = preview?.For(evaluations),
            };
            var watch = Stopwatch.StartNew();
            IReadOnlyList<float[]> images = pipeline.Generate(options, observer, cancellation);
            for (int i = 0; i < batch.Count; i++)
            {
                PlotCell cell = open[batch[i].Number];
                PictureNames.WriteOnce(
                    PathOf(cell),
                    RgbImage.FromFloat(images[i], options.OutputWidth, options.OutputHeight),
                    metadata(cell.Options).ToParameters()
                );
                extras.Results.Write(
                    PathOf(cell),
                    () =>
                    {
                        JsonObject line = SampleExtras.Describe(PathOf(cell), cell.Options, watch.Elapsed / batch.Count);
                        if (x is not null)
                            line["x"] = cell.Column;
                        if (y is not null)
                            line["y"] = cell.Row;
                        return line;
                    }
                );
            }

            done += evaluations * batch.Count;
            drawn += batch.Count;
        }

        int columns = x?.Values.Count ?? 1;
        RgbImage picture = LabelledGrid.Draw(
            [.. cells.Select(c => PngFile.Read(PathOf(c), out _))],
            columns,
            x is null ? [] : [.. x.Values.Select(v => v.Label)],
            y is null ? [] : [.. y.Values.Select(v => v.Label)]
        );
        string path = Path.Combine(folder, $"plot-{Hash(string.Join('\n', cells.Select(c => c.Name)))}.png");
        PngFile.Write(
            path,
            picture,
            (
                metadata(all) with
                {
                    Plot = string.Join(
                        "; ",
                        Axes.Select(a =>
                            $"{(ReferenceEquals(a, x) ? "x" : "y")} {string.Join(" | ", a.Values.Select(v => v.Label))}"
                        )
                    ),
                }
            ).ToParameters()
        );
        extras.Results.Write(
            path,
            () =>
                new JsonObject
                {
                    ["file"] = path,
                    ["plot"] = true,
                    ["width"] = picture.Width,
                    ["height"] = picture.Height,
                    ["seconds"] = Math.Round(plotTime.Elapsed.TotalSeconds, 3),
                }
        );

        string PathOf(PlotCell cell) => Path.Combine(folder, cell.Name + ".png");
    }

    // Everything of the table, and what is started from; a value that is the usual one says nothing.
    private static string Settings(GenerationOptions o)
    {
        IEnumerable<string> said = SettingTable
            .All.Select(s => (s.Name, Text: s.Name == "eta" && o.Eta == o.Sampler.DefaultEta ? null : s.Print(o), s.Default))
            .Where(s => s.Text is not null && s.Text != s.Default)
            .Select(s => $"{s.Name}: {s.Text}");
        return string.Join('\n', said) + $"\n{Pixels(o.InitImage)} {Pixels(o.Mask)}";
    }

    private static string Pixels(float[]? picture) =>
        picture is null
            ? ""
            : Convert.ToHexStringLower(Sha256.HashData(System.Runtime.InteropServices.MemoryMarshal.AsBytes<float>(picture)))[
                ..16
            ];

    private static string Hash(string text) => Convert.ToHexStringLower(Sha256.HashData(Encoding.UTF8.GetBytes(text)))[..10];

    // What every file system takes, and no more than fits.
    private static string Slug(string label)
    {
        string plain = string.Concat(label.Select(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '+' or '-' ? c : '-'))
            .Trim('-', '.');
        return plain.Length > 32 ? plain[..32] : plain;
    }
}
