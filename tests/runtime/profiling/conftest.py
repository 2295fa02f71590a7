"""The fake machine with TensorRT."""

from tests.runtime.engines.tensorrt.machines import flexible, machine

__all__ = ["flexible", "machine"]
