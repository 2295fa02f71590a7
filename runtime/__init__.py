"""The deployment side: loads, checks, runs and serves packages. Needs NumPy and one inference engine only.

It imports neither torch nor onnx.
"""
