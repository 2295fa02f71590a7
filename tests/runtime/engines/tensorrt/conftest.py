"""The fake machine, for every test in this folder."""

from tests.runtime.engines.tensorrt.machines import every_version, flexible, machine

__all__ = ["every_version", "flexible", "machine"]
