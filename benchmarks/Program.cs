using AfaNative.Benchmarks;


return BenchmarkProgram.Run(args);
