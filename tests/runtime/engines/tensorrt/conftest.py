"""The made-up machine, for every test here."""

from tests.runtime.engines.tensorrt.machines import every_version, flexible, machine

__all__ = ["every_version", "flexible", "machine"]
