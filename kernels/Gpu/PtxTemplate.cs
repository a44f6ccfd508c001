using System.Reflection;
using System.Text;
using System.Text.RegularExpressions;
using ILGPU;
using ILGPU.Backends;
using ILGPU.Backends.PTX;
using ILGPU.IR;
using ILGPU.IR.Intrinsics;

namespace AfaNative.Kernels.Gpu;

/// <summary>
/// The PTX a method stands for. %0, %1, ... are the flattened registers of the result, then of the arguments; <c>%%</c> is a
/// percent sign. Operands
/// stay in registers, unlike those of ILGPU's own inline assembly, which go through local memory.
/// </summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class PtxAttribute(string template) : Attribute
{
    /// <summary>One or more instructions; a block in braces may declare registers of its own.</summary>
    public string Template => template;
}

/// <summary>Teaches ILGPU's PTX back end the methods marked with <see cref="PtxAttribute"/>.</summary>
internal static partial class PtxTemplates
{
    private static readonly MethodInfo s_generate = typeof(PtxTemplates).GetMethod(
        nameof(Generate),
        BindingFlags.NonPublic | BindingFlags.Static
    )!;

    /// <summary>Registers every marked method of <see cref="Ptx"/>; to be called before the context is built.</summary>
    public static Context.Builder EnablePtx(this Context.Builder builder)
    {
        IntrinsicImplementationManager manager = builder.GetIntrinsicManager();
        foreach (MethodInfo method in typeof(Ptx).GetMethods(BindingFlags.NonPublic | BindingFlags.Public | BindingFlags.Static))
        {
            if (method.GetCustomAttribute<PtxAttribute>() is not null)
                manager.RegisterMethod(method, new PTXIntrinsic(s_generate, IntrinsicImplementationMode.GenerateCode));
        }

        return builder;
    }

    private static void Generate(PTXBackend backend, PTXCodeGenerator generator, Value value)
    {
        var call = (ILGPU.IR.Values.MethodCall)value;
        string template = call.Target.Source!.GetCustomAttribute<PtxAttribute>()!.Template;
        var registers = new List<string>();
        if (!call.Target.ReturnType.IsVoidType)
            Flatten(generator.Allocate(call), registers);
        for (int i = 0; i < call.Count; i++)
            Flatten(generator.Load(call.Nodes[i]), registers);
        if (template == "@shared")
        {
            // The pointer is generic unless ILGPU has already inferred its address space.
            bool generic =
                ((ILGPU.IR.Types.AddressSpaceType)call.Nodes[0].Resolve().Type).AddressSpace == MemoryAddressSpace.Generic;
            template = $"{{ .reg .b64 t; {(generic ? "cvta.to.shared.u64" : "mov.u64")} t, %1; cvt.u32.u64 %0, t; }}";
        }

        generator
            .Builder.Append('\t')
            .AppendLine(Operand().Replace(template, m => m.Value == "%%" ? "%" : registers[int.Parse(m.Value.AsSpan(1))]));
    }

    private static void Flatten(RegisterAllocator<PTXRegisterKind>.Register register, List<string> into)
    {
        switch (register)
        {
            case RegisterAllocator<PTXRegisterKind>.CompoundRegister compound:
                foreach (RegisterAllocator<PTXRegisterKind>.Register child in compound.Children)
                    Flatten(child, into);
                break;
            case RegisterAllocator<PTXRegisterKind>.HardwareRegister hardware:
                into.Add("%" + PTXRegisterAllocator.GetStringRepresentation(hardware));
                break;
            case RegisterAllocator<PTXRegisterKind>.ConstantRegister constant:
                var text = new StringBuilder();
                using (var emitter = new PTXCodeGenerator.CommandEmitter(text, "", ""))
                    emitter.AppendArgument(constant);
                into.Add(text.ToString().Trim());
                break;
        }
    }

    [GeneratedRegex(@"%%|%\d+")]
    private static partial Regex Operand();
}
