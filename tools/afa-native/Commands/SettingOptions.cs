using System.CommandLine;
using System.CommandLine.Parsing;
using AfaNative.Engine.Core;
using AfaNative.Engine.Pipeline;

namespace AfaNative.Tool.Commands;

/// <summary>An option for every row of the settings table.</summary>
internal sealed class SettingOptions
{
    // Letters are the tool's own.
    private static readonly Dictionary<string, string> s_letters = new()
    {
        ["prompt"] = "-p",
        ["negative"] = "-n",
        ["seed"] = "-s",
        ["width"] = "-W",
        ["height"] = "-H",
    };

    private readonly Dictionary<string, Option> _options = [];

    public SettingOptions()
    {
        foreach (Setting setting in SettingTable.All)
        {
            string name = "--" + setting.Name;
            string[] aliases =
            [
                .. s_letters.TryGetValue(setting.Name, out string? letter) ? (string[])[letter] : [],
                .. setting.Aliases.Select(a => "--" + a),
            ];
            Option option =
                setting.Kind == SettingKind.List
                    ? new Option<string[]>(name, aliases) { AllowMultipleArgumentsPerToken = true }
                    : One(setting, name, aliases);
            option.Description = OptionNames.AllDashed(setting.Description);
            option.Validators.Add(r => Check(setting, r));
            if (setting.Values.Count > 0)
                option.CompletionSources.Add([.. setting.Values]);
            if (setting.MayBeEmpty)
                option.MayBeEmpty();
            option.Is(setting);
            _options.Add(setting.Name, option);
        }
    }

    /// <summary>The option of a setting.</summary>
    public Option this[string setting] => _options[setting];

    /// <summary>Adds an option for every setting.</summary>
    public void AddTo(Command command)
    {
        foreach (Option option in _options.Values)
            command.Options.Add(option);
    }

    /// <summary>Whether a setting is on the command line or in its configuration.</summary>
    public bool Given(ParseResult result, string setting) => LoneOptions.Given(result, _options[setting]);

    /// <summary>What is said of a setting, as the table reads it; null: nothing, and it has no default of its own.</summary>
    public string? Text(ParseResult result, string setting) =>
        _options[setting] switch
        {
            Option<string[]> many => result.GetValue(many) is { Length: > 0 } values ? string.Join('+', values) : null,
            Option<string?> one => result.GetValue(one),
            _ => null,
        };

    /// <summary>A whole number that is said, or null.</summary>
    public int? Whole(ParseResult result, string setting) =>
        Text(result, setting) is { } text ? Numbers.Int32("--" + setting, text) : null;

    /// <summary>Options with all that is said on the command line or in its configuration.</summary>
    /// <param name="result">What was read.</param>
    /// <param name="options">What counts where nothing is said.</param>
    /// <param name="wanted">Which settings; null: all.</param>
    /// <exception cref="AfaException">They do not go together.</exception>
    public GenerationOptions Apply(ParseResult result, GenerationOptions options, Func<Setting, bool>? wanted = null)
    {
        foreach (Setting setting in SettingTable.All.Where(s => Given(result, s.Name) && (wanted?.Invoke(s) ?? true)))
            options = setting.Apply("--" + setting.Name, Text(result, setting.Name)!, options);
        return options;
    }

    private static Option<string?> One(Setting setting, string name, string[] aliases)
    {
        var option = new Option<string?>(name, aliases);
        if (setting.Default is { } value)
            option.DefaultValueFactory = _ => value;
        return option;
    }

    private static void Check(Setting setting, OptionResult result)
    {
        // Where a value is missing, or there are two, the parser says so.
        if (result.Tokens.Count == 0 || (setting.Kind != SettingKind.List && result.Tokens.Count > 1))
            return;
        if (setting.Kind is SettingKind.Text or SettingKind.Choice && result.Tokens.Any(t => t.Value.Length == 0))
            return;
        try
        {
            foreach (Token token in result.Tokens)
                setting.Check(result.Option.Name, token.Value);
        }
        catch (AfaException e)
        {
            result.AddError(StrictOptions.CommaList(result.Option, result.Tokens) ?? OptionNames.AllDashed(e.Message));
        }
    }
}
