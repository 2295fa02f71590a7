"""Reference outputs and inner tensors that a package is compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rectexport.exporter.checking.reference import OnnxReference, TorchReference, make_reference
from rectexport.exporter.frontend.source import Source
from rectexport.exporter.graph.inner import run_inner
from rectexport.exporter.tracing.trace import Traced
from rectexport.runtime.errors import BadInput
from tests.export.helper import build, normal
from tests.export.nets import Small, image, seeded, source, traced

X = {"x": image(2, 2, 8, 9).numpy()}


def reference(net: nn.Module, *shape: int) -> Any:
    given = source(net, image(*shape))
    return make_reference(given, traced(given))


@pytest.fixture(scope="module")
def small() -> tuple[Source, Traced]:
    """A network traced once; making a reference must not change it."""
    given = source(seeded(Small()), image(2, 2, 8, 9))
    return given, traced(given)


def test_outputs_are_float64(small: tuple[Source, Traced]) -> None:
    made = make_reference(*small)
    (logits,) = made.outputs(X)
    assert logits.dtype == np.float64
    with torch.no_grad():
        expected = seeded(Small()).double()(image(2, 2, 8, 9).double())
    np.testing.assert_array_equal(logits, expected.numpy())
    assert made.description == "PyTorch, float64"


def test_the_model_itself_stays_as_it_was(small: tuple[Source, Traced]) -> None:
    net = small[0].model
    before = {key: value.clone() for key, value in seeded(Small()).state_dict().items()}
    made = make_reference(*small)
    made.outputs(X)
    made.tensors(X, {"getitem"})
    for key, value in net.state_dict().items():
        assert value.dtype == before[key].dtype, key
        assert torch.equal(value, before[key])


def test_a_program_stays_as_it_was() -> None:
    """Its module() shares the weights: doubling them there would double them here."""
    program: Any = torch.export.export(seeded(Small()), (image(2, 2, 8, 9),))
    given = Source("program", program, "program", None, ["x"], (X["x"],))
    for _ in range(2):
        made = make_reference(given, traced(given))
        assert made.outputs(X)[0].dtype == np.float64
        assert {value.dtype for value in program.state_dict.values()} == {torch.float32, torch.int64}


def test_inner_tensors_have_the_names_of_the_onnx_model(small: tuple[Source, Traced]) -> None:
    result = small[1]
    made = make_reference(*small)
    names = {name for node in result.model.graph.node for name in node.output}
    found = made.tensors(X, {*names, "unheard of"})
    assert found.keys() < names
    assert found.keys() <= made.inner_names() and "unheard of" not in made.inner_names()
    inner = run_inner(result.model, X, sorted(found))
    assert len(found) >= 5
    for name, value in found.items():
        assert value.dtype == np.float64 and value.ndim >= 2
        np.testing.assert_allclose(inner[name], value, rtol=1e-3, atol=1e-4)
    layers = [made.layer(name) for name in found]
    assert {"norm", "crelu", "even", "last"} <= set(layers)
    assert made.layer("unheard of") == "unheard of"
    assert made.tensors(X, set()) == {}


class Casts(nn.Module):
    """Casts to float32 inside, as many models do; weights in float64 do not fit then."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.float())


def test_a_model_that_refuses_float64_is_run_in_float32() -> None:
    made = reference(seeded(Casts()), 2, 2, 8, 9)
    (y,) = made.outputs(X)
    assert y.dtype == np.float32
    assert made.description == "PyTorch, float32"
    with torch.no_grad():
        np.testing.assert_array_equal(y, seeded(Casts())(image(2, 2, 8, 9)).numpy())
    (inner,) = made.tensors(X, {"conv2d"}).values()
    assert inner.dtype == np.float64, "the program's own casts are widened"
    np.testing.assert_allclose(inner, y, rtol=1e-4, atol=1e-6)


