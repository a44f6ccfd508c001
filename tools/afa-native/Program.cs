using AfaNative.Engine.Synthesis;
using AfaNative.Kernels;

SyntheticModel.Write(args[0], new SyntheticOptions { Experts = 3, FullSize = true, Type = ElementType.Float16 }, Console.WriteLine);
