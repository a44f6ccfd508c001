using AfaNative.Tool;

// The same program as afa-native bench: one implementation, one set of options.
return await CommandLineProgram.RunAsync(["bench", .. args]).ConfigureAwait(false);
