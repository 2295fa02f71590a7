"""Borders written in standard operators."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from onnx import ModelProto

from rectexport.exporter.graph import dialect
from rectexport.exporter.graph.shapes import infer_shapes
from rectexport.exporter.passes import boundary_pad
from rectexport.plugins import reference
from tests.export.engines import ENGINES, run_on
from tests.export.helper import build, check_pass, normal, operators


def padded(modes: list[int], pads: list[int], dims: str = "2,3,4,5", opset: int = 18) -> ModelProto:
    free = ",".join("abcde"[: dims.count(",") + 1])
    body = f"p = rectexport.BoundaryPad<modes = {modes}, pads = {pads}>(x)\n y = Relu(p)"
    return infer_shapes(build(f"(float[{dims}] x) => (float[{free}] y)", body, opset))


@pytest.mark.parametrize("dims", ["2,3,4,5", "N,3,H,5"])
@pytest.mark.parametrize("modes", [list(pair) for pair in product(range(7), range(5))])
def test_every_pair_of_borders(modes: list[int], dims: str) -> None:
    x, pads = normal(2, 3, 4, 5), [2, 1, 1, 2]
    written, _ = check_pass(boundary_pad.run, padded(modes, pads, dims), {"x": x})
    assert not any(node.domain for node in written.graph.node)
    expected = np.maximum(reference.boundary_pad(x, pads, [dialect.BORDERS[mode] for mode in modes]), 0)
    for engine in ENGINES:
        np.testing.assert_array_equal(run_on(engine, written, x), expected.astype(np.float32))


@pytest.mark.parametrize(
    ("modes", "expected"),
    [
        ([3, 3], {"Pad": 1}),
        ([2, 3], {"Pad": 2}),
        ([0, 0], {"Pad": 1}),
        ([3, 1], {"Pad": 1, "Slice": 2, "Concat": 1}),
        ([1, 1], {"Slice": 4, "Concat": 2}),
        ([5, 1], {"Slice": 8, "Concat": 4}),
    ],
)
def test_the_operators(modes: list[int], expected: dict[str, int]) -> None:
    written, _ = boundary_pad.run(padded(modes, [1, 1, 1, 1]))
    found = operators(written)
    assert {name: found.count(name) for name in ("Pad", "Slice", "Concat") if name in found} == expected


@pytest.mark.parametrize(
    ("modes", "dims", "sizes"), [([2], "1,2,N", (1, 2, 6)), ([2, 5, 1], "1,2,D,H,8", (1, 2, 3, 4, 8))]
)
def test_one_and_three_axes(modes: list[int], dims: str, sizes: tuple[int, ...]) -> None:
    x, pads = normal(*sizes), [1, 2, 1][: len(modes)] * 2
    written, _ = check_pass(boundary_pad.run, padded(modes, pads, dims), {"x": x})
    expected = np.maximum(reference.boundary_pad(x, pads, [dialect.BORDERS[mode] for mode in modes]), 0)
    for engine in ENGINES:
        np.testing.assert_array_equal(run_on(engine, written, x), expected.astype(np.float32))


def test_nothing_to_add() -> None:
    written, _ = boundary_pad.run(padded([2, 2], [0, 0, 0, 0]))
    assert operators(written) == ["Identity", "Relu"]


def test_rows_beyond_a_pole_of_open_width_are_left_to_the_body() -> None:
    model = padded([5, 1], [1, 1, 1, 1], "1,2,H,W")
    written, result = boundary_pad.run(model)
    assert written is model and "the width is open" in result.refused[0].reason
