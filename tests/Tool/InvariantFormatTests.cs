using System.Reflection;
using System.Reflection.Emit;
using System.Runtime.CompilerServices;
using AfaNative.Engine.Core;
using Xunit;

namespace AfaNative.Tests.Tool;

/// <summary>
/// No number is written by the machine's language: what the compiled code of engine, kernels and tool calls is looked at.
/// </summary>
public sealed class InvariantFormatTests
{
    private static readonly Dictionary<short, OpCode> s_codes = typeof(OpCodes)
        .GetFields(BindingFlags.Public | BindingFlags.Static)
        .Select(f => (OpCode)f.GetValue(null)!)
        .ToDictionary(c => c.Value);
    private static readonly Type[] s_fractions =
    [
        typeof(float),
        typeof(double),
        typeof(decimal),
        typeof(Half),
        typeof(float?),
        typeof(double?),
    ];

    [Fact]
    public void Fractions_in_texts_are_invariant()
    {
        string[] found =
        [
            .. new[]
            {
                typeof(Engine.Core.AfaException),
                typeof(AfaNative.Kernels.Contracts.ElementType),
                typeof(AfaNative.Tool.Terminal),
            }
                .SelectMany(t => t.Assembly.GetTypes())
                .SelectMany(Methods)
                .SelectMany(Faults)
                .Order(StringComparer.Ordinal),
        ];
        Assert.True(found.Length == 0, string.Join('\n', found));
    }

    private static IEnumerable<MethodBase> Methods(Type type)
    {
        const BindingFlags All =
            BindingFlags.Public
            | BindingFlags.NonPublic
            | BindingFlags.Static
            | BindingFlags.Instance
            | BindingFlags.DeclaredOnly;
        return type.GetMethods(All).Concat<MethodBase>(type.GetConstructors(All));
    }

    private static IEnumerable<string> Faults(MethodBase method)
    {
        byte[]? code = method.GetMethodBody()?.GetILAsByteArray();
        // Records print themselves for debugging.
        if (code is null || method.Name is "PrintMembers" or "ToString" && method.IsDefined(typeof(CompilerGeneratedAttribute)))
            yield break;
        bool invariant = true;
        for (int at = 0; at < code.Length; )
        {
            short value = code[at++];
            if (value == 0xFE)
                value = (short)(0xFE00 | code[at++]);
            OpCode op = s_codes[value];
            if (op.OperandType == OperandType.InlineMethod && Resolve(method, BitConverter.ToInt32(code, at)) is { } called)
            {
                // Interpolations follow one another: the last one that began is the one that is added to.
                if (
                    called is ConstructorInfo
                    && called.DeclaringType?.Name.EndsWith("InterpolatedStringHandler", StringComparison.Ordinal) == true
                )
                    invariant = called.GetParameters().Any(p => p.ParameterType == typeof(IFormatProvider));
                else if (
                    called.Name == "AppendFormatted"
                    && !invariant
                    && called.IsGenericMethod
                    && s_fractions.Contains(called.GetGenericArguments()[0])
                )
                    yield return $"{method.DeclaringType}.{method.Name}: a fraction in an interpolated text";
                else if (
                    called.DeclaringType is { } type
                    && s_fractions.Contains(type)
                    && called.Name is "ToString" or "Parse" or "TryParse"
                    && s_fractions.Contains(called.DeclaringType)
                    && called.GetParameters().All(p => p.ParameterType != typeof(IFormatProvider))
                )
                    yield return $"{method.DeclaringType}.{method.Name}: {type.Name}.{called.Name}";
                else if (
                    called is { Name: "Append", DeclaringType.Name: "StringBuilder" }
                    && called.GetParameters() is [{ } only]
                    && s_fractions.Contains(only.ParameterType)
                )
                    yield return $"{method.DeclaringType}.{method.Name}: StringBuilder.Append";
            }

            at += op.OperandType switch
            {
                OperandType.InlineNone => 0,
                OperandType.ShortInlineBrTarget or OperandType.ShortInlineI or OperandType.ShortInlineVar => 1,
                OperandType.InlineVar => 2,
                OperandType.InlineI8 or OperandType.InlineR => 8,
                OperandType.InlineSwitch => 4 + 4 * BitConverter.ToInt32(code, at),
                _ => 4,
            };
        }
    }

    private static MethodBase? Resolve(MethodBase method, int token)
    {
        try
        {
            return method.Module.ResolveMethod(
                token,
                method.DeclaringType?.GetGenericArguments(),
                method is ConstructorInfo ? null : method.GetGenericArguments()
            );
        }
        catch (Exception e) when (e is ArgumentException or TypeLoadException or FileNotFoundException)
        {
            return null;
        }
    }
}
