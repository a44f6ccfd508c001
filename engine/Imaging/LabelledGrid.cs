using AfaNative.Engine.Core;

namespace AfaNative.Engine.Imaging;

/// <summary>Pictures in rows and columns with a label over every column and before every row, as X/Y plots have them.</summary>
public static class LabelledGrid
{
    private const int LeastColumn = 96,
        MostLines = 3;
    private static readonly (byte, byte, byte) s_paper = (250, 250, 248),
        s_ink = (34, 34, 38);

    /// <summary>
    /// Pictures of one size, row by row. Labels are wrapped, at most three lines of them, and cut with ".." where they are
    /// longer; no labels for columns or rows: none are drawn.
    /// </summary>
    /// <exception cref="AfaException">Pictures and labels do not add up, sizes differ, or the whole is too large for one
    /// picture.</exception>
    public static RgbImage Draw(
        IReadOnlyList<RgbImage> cells,
        int columns,
        IReadOnlyList<string> columnLabels,
        IReadOnlyList<string> rowLabels
    )
    {
        ArgumentNullException.ThrowIfNull(cells);
        if (cells.Count == 0 || columns < 1 || cells.Count % columns != 0)
            throw new AfaException($"Expected whole rows of {columns} pictures for a plot, but {cells.Count} came.");
        int rows = cells.Count / columns,
            width = cells[0].Width,
            height = cells[0].Height;
        if (cells.FirstOrDefault(c => c.Width != width || c.Height != height) is { } other)
            throw new AfaException(
                $"Expected pictures of {width}x{height} for a plot, but one of {other.Width}x{other.Height} came."
            );
        if ((columnLabels.Count > 0 && columnLabels.Count != columns) || (rowLabels.Count > 0 && rowLabels.Count != rows))
            throw new AfaException(
                $"Expected labels for {columns} columns and {rows} rows of a plot, but {columnLabels.Count} and "
                    + $"{rowLabels.Count} came."
            );
        int scale = Math.Clamp(width / 256, 1, 4),
            gap = 4 * scale,
            line = (BitmapFont.Height + 3) * scale;
        // Small pictures stand apart, so that their labels can be read.
        int pitch = Math.Max(width, Math.Min(LeastColumn * scale, Widest(columnLabels)));
        List<string>[] over = [.. columnLabels.Select(l => Wrap(l, pitch, scale))],
            before = [.. rowLabels.Select(l => Wrap(l, Math.Max(width, LeastColumn * scale), scale))];
        int labelWidth = before.Length == 0 ? 0 : before.Max(l => l.Max(t => BitmapFont.Measure(t, scale))) + 2 * gap,
            labelHeight = over.Length == 0 ? 0 : over.Max(l => l.Count) * line + gap;
        int rowPitch = Math.Max(height, before.Length == 0 ? 0 : before.Max(l => l.Count) * line);
        long wide = labelWidth + gap + columns * (long)(pitch + gap),
            high = labelHeight + gap + rows * (long)(rowPitch + gap);
        if (3 * wide * high > int.MaxValue)
            throw new AfaException(
                $"The plot would have {wide}x{high} pixels, too many for one picture; fewer values or smaller pictures have room."
            );
        RgbImage image = RgbImage.Filled((int)wide, (int)high, s_paper);
        for (int column = 0; column < over.Length; column++)
            Text(
                over[column],
                labelWidth + gap + column * (pitch + gap) + pitch / 2,
                gap + (labelHeight - gap) / 2,
                centered: true
            );
        for (int row = 0; row < rows; row++)
        {
            int top = labelHeight + gap + row * (rowPitch + gap);
            if (before.Length > 0)
                Text(before[row], gap, top + rowPitch / 2, centered: false);
            for (int column = 0; column < columns; column++)
            {
                RgbImage cell = cells[row * columns + column];
                int left = labelWidth + gap + column * (pitch + gap) + (pitch - width) / 2,
                    down = top + (rowPitch - height) / 2;
                for (int y = 0; y < height; y++)
                    cell.Pixels.AsSpan(3 * y * width, 3 * width)
                        .CopyTo(image.Pixels.AsSpan(3 * ((down + y) * image.Width + left)));
            }
        }

        return image;

        int Widest(IReadOnlyList<string> labels) => labels.Count == 0 ? 0 : labels.Max(l => BitmapFont.Measure(l, scale));

        void Text(List<string> lines, int x, int middle, bool centered)
        {
            int y = middle - (lines.Count * line - 3 * scale) / 2;
            foreach (string text in lines)
            {
                BitmapFont.Draw(image, centered ? x - BitmapFont.Measure(text, scale) / 2 : x, y, text, s_ink, scale);
                y += line;
            }
        }
    }

    /// <summary>A text in lines no wider than <paramref name="pixels"/>, broken between words where there are any.</summary>
    internal static List<string> Wrap(string text, int pixels, int scale)
    {
        int most = Math.Max(3, (pixels / scale + 1) / BitmapFont.Advance);
        var lines = new List<string>();
        string rest = text.Trim();
        while (rest.Length > most && lines.Count < MostLines - 1)
        {
            int cut = rest.LastIndexOf(' ', most);
            if (cut < 1)
                cut = most;
            lines.Add(rest[..cut].TrimEnd());
            rest = rest[cut..].TrimStart();
        }

        lines.Add(BitmapFont.Fit(rest, most * BitmapFont.Advance * scale, scale));
        return lines;
    }
}
