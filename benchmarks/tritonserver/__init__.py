"""A real tritonserver, for tests and for benchmarks.serving."""
