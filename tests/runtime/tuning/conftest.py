"""A machine with a made-up GPU and TensorRT."""

from tests.runtime.engines.tensorrt.machines import flexible, machine

__all__ = ["flexible", "machine"]