class Bits(nn.Module):
    """Reads the bits of float32 numbers, which float64 numbers do not have."""

    def forward(self, x: Tensor) -> Tensor:
        sign = (x.view(torch.int32) >> 31).to(x.dtype)
        return x * (sign + 0.5)


def test_a_program_that_refuses_float64_is_run_in_float32() -> None:
    made = TorchReference(Bits(), torch.export.export(Bits(), (image(2, 2, 8, 9),)))
    (y,) = made.outputs(X)
    inner = made.tensors(X, {"add"})["add"]
    assert y.dtype == inner.dtype == np.float32
    np.testing.assert_array_equal(y, X["x"] * inner)


def test_rounding_of_a_model_in_float32_is_that_of_its_inputs() -> None:
    made = reference(seeded(Casts()), 2, 2, 8, 9)
    (y,), (moved,) = made.outputs(X), made.rounded(X)
    assert 0 < np.abs(y - moved).max() < 1e-4


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:The .grad attribute:UserWarning")
def test_torchscript_has_no_inner_tensors() -> None:
    module: Any = torch.jit.trace(seeded(Small()), image(2, 2, 8, 9))
    made = TorchReference(module, None)
    with torch.no_grad():
        np.testing.assert_allclose(made.outputs(X)[0], seeded(Small())(image(2, 2, 8, 9)).numpy(), rtol=1e-4)
    assert made.tensors(X, {"getitem"}) == {}
    assert made.layer("getitem") == "getitem"


def test_shapes_that_the_model_does_not_take(small: tuple[Source, Traced]) -> None:
    made = make_reference(*small)
    message = r"PyTorch could not run the model with x 2x5x8x9: RuntimeError: .*channels"
    with pytest.raises(BadInput, match=message) as caught:
        made.outputs({"x": normal(2, 5, 8, 9)})
    assert "\n" not in str(caught.value)


class Nested(nn.Module):
    def forward(self, x: Tensor, n: Tensor) -> Any:
        return {"a": x * 2, "b": [n, None, (x + 1,)]}


def test_nested_outputs_are_flattened_and_whole_numbers_kept() -> None:
    made = TorchReference(Nested(), None)
    first, whole, last = made.outputs({"x": np.array([1.5], np.float32), "n": np.array([7])})
    assert (first.tolist(), whole.tolist(), last.tolist()) == ([3.0], [7], [2.5])
    assert whole.dtype == np.int64


def onnx_model() -> Any:
    return build("(float[N,2] x) => (float[N,2] y, float[N,2] z)", "a = Neg(x)\n y = Relu(a)\n z = Abs(a)")


def test_onnx_is_its_own_reference() -> None:
    model = onnx_model()
    given = Source("onnx", model, "ONNX file", Path("net.onnx"), ["x"], (normal(2, 2),))
    made = make_reference(given, traced(given))
    assert isinstance(made, OnnxReference)
    x = {"x": normal(3, 2)}
    y, z = made.outputs(x)
    np.testing.assert_array_equal(y, np.maximum(-x["x"], 0))
    np.testing.assert_array_equal(z, np.abs(x["x"]))
    inner = made.tensors(x, {"a", "z", "unheard of"})
    assert inner.keys() == {"a", "z"}
    np.testing.assert_array_equal(inner["a"], -x["x"])
    assert made.layer("a") == "a"
    assert "ONNX Runtime" in made.description


def test_the_inner_graph_shares_the_weights_in_float64(small: tuple[Source, Traced]) -> None:
    made: Any = make_reference(*small)
    own = {id(value) for value in made._model.parameters()}
    assert own and own == {id(value) for value in made._graph.parameters()}


def test_a_weight_that_the_trace_has_changed_is_not_shared(small: tuple[Source, Traced]) -> None:
    _, found = small
    other = seeded(Small())
    with torch.no_grad():
        other.head.weight.add_(1)
    made: Any = TorchReference(other, found.program)
    assert not torch.equal(made._graph.get_parameter("head.weight"), made._model.head.weight)
    assert made._graph.get_parameter("head.bias") is made._model.head.bias
