"""GPU tests and benchmarks: prepared on any machine (prepare), then run on a GPU with only the runtime installed."""
