"""Tools for ONNX files and packages: doctor, the plain twin, the PyTorch timing worker."""
