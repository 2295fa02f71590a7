"""The shapes that a package is timed with."""

from __future__ import annotations

import pytest

from rectexport.runtime.base.shapes import ShapeRange, parse_shape_flags
from rectexport.runtime.errors import BadInput, UsageError
from rectexport.runtime.package.manifest import Manifest, TensorEntry
from rectexport.runtime.timing.inputs import batch_of, check_same_inputs, smallest_batch, timed_inputs

IMAGE = TensorEntry("x", "float32", ("batch", 3, "height", 8), ShapeRange((1, 3, 8, 8), (2, 3, 16, 8), (4, 3, 32, 8)))
SCALE = TensorEntry("scale", "float32", ("batch",), ShapeRange((1,), (2,), (4,)))
TABLE = TensorEntry("table", "int64", (5,))


def manifest(*inputs):
    return Manifest(tuple(inputs), (), {}, {}, {})


def shapes(entries, batch=None, *flags):
    return [spec.shape for spec in timed_inputs(manifest(*entries), batch, parse_shape_flags(flags, "--input"))]


def test_usual_shapes_another_batch_and_flags():
    every = (IMAGE, SCALE, TABLE)
    assert shapes(every) == [(2, 3, 16, 8), (2,), (5,)]
    assert shapes(every, 4) == [(4, 3, 16, 8), (4,), (5,)]
    assert shapes(every, None, "x:1x3x32x8") == [(1, 3, 32, 8), (2,), (5,)]
    assert shapes(every, 3, "x:3x3x9x8") == [(3, 3, 9, 8), (3,), (5,)]
    assert batch_of(timed_inputs(manifest(IMAGE), 3)) == 3
    assert [spec.dtype for spec in timed_inputs(manifest(*every), None)] == ["float32", "float32", "int64"]


def test_the_smallest_batch():
    narrow = TensorEntry("x", "float32", ("n", 3), ShapeRange((2, 3), (4, 3), (8, 3)))
    loose, scalar = TensorEntry("x", "float32", ("n", 3)), TensorEntry("x", "float32", ())
    entries = (IMAGE, TABLE, narrow, loose, scalar)
    assert [smallest_batch(manifest(entry)) for entry in entries] == [1, 5, 2, 1, 1]


@pytest.mark.parametrize(
    ("batch", "flags", "kind", "text"),
    [
        (8, (), BadInput, "input x, axis 0: the package takes 1..4, not 8; export it with"),
        (None, ("x:2x1x16x8",), BadInput, "axis 1: the package takes only 3, not 1"),
        (None, ("x:2x3x16",), BadInput, "expected batchx3xheightx8, got 2x3x16"),
        (2, ("x:1x3x16x8",), UsageError, "shapes x:1x3x16x8 and batch=2: give one of them"),
        (None, ("y:1",), UsageError, "no input 'y'"),
    ],
)
def test_what_does_not_fit(batch, flags, kind, text):
    with pytest.raises(kind) as raised:
        shapes((IMAGE,), batch, *flags)
    assert text in str(raised.value)


def test_a_fixed_batch_takes_no_other():
    fixed = TensorEntry("x", "float32", (4, 3, 8, 8))
    assert shapes((fixed,), 4) == [(4, 3, 8, 8)]
    with pytest.raises(BadInput, match="the package takes only 4, not 8"):
        shapes((fixed,), 8)


def test_an_open_package_needs_a_shape():
    loose = TensorEntry("x", "float32", ("n", 3))
    with pytest.raises(UsageError, match="give one with shapes x:SHAPE"):
        shapes((loose,))
    assert shapes((loose,), None, "x:7x3") == [(7, 3)]


def test_only_equal_inputs_are_compared():
    check_same_inputs(manifest(IMAGE, SCALE), manifest(SCALE, IMAGE), "a", "b")
    with pytest.raises(BadInput, match=r"b takes table \(int64\), but a takes x \(float32\)"):
        check_same_inputs(manifest(IMAGE), manifest(TABLE), "a", "b")
