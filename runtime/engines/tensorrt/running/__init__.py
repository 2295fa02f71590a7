"""Run a TensorRT engine."""
