using AfaNative.Engine.Core;

namespace AfaNative.Engine.Pipeline;

/// <summary>The steps of a run that are kept, counted in evaluations of the model: 0 is the start, N the end.</summary>
public sealed class RecordedSteps
{
    private readonly HashSet<int> _steps = [];
    private bool _all,
        _last;

    private RecordedSteps() { }

    /// <summary>Every step.</summary>
    public static RecordedSteps All { get; } = new() { _all = true };

    /// <summary>Reads <c>all</c>, or numbers and <c>last</c> with commas between: <c>0,5,last</c>.</summary>
    /// <param name="what">What the text is for: the sentence starts with it.</param>
    /// <param name="text">What was written.</param>
    /// <exception cref="AfaException">It is written otherwise.</exception>
    public static RecordedSteps Parse(string what, string text)
    {
        if (text.Trim().Equals("all", StringComparison.OrdinalIgnoreCase))
            return All;
        var steps = new RecordedSteps();
        foreach (string part in text.Split(',').Select(p => p.Trim()))
        {
            if (part.Equals("last", StringComparison.OrdinalIgnoreCase))
                steps._last = true;
            else
                steps._steps.Add(Numbers.Int32(what, part, 0));
        }

        return steps;
    }

    /// <summary>Refuses steps that a run of <paramref name="evaluations"/> does not have.</summary>
    /// <exception cref="AfaException">There is one.</exception>
    public void Check(string what, int evaluations)
    {
        if (_steps.Count > 0 && _steps.Max() > evaluations)
        {
            throw new AfaException(
                $"{what}: there is no step {_steps.Max()}, the run evaluates the model {evaluations} times (0 is the start, "
                    + $"{evaluations} or 'last' the end)."
            );
        }
    }

    /// <summary>Whether a step is kept.</summary>
    public bool Contains(int step, int evaluations) => _all || _steps.Contains(step) || (_last && step == evaluations);
}
