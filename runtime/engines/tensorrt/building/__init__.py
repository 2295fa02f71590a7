"""Builds a TensorRT engine and checks it before it is stored."""
