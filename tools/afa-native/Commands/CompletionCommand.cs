using System.CommandLine;

namespace AfaNative.Tool.Commands;

/// <summary>
/// <c>afa-native completion</c>: scripts that let a shell complete commands, options and their values. They ask the program
/// itself (the <c>[suggest:POSITION]</c> directive), so they never grow old.
/// </summary>
internal static class CompletionCommand
{
    // The command's own word is put in anew, however it was called; what starts otherwise than the word at the cursor is left
    // out, and where nothing is left files are offered.
    private const string Bash = """
        # Completion for bash: source <(afa-native completion bash)
        _afa_native() {
            local IFS=$'\n' line="afa-native${COMP_LINE:${#COMP_WORDS[0]}}" at=$((COMP_POINT - ${#COMP_WORDS[0]} + 10))
            COMPREPLY=($(compgen -W "$("${COMP_WORDS[0]}" "[suggest:$at]" "$line" 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}"))
        }
        complete -o default -F _afa_native afa-native
        """;

    private const string Zsh = """
        #compdef afa-native
        # Completion for zsh: source <(afa-native completion zsh), after compinit;
        # or save it as _afa-native in a folder of $fpath.
        _afa_native() {
            local line="afa-native ${(j: :)words[2,CURRENT]}"
            local -a found=(${(f)"$($words[1] "[suggest:${#line}]" "$line" 2>/dev/null)"})
            compadd -- $found || _files
        }
        if [[ $funcstack[1] == _afa-native ]]; then _afa_native; else compdef _afa_native afa-native; fi
        """;

    private const string Fish = """
        # Completion for fish: afa-native completion fish | source
        function __afa_native
            set -l line (commandline -cp)
            afa-native "[suggest:"(string length -- "$line")"]" "$line" 2>/dev/null
        end
        complete -c afa-native -a '(__afa_native)'
        """;

    private const string PowerShell = """
        # Completion for PowerShell: afa-native completion pwsh | Out-String | Invoke-Expression
        Register-ArgumentCompleter -Native -CommandName afa-native -ScriptBlock {
            param($word, $command, $cursor)
            $at = $cursor - $command.Extent.StartOffset
            afa-native "[suggest:$at]" "$command".PadRight($at) 2>$null |
            Where-Object { $_ -and $_.StartsWith($word) } | ForEach-Object {
                [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_)
            }
        }
        """;

    public static Command Create()
    {
        var shell = new Argument<string>("SHELL") { Description = "bash, zsh, fish or pwsh." };
        shell.AcceptOnlyFromAmong("bash", "zsh", "fish", "pwsh");
        var command = new Command(
            "completion",
            "Prints a script that completes commands, options and values; its first lines say how a shell loads it."
        )
        {
            shell,
        };
        command.SetAction(r =>
            Terminal.Result(
                r.GetValue(shell) switch
                {
                    "bash" => Bash,
                    "zsh" => Zsh,
                    "fish" => Fish,
                    _ => PowerShell,
                }
            )
        );
        return command;
    }
}
