"""Trace a torch model to ONNX with dialect nodes."""
