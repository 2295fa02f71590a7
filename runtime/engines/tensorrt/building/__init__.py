"""Build a TensorRT engine and check it before it is kept."""
