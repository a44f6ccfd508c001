using AfaNative.Tool;

return await CommandLineProgram.RunAsync(args).ConfigureAwait(false);
