"""The operators of the rectexport dialect: NumPy reference, CUDA kernels and TensorRT plugins."""
