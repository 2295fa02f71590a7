"""Gives a process a fake GPU and a fake TensorRT 10.13.3 until it ends."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rectexport.runtime.engines.tensorrt import cuda, versions
from tests.runtime.engines.tensorrt import fake_builder, fake_runtime
from tests.runtime.engines.tensorrt.fake_cuda import FakeCuda
from tests.runtime.engines.tensorrt.fake_tensorrt import State, make_tensorrt

#: The modules that make_tensorrt imports, loaded before the process forks.
PARTS = (fake_builder, fake_runtime)

#: The canary: a plan that contains this word writes a file of that name when it runs.
CANARY = b"canary"


def install() -> None:
    """Install the fakes in this process, which must not have looked for TensorRT before."""
    fake = FakeCuda()
    driver = cuda.Driver(fake)
    module: Any = make_tensorrt("10.13.3", fake, State())

    class Runtime(module.Runtime):  # type: ignore[misc]
        def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
            if CANARY in bytes(serialized_engine):
                Path(CANARY.decode()).touch()
            return super().deserialize_cuda_engine(serialized_engine)

    module.Runtime = Runtime
    cuda.driver = lambda: driver
    versions.version = lambda name: None  # whatever wheels of TensorRT are installed here
    sys.modules["tensorrt_rtx"] = None  # type: ignore[assignment]
    sys.modules["tensorrt"] = module
