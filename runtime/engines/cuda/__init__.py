"""ONNX Runtime's CUDA provider, on an NVIDIA GPU."""
