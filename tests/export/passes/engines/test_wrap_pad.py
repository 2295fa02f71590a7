"""Periodic padding is written as copies, which every engine takes."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from rectexport.exporter.passes.engines import wrap_pad
from tests.export.helper import build, normal, operators
from tests.export.passes.engines.helper import exact, needed, refused

OPSET = 21


def padding(dims: str, amounts: list[int], opset: int = OPSET, dtype: str = "float") -> object:
    return build(
        f"({dtype}[{dims}] x) => ({dtype}[a,b,c,d] y)",
        'y = Pad<mode="wrap">(x, amounts)',
        opset,
        amounts=np.array(amounts, np.int64),
    )


@pytest.mark.parametrize("dims", ["2,3,4,5", "N,3,H,W"])
@pytest.mark.parametrize(
    "amounts", [[0, 0, 1, 2, 0, 0, 1, 2], [0, 0, 0, 3, 0, 0, 2, 0], [0, 1, 0, 0, 0, 2, 0, 0], [0, 0, 4, 5, 0, 0, 4, 5]]
)
def test_amounts_and_open_sizes(dims: str, amounts: list[int]) -> None:
    needed(wrap_pad.run, padding(dims, amounts), {"x": normal(2, 3, 4, 5)})


@pytest.mark.parametrize("dims", ["1,1,2,3", "N,C,H,W"])
def test_a_period_repeated_more_than_once(dims: str) -> None:
    needed(wrap_pad.run, padding(dims, [0, 0, 5, 7, 0, 0, 4, 9]), {"x": normal(1, 1, 2, 3)})


def test_open_sizes_hold_for_every_size() -> None:
    model = padding("N,C,H,W", [0, 0, 2, 3, 0, 0, 3, 2])
    sizes = [(1, 1), (2, 1), (3, 4), (9, 7)]
    exact(wrap_pad.run, model, *({"x": normal(1, 2, *size)} for size in sizes))


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float16", "bool"])
def test_other_dtypes(dtype: str) -> None:
    x = (normal(1, 2, 3, 4) * 10).astype(dtype)
    exact(wrap_pad.run, padding("1,2,3,4", [0, 0, 1, 1, 0, 0, 1, 1], dtype=dtype), {"x": x})


def test_axes_are_followed() -> None:
    body = 'y = Pad<mode="wrap">(x, amounts, , axes)'
    stored = {"amounts": np.array([1, 2, 0, 1], np.int64), "axes": np.array([3, -2], np.int64)}
    needed(
        wrap_pad.run,
        build("(float[1,2,4,5] x) => (float[1,2,7,6] y)", body, OPSET, **stored),
        {"x": normal(1, 2, 4, 5)},
    )


def test_at_an_opset_that_has_no_wrap() -> None:
    """torch.onnx writes it at opset 18; afterwards the model is one of opset 18."""
    rewritten = needed(wrap_pad.run, padding("1,2,3,4", [0, 0, 1, 1, 0, 0, 1, 1], 18), {"x": normal(1, 2, 3, 4)})
    assert set(operators(rewritten)) == {"Slice", "Concat"}


def test_nothing_to_add() -> None:
    rewritten = needed(wrap_pad.run, padding("1,2,3,4", [0] * 8), {"x": normal(1, 2, 3, 4)})
    assert operators(rewritten) == ["Identity"]


def test_removed_elements_are_refused() -> None:
    assert "removes" in refused(wrap_pad.run, padding("1,2,3,4", [0, 0, -1, 1, 0, 0, 0, 0])).refused[0].reason


def test_amounts_that_are_fed_are_refused() -> None:
    model = padding("1,2,3,4", [0, 0, 1, 1, 0, 0, 0, 0])
    model.graph.input.append(helper.make_tensor_value_info("amounts", TensorProto.INT64, [8]))
    assert "not constant" in refused(wrap_pad.run, model).refused[0].reason


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_other_modes_stay(mode: str) -> None:
    body = f'y = Pad<mode="{mode}">(x, amounts)'
    amounts = np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)
    assert not refused(
        wrap_pad.run, build("(float[1,2,4,5] x) => (float[1,2,6,7] y)", body, OPSET, amounts=amounts)
    ).refused
