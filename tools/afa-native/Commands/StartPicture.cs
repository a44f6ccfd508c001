using System.CommandLine;
using System.Globalization;
using AfaNative.Engine.Core;
using AfaNative.Engine.Imaging;
using AfaNative.Engine.Pipeline;
using AfaNative.Kernels.Contracts;

namespace AfaNative.Tool.Commands;

/// <summary>The size pictures are drawn at, and the picture they start from, if any.</summary>
/// <param name="Width">In pixels.</param>
/// <param name="Height">In pixels.</param>
internal sealed record StartPicture(int Width, int Height)
{
    /// <summary>[Height, Width, 3], 0 to 1; null: from noise.</summary>
    public float[]? Pixels { get; init; }

    /// <summary>[Height, Width], 0 to 1.</summary>
    public float[]? Mask { get; init; }

    /// <summary>Short hash of the picture's file.</summary>
    public string? Hash { get; init; }

    /// <summary>Short hash of the mask's file.</summary>
    public string? MaskHash { get; init; }

    /// <summary>What was done where its shape is another, or null.</summary>
    public string? Resize { get; init; }

    /// <summary>The colour behind it, where it was transparent.</summary>
    public string? Background { get; init; }
}

/// <summary>Options of <c>sample</c> for a picture to start from.</summary>
internal sealed class StartPictureOptions(SettingOptions settings)
{
    /// <summary>--init-image.</summary>
    public Option<string?> Init { get; } =
        new("--init-image")
        {
            Description =
                "A picture to start from; its size counts where --width and --height are left out, its proportion where one of "
                + "them is.",
        };

    /// <summary>--mask.</summary>
    public Option<string?> Mask { get; } =
        new("--mask") { Description = "--init-image: a picture that is white where it is to be repainted; transparent is not." };

    /// <summary>--resize.</summary>
    public Option<string?> Resize { get; } = Choice();

    /// <summary>--background.</summary>
    public Option<string?> Background { get; } =
        new("--background")
        {
            Description = "--init-image: the colour behind transparent parts, as #rrggbb or a name; white when left out.",
        };

