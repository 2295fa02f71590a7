"""Powers and logarithms of a softplus are right on OpenVINO, too."""

from __future__ import annotations

import numpy as np
import pytest

from rectexport.exporter.passes.engines import softplus_tail
from tests.export.helper import build, normal
from tests.export.passes.engines.helper import exact, needed, refused

READERS = {
    "Log": "y = Log(s)",
    "Sqrt": "y = Sqrt(s)",
    "Reciprocal": "y = Reciprocal(s)",
    "Pow": "y = Pow(s, p)",
    "Div": "y = Div(p, s)",
    "through Identity": "i = Identity(s)\ny = Log(i)",
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_openvino_loses_small_results(reader: str) -> None:
    model = build("(float[N,8] x) => (float[N,8] y)", f"p = Constant<value_float=0.7>()\ns = Softplus(x)\n{reader}")
    feeds = {"x": np.array([[-60, -30, -18, -17, -16.5, -15, 2, 40]], np.float32)}
    needed(softplus_tail.run, model, feeds)


def test_every_size_of_number() -> None:
    model = build("(float[N] x) => (float[N] y)", "s = Softplus(x)\ny = Log(s)")
    exact(softplus_tail.run, model, {"x": np.linspace(-80, 80, 3201, dtype=np.float32)}, {"x": normal(9)})


def test_float16_stays_float16() -> None:
    model = build("(float16[N] x) => (float16[N] y)", "s = Softplus(x)\ny = Sqrt(s)")
    rewritten, result = softplus_tail.run(model)
    assert result.fired and {entry.data_type for entry in rewritten.graph.initializer} == {10}


@pytest.mark.parametrize("reader", ["y = Relu(s)", "y = Div(s, x)", "y = Pow(x, s)", "y = Add(s, x)"])
def test_other_readers_leave_it_alone(reader: str) -> None:
    refused(softplus_tail.run, build("(float[N] x) => (float[N] y)", f"s = Softplus(x)\n{reader}"))


def test_an_old_opset_is_refused() -> None:
    model = build("(float[N] x) => (float[N] y)", "s = Softplus(x)\ny = Log(s)")
    model.opset_import[0].version = 11
    assert "opset 11" in refused(softplus_tail.run, model).refused[0].reason
