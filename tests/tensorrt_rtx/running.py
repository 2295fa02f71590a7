"""The real runtime, as far as a machine without a GPU goes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from rectexport.runtime.engines.cuda.libraries import no_gpu
from rectexport.runtime.engines.tensorrt import cuda
from rectexport.runtime.engines.tensorrt.running.engine import Engine
from rectexport.runtime.engines.tensorrt.versions import Api
from rectexport.runtime.errors import MissingDependency
from tests.runtime.engines.tensorrt.machines import flexible

__all__ = ["flexible"]
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.quick]
#: What engine.py and lane.py call.
USED = {
    "Runtime": ("deserialize_cuda_engine",),
    "ICudaEngine": (
        "create_engine_inspector",
        "create_execution_context",
        "get_tensor_dtype",
        "get_tensor_mode",
        "get_tensor_name",
        "get_tensor_profile_shape",
        "get_tensor_shape",
        "num_io_tensors",
        "num_optimization_profiles",
    ),
    "IExecutionContext": (
        "execute_async_v3",
        "get_tensor_shape",
        "profiler",
        "set_input_shape",
        "set_optimization_profile_async",
        "set_tensor_address",
    ),
    "IProfiler": ("report_layer_time",),
    "EngineInspector": ("get_engine_information",),
}


@pytest.mark.parametrize("name", USED)
def test_the_names_that_a_lane_uses_exist(api: Api, name: str) -> None:
    assert set(USED[name]) <= set(dir(getattr(api.module, name)))
    assert callable(api.module.nptype) and api.module.TensorIOMode.INPUT != api.module.TensorIOMode.OUTPUT


@pytest.mark.skipif(no_gpu() is None, reason="there is a GPU")
def test_the_runtime_asks_for_a_driver(
    build: Callable[..., bytes], api: Api, flexible: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made without a GPU, and refuses to load an engine there: that is as far as this goes."""
    driver: Any = type("Driver", (), {"active": staticmethod(nullcontext)})
    monkeypatch.setattr(cuda, "driver", lambda: driver)
    with pytest.raises(MissingDependency, match=r"the NVIDIA driver is too old for TensorRT for RTX"):
        Engine(build(flexible), api, "model.plan")
