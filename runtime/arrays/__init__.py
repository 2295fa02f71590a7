"""The arrays that a session takes and returns: NumPy, PyTorch and CuPy."""