    /// <summary>Reads the pictures, and settles the size.</summary>
    /// <param name="r">The options.</param>
    /// <param name="from">A picture that is drawn again.</param>
    /// <param name="size">Edge of what the model was trained at.</param>
    /// <exception cref="AfaException">One is missing or cannot be read, or options do not go together.</exception>
    public StartPicture Read(ParseResult r, PictureSettings? from, int size)
    {
        GenerationMetadata? old = from?.Recorded;
        string? picture = r.GetValue(Init),
            painted = r.GetValue(Mask);
        if (picture is null && old is { FromPicture: true })
        {
            string hash = old.InitImageHash is { } own ? $", hash {own}" : "";
            string known = old.Strength is { } much
                ? string.Create(CultureInfo.InvariantCulture, $"Denoising strength: {much}{hash}")
                : hash.TrimStart(',', ' ');
            throw new AfaException(
                $"{from!.Path}: the picture was made from another one{(known.Length > 0 ? $" ({known})" : "")}: --init-image "
                    + "FILE names that; --init-image none draws from noise."
            );
        }

        if (picture == PictureSettings.None)
            picture = null;
        if (picture is not null && painted is null && old?.MaskHash is { } maskHash)
            throw new AfaException(
                $"{from!.Path}: "
                    + $"part of the picture was repainted (Mask hash: {maskHash}): --mask FILE names the mask; --mask none "
                    + $"repaints all."
            );
        if (painted == PictureSettings.None)
            painted = null;
        if (picture is null && painted is not null)
            throw new AfaException("--mask says where --init-image is repainted; there is none.");
        if (
            picture is null
            && ((Option[])[Resize, Background]).FirstOrDefault(o => r.GetResult(o) is { Implicit: false }) is { } lone
        )
            throw new AfaException($"{lone.Name} is for --init-image; there is none.");
        int? wide = settings.Whole(r, "width");
        int? high = settings.Whole(r, "height");
        if (picture is null)
            return new StartPicture(
                wide ?? (old is { Width: > 0 } ? old.Width : size),
                high ?? (old is { Height: > 0 } ? old.Height : size)
            );
        if (wide < 1 || high < 1)
            throw new AfaException($"The picture size {wide}x{high} must be a multiple of 8 in both directions.");
        (int Width, int Height) file = PictureFile.Size(picture);
        bool recorded = wide is null && high is null && old is { FromPicture: true, Width: > 0, Height: > 0 };
        (int w, int h) = recorded ? (old!.Width, old.Height) : PictureFile.SizeFor(file.Width, file.Height, wide, high);
        if ((long)w * h > 1 << 26)
            throw new AfaException($"{picture}: it would be brought to {w}x{h} pixels; 8192x8192 are the most.");
        if (Math.Max(w, h) > Limits.Edge)
            throw new AfaException(
                $"{picture}: it would be brought to {w}x{h} pixels; {Limits.Edge} are the most an edge has (--width and --height "
                    + "choose a size)."
            );
        bool shaped = PictureFile.SameShape(file.Width, file.Height, w, h);
        PictureFit fit =
            r.GetValue(Resize) is { } chosen ? Fit(chosen)
            // Edges that follow from the picture's are rounded, nothing more.
            : recorded && old!.Resize is { } before ? Fit(before)
            : (recorded && old!.Own) || (!recorded && !(wide is not null && high is not null)) ? PictureFit.Stretch
            : PictureFit.Crop;
        if (!shaped && fit != PictureFit.Stretch && r.GetValue(Resize) is null)
        {
            Terminal.Note(
                $"{picture}: {file.Width}x{file.Height} pixels are brought to {w}x{h}: "
                    + $"{(fit == PictureFit.Crop ? "what is too much is cut off" : "its edges go on where it is too small")} "
                    + $"(--resize crop, fill or stretch)"
            );
        }

        (byte, byte, byte) background = PictureColor.Parse(
            "--background",
            r.GetValue(Background) ?? old?.Background ?? PictureColor.Text(PictureColor.White)
        );
        LoadedPicture loaded = PictureFile.Read(picture, w, h, fit, background);
        if (old?.InitImageHash is { } same && same != loaded.Hash)
            Terminal.Warn(
                $"{picture}: the picture was made from "
                    + $"another file than this one (hash {same}; this one's is {loaded.Hash})"
            );
        LoadedPicture? part = painted is null ? null : PictureFile.ReadMask(painted, w, h, fit);
        if (part is not null && !PictureFile.SameShape(part.Width, part.Height, loaded.Width, loaded.Height))
        {
            Terminal.Warn(
                $"{painted}: the mask has {part.Width}x{part.Height} pixels and another shape than {picture} "
                    + $"({loaded.Width}x{loaded.Height}); each is brought to {w}x{h} by itself"
            );
        }

        // What is not half covered is kept, and blended at its edges.
        if (part is not null && !part.Pixels.Any(v => v >= 0.5f))
            Terminal.Warn($"{painted}: the mask is black or transparent everywhere: nothing will be repainted");
        if (part is not null && old?.MaskHash is { } sameMask && sameMask != part.Hash)
            Terminal.Warn(
                $"{painted}: the "
                    + $"picture was made with another mask than this one (hash {sameMask}; this one's is {part.Hash})"
            );
        return new StartPicture(w, h)
        {
            Pixels = loaded.Pixels,
            Mask = part?.Pixels,
            Hash = loaded.Hash,
            MaskHash = part?.Hash,
            Resize = shaped || fit == PictureFit.Stretch ? null : Name(fit),
            Background = loaded.Transparent ? PictureColor.Text(background) : null,
        };
    }

    private static Option<string?> Choice()
    {
        var option = new Option<string?>("--resize")
        {
            Description =
                "--init-image of another shape than --width and --height: crop (cut off what is too much; when left out), "
                + "fill (its edges go on) or stretch.",
        };
        option.AcceptOnlyFromAmong("crop", "fill", "stretch");
        return option;
    }

    private static PictureFit Fit(string name) =>
        name.ToLowerInvariant() switch
        {
            "crop" => PictureFit.Crop,
            "fill" => PictureFit.Fill,
            "stretch" => PictureFit.Stretch,
            _ => throw new AfaException(
                $"The picture to start from was brought to size by '{Printable.Shortened(name)}', which "
                    + $"this program does not know: --resize crop, fill or stretch chooses another way."
            ),
        };

    private static string Name(PictureFit fit) =>
        fit == PictureFit.Crop ? "crop"
        : fit == PictureFit.Fill ? "fill"
        : "stretch";
}
