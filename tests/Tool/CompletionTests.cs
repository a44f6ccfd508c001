using System.Diagnostics;
using Xunit;

namespace AfaNative.Tests.Tool;

/// <summary>What shells are told, and that they can read the scripts.</summary>
public sealed class CompletionTests
{
    [Theory]
    [InlineData("sample --sam", "--sampler")]
    [InlineData("afa-native sample --sam", "--sampler")]
    [InlineData("afa-native ", "sample samplers completion")]
    [InlineData("afa-native sample MODEL --prompt \"a cat\" --fusion ", "afa average mean magic")]
    [InlineData("afa-native sample MODEL --sampler dpmpp", "dpmpp_2m dpmpp_2m_karras")]
    [InlineData("afa-native sample MODEL --x ", "steps= experts= fusion=")]
    [InlineData("afa-native sample MODEL --device cu", "cuda:0")]
    [InlineData("afa-native ensemble ", "create info")]
    [InlineData("afa-native completion ", "bash zsh fish pwsh")]
    public void Commands_options_and_values_are_suggested(string line, string expected)
    {
        (int code, string text, string error) = CommandLineTests.RunProcess($"[suggest:{line.Length}]", line);
        Assert.True(code == 0, error);
        string[] suggested = text.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.All(expected.Split(' '), e => Assert.Contains(e, suggested));
        Assert.DoesNotContain(suggested, s => s.StartsWith('/'));
    }

    [Theory]
    [InlineData("bash")]
    [InlineData("zsh")]
    [InlineData("fish")]
    [InlineData("pwsh")]
    public void Every_shell_has_a_script_and_those_that_are_here_accept_it(string shell)
    {
        using var folder = new TemporaryFolder();
        (int code, string script, _) = CommandLineTests.RunProcess("completion", shell);
        Assert.Equal(0, code);
        Assert.Contains("[suggest:", script);
        Assert.DoesNotContain('\r', script);
        folder.Write("script", script);
        if (shell == "pwsh")
            return;
        if (Shell(shell, "-n", folder.File("script")) is not { } result)
            Assert.Skip($"no {shell} here");
        else
            Assert.True(result.Code == 0, result.Text);
    }

    [Fact]
    public void Bash_completes_with_it()
    {
        using var folder = new TemporaryFolder();
        folder.Write("script", CommandLineTests.RunProcess("completion", "bash").Output);
        // A program of that name, somewhere else, as a shell would find it.
        folder.Write(
            "afa-native",
            $"#!/bin/sh\nexec dotnet '{Path.Combine(AppContext.BaseDirectory, "afa-native.dll")}' \"$@\"\n"
        );
        if (!OperatingSystem.IsWindows())
            File.SetUnixFileMode(folder.File("afa-native"), UnixFileMode.UserRead | UnixFileMode.UserExecute);
        folder.Write(
            "test",
            $$"""
            source '{{folder.File("script")}}'
            try() {
                COMP_LINE="$1"; COMP_POINT=${#COMP_LINE}; read -ra COMP_WORDS <<< "$1"
                [[ $1 == *' ' ]] && COMP_WORDS+=('')
                COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _afa_native; echo "${COMPREPLY[*]}"
            }
            try '{{folder.File("afa-native")}} sample MODEL --sam'
            try '{{folder.File("afa-native")}} sample MODEL --fusion m'
            try '{{folder.File("afa-native")}} sample MODEL --init-image /some/pic'
            """
        );
        if (Shell("bash", folder.File("test")) is not { } result)
            Assert.Skip("no bash here");
        else
            Assert.Equal("--sampler --sampler-name\nmagic mean\n\n", result.Text);
    }

    private static (int Code, string Text)? Shell(string name, params string[] arguments)
    {
        try
        {
            using Process process = Process.Start(
                new ProcessStartInfo(name, arguments) { RedirectStandardOutput = true, RedirectStandardError = true }
            )!;
            Task<string> error = process.StandardError.ReadToEndAsync();
            string text = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return (process.ExitCode, text + error.Result);
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return null;
        }
    }
}
