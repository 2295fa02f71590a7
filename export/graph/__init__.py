"""ONNX graphs: the dialect, editing, shapes, inner tensors, and the guard around each pass."""
