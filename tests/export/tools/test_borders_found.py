"""What stands beyond the border of each layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rectexport.exporter.tools.borders_found import LayerBorder
from rectexport.exporter.tools.doctor import diagnose
from tests.export.helper import build, normal

WINDOW = "kernel_shape=[3,3], strides=[1,1], pads=[1,1,1,1], dilations=[1,1], numerator=9, empty_bias=1"
STORED = {
    "w": normal(2, 2, 3, 3), "b": normal(2), "one": np.array([1]), "end": np.array([99]), "back": np.array([-1]),
    "zero": np.array([0]), "width": np.array([3]), "pads": np.array([0, 0, 1, 0, 0, 0, 1, 0]),
}  # fmt: skip


def borders(body: str) -> tuple[LayerBorder, ...]:
    return diagnose(build("(float[1,2,6,6] x) => (float[a,b,c,d] y)", body, 19, **STORED)).borders


@pytest.mark.parametrize(
    ("body", "kind", "begins"),
    [
        ("y = Conv(x, w)", "nothing", (0, 0)),
        ("y = Conv<pads = [1, 1, 1, 1]>(x, w)", "zeros", (1, 1)),
        ('y = Conv<auto_pad = "SAME_UPPER">(x, w)', "zeros (SAME_UPPER)", (1, 1)),
        ("y = MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x)", "left out of the window", (1, 1)),
        ("y = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1>(x)", "zeros", (1, 1)),
        ('p = Pad<mode = "reflect">(x, pads)\n y = Conv<pads = [0, 1, 0, 1]>(p, w)', "reflect × zeros", (1, 1)),
        ('p = Pad<mode = "edge">(x, pads)\n y = Conv<pads = [1, 0, 0, 0]>(p, w)', "replicate + zeros", (2, 0)),
        (
            "l = Slice(x, back, end, width)\n r = Slice(x, zero, one, width)\n p = Concat<axis = 3>(l, x, r)\n"
            "y = Conv<pads = [1, 0, 1, 0]>(p, w)",
            "zeros × circular",
            (1, 1),
        ),
        (
            "p = rectexport.BoundaryPad<modes = [5, 1], pads = [1, 2, 1, 2]>(x)\n y = Conv(p, w)",
            "poles × circular",
            (1, 2),
        ),
        (f"c = Conv<pads = [1, 1, 1, 1]>(x, w)\n y = rectexport.Rectify<{WINDOW}>(c, x, b)", "rectified", (1, 1)),
    ],
)
def test_the_border_of_a_layer(body: str, kind: str, begins: tuple[int, ...]) -> None:
    (found,) = borders(body)
    assert (found.kind, found.begins) == (kind, begins)


def test_padding_that_no_layer_reads_is_told_by_itself() -> None:
    (found,) = borders('p = Pad<mode = "edge">(x, pads)\n y = Relu(p)')
    assert (found.operator, found.kind, found.begins, found.ends) == ("BoundaryPad", "replicate", (1, 0), (1, 0))
    document: dict[str, Any] = found.as_dict()
    assert document["kind"] == "replicate" and document["borders"] == ("replicate", "zeros")


def test_a_padding_is_told_once() -> None:
    found = borders('p = Pad<mode = "edge">(x, pads)\n c = Conv(p, w)\n d = Conv(p, w)\n y = Add(c, d)')
    assert [entry.operator for entry in found] == ["Conv", "Conv"]
    assert {entry.kind for entry in found} == {"replicate"}
