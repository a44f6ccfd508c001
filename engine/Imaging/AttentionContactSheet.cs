using System.Globalization;

namespace AfaNative.Engine.Imaging;

/// <summary>One column of a sheet: the experts' maps at one step.</summary>
/// <param name="StepNumber">Counted from 1.</param>
/// <param name="Timestep">The diffusion time step.</param>
/// <param name="Height">Rows of a map.</param>
/// <param name="Width">Columns of a map.</param>
/// <param name="Maps">[N, Height, Width] in 0..1.</param>
public sealed record AttentionStep(int StepNumber, int Timestep, int Height, int Width, float[] Maps);

/// <summary>What a sheet shows: the experts' weights at one aggregation point.</summary>
/// <param name="Title">Names the point.</param>
/// <param name="Picture">The finished picture, shown first and under every map.</param>
/// <param name="Experts">One label a row.</param>
/// <param name="Steps">One column a step.</param>
public sealed record AttentionSheet(
    string Title,
    RgbImage Picture,
    IReadOnlyList<string> Experts,
    IReadOnlyList<AttentionStep> Steps
);

/// <summary>
/// Draws which expert counts where: rows are experts, columns are steps, each map over the picture, with a legend.
/// </summary>
public static class AttentionContactSheet
{
    private const int Cell = 128,
        Gap = 8,
        Margin = 16,
        LabelWidth = 120,
        Line = 12,
        LegendWidth = 56;
    private static readonly (byte, byte, byte) s_paper = (250, 250, 248),
        s_ink = (34, 34, 38),
        s_faint = (120, 120, 126);

    /// <summary>The sheet as a picture.</summary>
    public static RgbImage Draw(AttentionSheet sheet)
    {
        int experts = sheet.Experts.Count,
            columns = sheet.Steps.Count;
        int cellHeight = Math.Max(16, Cell * sheet.Picture.Height / sheet.Picture.Width),
            rowHeight = cellHeight + Line + Gap;
        int gridLeft = Margin + LabelWidth,
            gridTop = Margin + 14 + 2 * Gap + Line;
        const string Explanation1 = "Brighter: this expert's features count more here.",
            Explanation2 = "The maps of a column sum to 1 at every pixel.";
        int pictureLeft = gridLeft,
            mapsLeft = gridLeft + Cell + 2 * Gap;
        int width = Math.Max(
            mapsLeft + columns * (Cell + Gap) + LegendWidth + Margin,
            2 * Margin + BitmapFont.Measure(sheet.Title, 2)
        );
        int height = gridTop + experts * rowHeight + Gap + 2 * Line + Margin;
        RgbImage image = RgbImage.Filled(width, height, s_paper);
        BitmapFont.Draw(image, Margin, Margin, BitmapFont.Fit(sheet.Title, width - 2 * Margin, 2), s_ink, 2);
        BitmapFont.Draw(image, pictureLeft, gridTop - Line, "the picture", s_ink);
        RgbImage thumbnail = Resize(sheet.Picture, Cell, cellHeight);
        for (int row = 0; row < experts; row++)
        {
            int top = gridTop + row * rowHeight;
            BitmapFont.Draw(image, Margin, top + cellHeight / 2 - 4, BitmapFont.Fit(sheet.Experts[row], LabelWidth - Gap), s_ink);
            if (row == 0)
                Paste(image, thumbnail, pictureLeft, top);
            for (int column = 0; column < columns; column++)
            {
                AttentionStep step = sheet.Steps[column];
                int left = mapsLeft + column * (Cell + Gap);
                if (row == 0)
                    BitmapFont.Draw(image, left, gridTop - Line, $"step {step.StepNumber}  t={step.Timestep}", s_ink);
                ReadOnlySpan<float> map = step.Maps.AsSpan(row * step.Height * step.Width, step.Height * step.Width);
                DrawMap(image, left, top, cellHeight, thumbnail, map, step.Height, step.Width);
                double mean = 0;
                foreach (float value in map)
                    mean += value;
                BitmapFont.Draw(
                    image,
                    left,
                    top + cellHeight + 3,
                    string.Create(CultureInfo.InvariantCulture, $"mean {mean / map.Length:F2}"),
                    s_faint
                );
            }
        }

        DrawLegend(
            image,
            mapsLeft + columns * (Cell + Gap),
            gridTop,
            Math.Max(cellHeight, experts * rowHeight - Line - Gap),
            experts
        );
        BitmapFont.Draw(image, Margin, height - Margin - 2 * Line + 4, Explanation1, s_faint);
        BitmapFont.Draw(image, Margin, height - Margin - Line + 4, Explanation2, s_faint);
        return image;
    }

