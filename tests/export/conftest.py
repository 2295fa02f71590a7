"""Tracing is most of what an export takes: tests of the other steps share what torch made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import onnxscript._framework_apis.torch_2_5 as torchlib
import pytest
from torch import nn

from rectexport.exporter import pipeline
from rectexport.exporter.frontend.inputs import InputPlan
from rectexport.exporter.frontend.source import Source
from rectexport.exporter.tracing.trace import Traced, trace

_TRACED: dict[object, Traced] = {}


@pytest.fixture(scope="session", autouse=True)
def one_torchlib() -> Iterator[None]:
    """torch.onnx parses the sources of its five hundred translations for every export; here once is enough."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torchlib, "get_torchlib_ops", cache(torchlib.get_torchlib_ops))
        yield


@pytest.fixture
def shared_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within this test, an export of a network and shapes that were traced before skips tracing."""

    def traced_once(source: Source, inputs: Sequence[InputPlan], opset: int, dynamic_shapes: Any = None) -> Traced:
        if source.kind != "module":
            return trace(source, inputs, opset, dynamic_shapes)
        plans = tuple((entry.name, entry.range, entry.example.tobytes()) for entry in inputs)
        key = (str(source.model), _digest(source.model), plans, opset, repr(dynamic_shapes))
        if key not in _TRACED:
            _TRACED[key] = trace(source, inputs, opset, dynamic_shapes)
        return _TRACED[key]

    monkeypatch.setattr(pipeline, "trace", traced_once)


def _digest(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()
