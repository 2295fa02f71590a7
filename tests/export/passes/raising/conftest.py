"""What every test of a raise pass needs: exporters, simplifiers, and one check of a raised model."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, checker, parser
from torch import nn

from rectexport.exporter.graph.dialect import DOMAIN
from rectexport.exporter.passes.raising import raise_model
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner

TOLERANCE = 1e-6


def run_onnx(model: ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The model's outputs, without the engine's own rewrites."""
    runner = OnnxRuntimeRunner(model.SerializeToString(), optimize=False)
    results = list(runner.run(feeds).values())
    runner.close()
    return results


def operators(model: ModelProto) -> Counter[str]:
    """Operators of the main graph by name, constants left out."""
    return Counter(node.op_type for node in model.graph.node if node.op_type != "Constant")


def _signature(model: ModelProto) -> list[str]:
    return [value.name for value in (*model.graph.input, *model.graph.output)]


def _feeds(model: ModelProto, shape: Sequence[int] | None) -> dict[str, np.ndarray]:
    random, stored = np.random.default_rng(0), {entry.name for entry in model.graph.initializer}
    values = [value for value in model.graph.input if value.name not in stored]
    shapes = [shape or [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values]
    return {
        value.name: random.standard_normal(size).astype(np.float32) for value, size in zip(values, shapes, strict=True)
    }


@pytest.fixture
def check() -> Callable[..., ModelProto]:
    """Raise, and compare: expected operators, a checked model, equal outputs, and nothing left for a second run."""

    def checked(model: ModelProto, expected: dict[str, int], shapes: Sequence[Sequence[int] | None] = (None,)):
        raised, results = raise_model(model)
        found = operators(raised)
        assert {name: found[name] for name in expected} == expected, [(r.name, r.refused) for r in results]
        assert _signature(raised) == _signature(model)
        checker.check_model(raised)
        for shape in shapes:
            feeds = _feeds(model, shape)
            for before, after in zip(run_onnx(model, feeds), run_onnx(raised, feeds), strict=True):
                assert np.linalg.norm(before - after) <= TOLERANCE * np.linalg.norm(before)
        again, repeated = raise_model(raised)
        assert again is raised, [result.fired for result in repeated]
        return raised

    return checked


@pytest.fixture
def untouched() -> Callable[..., None]:
    """The model comes back as it is, and a reason says why."""

    def checked(model: ModelProto, reason: str = "") -> None:
        before = model.SerializeToString()
        raised, results = raise_model(model)
        assert raised is model and raised.SerializeToString() == before
        assert not any(node.domain == DOMAIN for node in raised.graph.node)
        reasons = [entry.reason for result in results for entry in result.refused]
        assert not reason or any(reason in entry for entry in reasons), reasons

    return checked


def _dynamo(module: nn.Module, x: torch.Tensor, dynamic: bool, opset: int) -> ModelProto:
    axes = {0: torch.export.Dim("batch"), 2: torch.export.Dim("height"), 3: torch.export.Dim("width")}
    shapes = (axes,) if dynamic else None
    program = torch.onnx.export(
        module, (x,), dynamo=True, dynamic_shapes=shapes, opset_version=opset, input_names=["x"], verbose=False
    )
    return program.model_proto


def _torchscript(module: nn.Module, x: torch.Tensor, dynamic: bool, opset: int) -> ModelProto:
    axes = {"x": {0: "batch", 2: "height", 3: "width"}} if dynamic else None
    file = io.BytesIO()
    torch.onnx.export(module, (x,), file, dynamo=False, dynamic_axes=axes, opset_version=opset, input_names=["x"])
    return onnx.load_from_string(file.getvalue())


EXPORTERS = {
    "dynamo-18": (_dynamo, 18),
    "dynamo-23": (_dynamo, 23),
    "torchscript-11": (_torchscript, 11),
    "torchscript-17": (_torchscript, 17),
}


_EXPORTED: dict[tuple[str, str, str], ModelProto] = {}


@pytest.fixture(params=EXPORTERS)
def to_onnx(request: pytest.FixtureRequest) -> Callable[..., ModelProto]:
    """torch's two exporters at several opsets: to_onnx(module, x, dynamic=False, case=None).

    The model of a case is exported once for all tests of a file that name it.
    """
    exporter, opset = EXPORTERS[request.param]

    def convert(module: nn.Module, x: torch.Tensor, dynamic: bool = False, case: str | None = None) -> ModelProto:
        key = (request.path.name, request.param, case or request.node.name)
        if key not in _EXPORTED:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                _EXPORTED[key] = exporter(module.eval(), x, dynamic, opset)
        model = ModelProto()
        model.CopyFrom(_EXPORTED[key])
        return model

    return convert


def _onnxsim(model: ModelProto) -> ModelProto:
    simplified, correct = pytest.importorskip("onnxsim").simplify(model)
    assert correct
    return simplified


def _onnxslim(model: ModelProto) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(model)
    return pytest.importorskip("onnxslim").slim(copy)


SIMPLIFIERS = {"onnxsim": _onnxsim, "onnxslim": _onnxslim}


@pytest.fixture(params=SIMPLIFIERS)
def simplify(request: pytest.FixtureRequest) -> Callable[[ModelProto], ModelProto]:
    """Either simplifier; skipped where it is not installed."""
    return SIMPLIFIERS[request.param]


@pytest.fixture
def parse() -> Callable[..., ModelProto]:
    """A model from ONNX text: parse(body, inputs, outputs, opset=18, **arrays as initializers)."""

    def parsed(body: str, signature: str, opset: int = 18, **arrays: np.ndarray) -> ModelProto:
        header = f'<ir_version: 8, opset_import: ["": {opset}]>'
        model = parser.parse_model(f"{header} g {signature} {{ {body} }}")
        for name, array in arrays.items():
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        return model

    return parsed