    private static void DrawMap(
        RgbImage image,
        int left,
        int top,
        int cellHeight,
        RgbImage thumbnail,
        ReadOnlySpan<float> map,
        int mapHeight,
        int mapWidth
    )
    {
        for (int y = 0; y < cellHeight; y++)
        {
            for (int x = 0; x < Cell; x++)
            {
                float value = Sample(
                    map,
                    mapHeight,
                    mapWidth,
                    (y + 0.5f) * mapHeight / cellHeight - 0.5f,
                    (x + 0.5f) * mapWidth / Cell - 0.5f
                );
                (byte r, byte g, byte b) = thumbnail.Get(x, y);
                image.Set(left + x, top + y, Shade(ColorMap.At(value), r, g, b));
            }
        }
    }

    private static void DrawLegend(RgbImage image, int left, int top, int length, int experts)
    {
        const int Bar = 14;
        for (int y = 0; y < length; y++)
            image.FillRectangle(left, top + y, Bar, 1, ColorMap.At(1 - y / (float)Math.Max(1, length - 1)));
        BitmapFont.Draw(image, left + Bar + 4, top, "1", s_ink);
        BitmapFont.Draw(image, left + Bar + 4, top + length - BitmapFont.Height, "0", s_ink);
        if (experts < 2)
            return;
        int equal = top + (int)((1 - 1f / experts) * (length - 1));
        image.FillRectangle(left, equal, Bar + 3, 1, s_ink);
        BitmapFont.Draw(image, left + Bar + 4, equal - 3, $"1/{experts}", s_ink);
        BitmapFont.Draw(image, left + Bar + 4, equal + 7, "equal", s_faint);
    }

    // The picture shows through as shade: dark parts dim the colour by at most a third.
    internal static (byte R, byte G, byte B) Shade((byte R, byte G, byte B) color, byte r, byte g, byte b)
    {
        float shade = 0.68f + 0.32f * ((0.299f * r + 0.587f * g + 0.114f * b) / 255);
        return ((byte)(color.R * shade), (byte)(color.G * shade), (byte)(color.B * shade));
    }

    internal static float Sample(ReadOnlySpan<float> map, int height, int width, float y, float x)
    {
        y = Math.Clamp(y, 0, height - 1);
        x = Math.Clamp(x, 0, width - 1);
        int y0 = (int)y,
            x0 = (int)x,
            y1 = Math.Min(y0 + 1, height - 1),
            x1 = Math.Min(x0 + 1, width - 1);
        float fy = y - y0,
            fx = x - x0;
        float above = map[y0 * width + x0] * (1 - fx) + map[y0 * width + x1] * fx,
            below = map[y1 * width + x0] * (1 - fx) + map[y1 * width + x1] * fx;
        return above * (1 - fy) + below * fy;
    }

    // Box average down, nearest up: a thumbnail needs no more.
    internal static RgbImage Resize(RgbImage picture, int width, int height)
    {
        RgbImage result = RgbImage.Filled(width, height, (0, 0, 0));
        for (int y = 0; y < height; y++)
        {
            int top = y * picture.Height / height,
                bottom = Math.Max(top + 1, (y + 1) * picture.Height / height);
            for (int x = 0; x < width; x++)
            {
                int left = x * picture.Width / width,
                    right = Math.Max(left + 1, (x + 1) * picture.Width / width),
                    r = 0,
                    g = 0,
                    b = 0,
                    n = (bottom - top) * (right - left);
                for (int v = top; v < bottom; v++)
                {
                    for (int u = left; u < right; u++)
                    {
                        (byte pr, byte pg, byte pb) = picture.Get(u, v);
                        r += pr;
                        g += pg;
                        b += pb;
                    }
                }

                result.Set(x, y, ((byte)(r / n), (byte)(g / n), (byte)(b / n)));
            }
        }

        return result;
    }

    internal static void Paste(RgbImage to, RgbImage from, int left, int top)
    {
        for (int y = 0; y < from.Height; y++)
        {
            for (int x = 0; x < from.Width; x++)
                to.Set(left + x, top + y, from.Get(x, y));
        }
    }
}
