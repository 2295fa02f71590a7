"""Arrays that go into and come out of a session: NumPy, PyTorch and CuPy."""
