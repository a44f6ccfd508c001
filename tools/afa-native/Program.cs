using AfaNative.Tool;

StandardStreams.Prepare();
return await CommandLineProgram.RunAsync(args).ConfigureAwait(false);
