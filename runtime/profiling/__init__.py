"""Time by layer of an engine, tied to ONNX nodes, PyTorch modules and passes; memory by phase."""
