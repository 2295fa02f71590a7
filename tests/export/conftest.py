"""Most of the time of an export is tracing, and work that torch repeats for every export: tests share both."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import onnxscript._framework_apis.torch_2_5 as torchlib
import pytest
from torch import nn
from torch._export import utils as torch_export
from torch.onnx._internal.exporter._registration import ONNXRegistry

from rectexport.exporter import pipeline, targets
from rectexport.exporter.frontend.inputs import InputPlan
from rectexport.exporter.frontend.source import Source
from rectexport.exporter.tracing.trace import Traced, trace

_TRACED: dict[object, Traced] = {}


@pytest.fixture(scope="session", autouse=True)
def one_torchlib() -> Iterator[None]:
    """torch.onnx reads its five hundred translations and torch's operators for every export; here once is enough.

    Every export still gets a registry of its own, because it adds our translations to it.
    """
    registry_of = cache(ONNXRegistry.from_torchlib)

    def own_registry(**options: Any) -> ONNXRegistry:
        registry = copy.copy(registry_of(**options))
        registry.functions = {target: list(found) for target, found in registry.functions.items()}
        return registry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torchlib, "get_torchlib_ops", cache(torchlib.get_torchlib_ops))
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(own_registry))
        patch.setattr(torch_export, "_materialize_cpp_cia_ops", cache(torch_export._materialize_cpp_cia_ops))
        yield


@pytest.fixture
def shared_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within this test, an export of a network and shapes that were traced before skips tracing."""

    def traced_once(
        source: Source, inputs: Sequence[InputPlan], opset: int, dynamic_shapes: Any = None, **more: Any
    ) -> Traced:
        if source.kind != "module":
            return trace(source, inputs, opset, dynamic_shapes, **more)
        plans = tuple((entry.name, entry.range, entry.example.tobytes()) for entry in inputs)
        key = (str(source.model), _digest(source.model), plans, opset, repr(dynamic_shapes))
        if key not in _TRACED:
            _TRACED[key] = trace(source, inputs, opset, dynamic_shapes, **more)
        return _TRACED[key]

    monkeypatch.setattr(pipeline, "trace", traced_once)


def _digest(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


@pytest.fixture(scope="session", autouse=True)
def _onnxruntime_alone() -> Iterator[None]:
    """Exports are compared on ONNX Runtime only, which saves time; test_engines.py compares on both engines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(targets, "installed_engines", lambda: ["onnxruntime"])
        yield
