"""Tensors as tables over the tap counts (a, b) of a convolution."""

from __future__ import annotations

import numpy as np
import pytest

from rectexport.exporter.passes.matching.taps import TapTables
from rectexport.exporter.passes.matching.window import read_window
from rectexport.plugins import reference
from tests.export.passes.matching.scenes import IMAGES, parsed

SIZE = (6, 7)
R = reference.rectification_map(*SIZE, (3, 3), pads=(1, 1, 1, 1))[None, None].astype(np.float32)
V = np.multiply.outer(np.arange(4.0), np.arange(4.0))
REACHED = np.ix_([2, 3], [2, 3])
STATIC = "(float[1, 4, 6, 7] x) => (float[A, B, C, D] z)"


def tables_of(body, signature=STATIC, **arrays):
    """The tables of a 3 x 3 convolution y of x with pads of 1, and the graph."""
    stored = {"w": np.ones((5, 4, 3, 3), np.float32), "k": np.ones((1, 1, 3, 3), np.float32)}
    stored |= {"one": np.array(1, np.float32), "u": np.array([1, 1]), "r": R, "s": np.arange(5, dtype=np.float32)}
    stored["s"] = stored["s"].reshape(5, 1, 1)
    graph = parsed(f"y = Conv<pads = [1, 1, 1, 1]>(x, w) {body}", signature, **stored, **arrays)
    conv = graph.node("y")
    return TapTables(graph.scene, conv, read_window(graph.values, conv)), graph


def read(body, signature=STATIC, **arrays):
    tables, graph = tables_of(body, signature, **arrays)
    return tables.read(graph["z"])


ONES = "h = Shape<start = 2>(x) c = Concat<axis = 0>(u, h) ones = Expand(one, c) "


def test_counts_and_reachable_classes():
    tables, _ = tables_of("z = Relu(y)")
    np.testing.assert_array_equal(tables.counts(), V)
    assert np.argwhere(tables.reachable).tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]
    tables, _ = tables_of("z = Relu(y)", IMAGES)  # of any size: planes of one pixel too, but none without a tap
    assert tables.reachable[1:, 1:].all() and not tables.reachable[0].any() and not tables.reachable[:, 0].any()


def test_a_stored_map_is_looked_up():
    found = read("z = Identity(r)")
    assert found.plane
    np.testing.assert_allclose(found.table[REACHED][..., 0], 9 / V[REACHED], rtol=1e-6)


@pytest.mark.parametrize("factor", [1 + 1e-5, 1 - 1e-5])
@pytest.mark.parametrize("pixel", [(0, 0), (2, 3), (5, 1)])
def test_a_map_with_one_pixel_off_is_no_table(pixel, factor):
    changed = R.astype(np.float64)
    changed[0, 0][pixel] *= factor
    assert read("z = Identity(m)", m=changed) is None


@pytest.mark.parametrize(
    "value",
    [R[..., 1:], np.repeat(R, 2, axis=0), R[None], R.astype(np.complex64)],
    ids=["narrower", "two images", "rank 5", "complex"],
)
def test_constants_of_other_shapes_are_no_tables(value):
    assert read("z = Identity(m)", m=value) is None


def test_numbers_and_values_per_channel_are_no_planes():
    for body, length in (("z = Identity(s)", 5), ("z = Identity(one)", 1)):
        found = read(body)
        assert found.table.shape == (1, 1, length) and not found.plane


def test_a_stored_map_needs_the_size():
    assert read("z = Identity(r)", IMAGES) is None
    assert read("z = Identity(s)", IMAGES).table.size == 5


@pytest.mark.parametrize("signature", [STATIC, IMAGES], ids=["known size", "any size"])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("z = Conv<pads = [1, 1, 1, 1]>(ones, k)", V),
        ("z = Conv<pads = [1, 1, 1, 1]>(ones, k2)", 2 * V),
        ("z = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1>(ones)", V / 9),
        ("z = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(ones)", np.minimum(V, 1)),
    ],
    ids=["ones", "twos", "mean with the padding", "mean without"],
)
def test_counting_windows(body, expected, signature):
    found = read(ONES + body, signature, k2=np.full((1, 1, 3, 3), 2, np.float32))
    assert found.plane
    np.testing.assert_array_equal(found.table[..., 0], expected)


@pytest.mark.parametrize(
    "body",
    [
        "z = Conv<pads = [1, 1, 1, 0]>(ones, k)",
        "z = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(ones, k)",
        "z = Conv<pads = [1, 1, 1, 1]>(ones, uneven)",
        "z = Conv<pads = [1, 1, 1, 1]>(ones, k, bias)",
        "z = Conv<pads = [1, 1, 1, 1]>(x, w)",
        "z = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1], ceil_mode = 1>(ones)",
        "p = Pad(ones, more) z = Conv<pads = [1, 1, 1, 1]>(p, k)",
        "f = Shape(k) small = Expand(one, f) z = Conv<pads = [1, 1, 1, 1]>(small, k)",
    ],
)
def test_other_counts_are_refused(body):
    uneven = np.ones((1, 1, 3, 3), np.float32)
    uneven[0, 0, 1, 1] = 2
    more = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    assert read(ONES + body, IMAGES, uneven=uneven, bias=np.ones(1, np.float32), more=more) is None


@pytest.mark.parametrize(("size", "found"), [("H, W", True), ("H, V", False), ("P, W", False)])
def test_the_plane_of_ones_must_be_as_large_as_the_input(size, found):
    signature = f"(float[N, 4, H, W] x, float[N, 4, {size}] o) => (float[A, B, C, D] z)"
    body = ONES.replace("(x)", "(o)") + "z = Conv<pads = [1, 1, 1, 1]>(ones, k)"
    assert (read(body, signature) is not None) == found


COUNT = ONES + "v = Conv<pads = [1, 1, 1, 1]>(ones, k) "


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("n = Constant<value_float = 9.0>() z = Div(n, v)", 9 / np.where(V > 0, V, np.nan)),
        ("n = Constant<value_float = 1.0>() z = Clip(v, , n)", np.minimum(V, 1)),
        ("n = Constant<value_float = 2.0>() z = Clip(v, n)", np.maximum(V, 2)),
        ("n = Constant<value_float = 3.0>() p = Greater(v, n) z = Where(p, one, v)", np.where(V > 3, 1, V)),
        ("n = Constant<value_float = 5.0>() z = Min(v, n, one)", np.minimum(V, 1)),
        ("p = Cast<to = 9>(v) z = Cast<to = 1>(p)", (V > 0) * 1.0),
        ("p = Cast<to = 9>(v) q = Not(p) z = Cast<to = 1>(q)", (V == 0) * 1.0),
        ("z = Sub(v, one)", V - 1),
    ],
)
def test_arithmetic_on_tables(body, expected):
    found = read(COUNT + body, IMAGES)
    assert found.plane
    table, known = found.table[..., 0], np.isfinite(expected)
    np.testing.assert_allclose(table[known], expected[known])
    assert not np.isfinite(table[~known]).any()


@pytest.mark.parametrize(
    "body", ["z = Mul(v, x)", "z = Add(v, y)", "p = Cast<to = 7>(v) z = Cast<to = 1>(p)", "z = Sqrt(v)"]
)
def test_what_depends_on_more_than_counts_is_refused(body):
    assert read(COUNT + body, IMAGES) is None
