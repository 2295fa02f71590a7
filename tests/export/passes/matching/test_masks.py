"""What is known to hold 0 and 1 alone, and tensors as tables over the count of a mask's ones."""

from __future__ import annotations

import numpy as np
import pytest

from rectexport.exporter.passes.matching.masks import CountTables, is_binary
from rectexport.exporter.passes.matching.window import read_window
from tests.export.passes.matching.scenes import parsed

SIGNATURE = "(float[N, 2, 6, 7] x, float[N, 1, 6, 7] f) => (float[A, B, C, D] z)"
STORED = {
    **{name: np.float32(value) for name, value in {"half": 0.5, "zero": 0, "one": 1, "nine": 9}.items()},
    "k": np.ones((1, 1, 3, 3), np.float32),
    "w": np.ones((3, 2, 3, 3), np.float32),
    "sizes": np.array([1, 4, 1, 1]),
    "scales": np.array([1, 1, 2, 2], np.float32),
    "axis": np.array([1]),
}
MASK = "g = Greater(f, half) m = Cast<to = 1>(g) "
COUNT = "u = Conv<pads = [1, 1, 1, 1]>(m, k) "


@pytest.mark.parametrize(
    ("body", "binary"),
    [
        ("z = Identity(m)", True),
        ("z = Identity(f)", False),
        ("z = Sub(one, m)", True),
        ("z = Sub(nine, m)", False),
        ("z = Add(m, m)", False),
        ("a = Add(m, m) z = Min(a, one)", True),
        ("a = Add(m, f) z = Min(a, one)", False),
        (f"{COUNT} z = Clip(u, zero, one)", True),
        (f"{COUNT} z = Clip(u, one, nine)", False),
        ("a = Mul(k, half) u = Conv(m, a) z = Clip(u, zero, one)", False),
        (f"{COUNT} a = Max(u, zero) z = Min(a, one)", True),
        ("e = Expand(m, sizes) z = Concat<axis = 1>(e, m)", True),
        ("z = Concat<axis = 1>(f, m)", False),
        ("z = Resize(m, , scales)", True),
        ("z = Resize<mode = \"linear\">(m, , scales)", False),
        ("z = Where(g, m, zero)", True),
        ("z = Where(g, f, zero)", False),
    ],
)  # fmt: skip
def test_what_holds_zeros_and_ones(body: str, binary: bool) -> None:
    graph = parsed(MASK + body, SIGNATURE, **STORED)
    assert is_binary(graph.values, graph["z"]) is binary


def tables(body: str) -> CountTables:
    """The tables of a 3×3 convolution y of x * m; `body` computes z of it and of m."""
    graph = parsed(f"{MASK} p = Mul(x, m) y = Conv<pads = [1, 1, 1, 1]>(p, w) {COUNT} {body}", SIGNATURE, **STORED)
    conv = graph.node("y")
    window = read_window(graph.values, conv)
    assert window is not None
    found = CountTables(graph.scene, conv, window, graph["m"])
    found.z = graph["z"]  # type: ignore[attr-defined]
    return found


U = np.arange(10.0)


@pytest.mark.parametrize(
    ("body", "table"),
    [
        ("z = Identity(u)", U),
        ("z = Mul(u, nine)", 9 * U),
        ("e = Equal(u, zero) z = Where(e, one, u)", np.maximum(U, 1)),
        ("z = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1>(m)", U / 9),
        ("z = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(m)", None),
        ("z = AveragePool<kernel_shape = [5, 5], pads = [2, 2, 2, 2], count_include_pad = 1>(m)", None),
        ("z = Conv<pads = [1, 1, 1, 1]>(f, k)", None),
        ("z = Relu(y)", None),
    ],
)
def test_tables_over_the_count(body: str, table: np.ndarray | None) -> None:
    found = tables(body)
    operand = found.read(found.z)  # type: ignore[attr-defined]
    if table is None:
        assert operand is None
    else:
        assert operand is not None and operand.plane
        np.testing.assert_allclose(operand.table, table[:, None])


def test_the_next_masks_are_found_however_they_are_computed() -> None:
    body = "a = Clip(u, zero, one) e = Equal(u, zero) b = Where(e, zero, one) c = Clip(u, one, nine) z = Add(a, b)"
    found = tables(body)
    assert {tensor.name for tensor in found.next_masks()} == {"a", "b"}
