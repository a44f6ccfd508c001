using System.Diagnostics;
using System.Globalization;
using AfaNative.Engine.Core;

namespace AfaNative.Tool;

/// <summary>
/// One line on standard error that says how far a run is and when it will be done; a line every ten percent when nobody watches a
/// terminal.
/// </summary>
/// <param name="what">What is counted.</param>
/// <param name="total">How many there will be.</param>
/// <param name="from">How many were there before this run.</param>
internal sealed class ProgressLine(string what, int total, int from = 0)
{
    private readonly Stopwatch _watch = Stopwatch.StartNew();
    private readonly bool _terminal = Terminal.ErrorsAreWatched;
    private int _tenth = -1,
        _before = -1;

    /// <summary>Reports that <paramref name="done"/> of the total is done.</summary>
    public void Report(int done, string note = "")
    {
        int tenth = (int)(10L * done / Math.Max(1, total));
        if (!_terminal && tenth == _tenth && done != total)
            return;
        _tenth = tenth;
        string text = $"{what} {done}/{total}";
        if (note.Length > 0)
            text += "  " + note;
        // A line made with its first report has not seen how long that took.
        if (_before < 0)
            _before = _watch.ElapsedMilliseconds < 5 ? done : from;
        if (done > _before)
        {
            double each = _watch.Elapsed.TotalSeconds / (done - _before);
            text += string.Create(CultureInfo.InvariantCulture, $"  {each:F2} s each");
            if (done < total)
                text += $", {Span(TimeSpan.FromSeconds(each * (total - done)))} left";
        }

        if (_terminal)
        {
            const int Bar = 24;
            int filled = Bar * done / Math.Max(1, total);
            Terminal.Raw(
                $"\r[{new string('#', filled)}{new string('.', Bar - filled)}] "
                    + $"{Engine.Core.Printable.Text(text)}\u001b[K{(done == total ? "\n" : "")}"
            );
        }
        else
        {
            Terminal.Note(text);
        }
    }

    private static string Span(TimeSpan time) =>
        string.Create(
            CultureInfo.InvariantCulture,
            $"{(time.TotalHours >= 1 ? $"{(long)time.TotalHours}:{time.Minutes:D2}" : time.Minutes)}:{time.Seconds:D2}"
        );
}
