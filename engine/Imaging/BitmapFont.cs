namespace AfaNative.Engine.Imaging;

/// <summary>A 5 x 7 pixel font, so that labels need no font of the machine. Unknown characters show as a question mark.</summary>
internal static class BitmapFont
{
    /// <summary>Pixels from one character to the next, at scale 1.</summary>
    public const int Advance = 6;

    /// <summary>Pixels of a line, at scale 1.</summary>
    public const int Height = 7;

    private const string Characters = " 0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz.,:;=+-_/%()'\"!?#*<>[]";

    // Seven rows a character, five bits a row, one base-32 digit each.
    private const string Rows =
        "0000000EHJLPHE4C4444EEH1248VV2421HE26AIV22VGU11HE68GUHHEV124888EHHEHHEEHHF12C4AHHVHHUHHUHHUEHGGGHESIHHHISVGGUGGV"
        + "VGGUGGGEHGNHHFHHHVHHHE44444E72222ICHIKOKIHGGGGGGVHRLLHHHHPLJHHHEHHHHHEUHHUGGGEHHHLIDUHHUKIHFGGE11UV444444HHHHHHE"
        + "HHHHHA4HHHLLLAHHA4AHHHHA4444V1248GV00E1FHFGGUHHHU00EGGHE11FHHHF00EHVGE698S8880FHHF1EGGMPHHH40C444E20622ICGGIKOKI"
        + "C44444E00QLLLL00MPHHH00EHHHE00UHUGG00FHF1100MPGGG00FGE1U88S889600HHHJD00HHHA400HLLLA00HA4AH00HHF1E00V248V00000CC"
        + "0000C480CC0CC00CC0C4800V0V00044V440000V000000000V01248G0PP248JJ248884284222484400000AA000004444404EH12404AAVAVAA"
        + "0LEVEL0248G8428421248E88888EE22222E";

    /// <summary>Width of a text in pixels.</summary>
    public static int Measure(string text, int scale = 1) => text.Length == 0 ? 0 : (text.Length * Advance - 1) * scale;

    /// <summary>The text, cut with ".." where it is wider than <paramref name="pixels"/>.</summary>
    public static string Fit(string text, int pixels, int scale = 1)
    {
        int most = Math.Max(0, (pixels / scale + 1) / Advance);
        return text.Length <= most ? text
            : most <= 2 ? text[..most]
            : text[..(most - 2)] + "..";
    }

    /// <summary>Draws text with its upper left corner at (x, y); what falls outside the picture is left out.</summary>
    public static void Draw(RgbImage image, int x, int y, string text, (byte R, byte G, byte B) color, int scale = 1)
    {
        foreach (char c in text)
        {
            int at = Characters.IndexOf(c, StringComparison.Ordinal);
            if (at < 0)
                at = Characters.IndexOf('?', StringComparison.Ordinal);
            for (int row = 0; row < Height; row++)
            {
                char digit = Rows[at * Height + row];
                int bits = digit <= '9' ? digit - '0' : digit - 'A' + 10;
                for (int column = 0; column < 5; column++)
                {
                    if ((bits & (16 >> column)) != 0)
                        image.FillRectangle(x + column * scale, y + row * scale, scale, scale, color);
                }
            }

            x += Advance * scale;
        }
    }
}
