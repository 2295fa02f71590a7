"""A session takes the inputs of the manifest, and its errors give expected and actual."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.api import load
from rectexport.runtime.base.metrics import compare
from rectexport.runtime.base.runner import TensorSpec
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.folder import Package
from rectexport.runtime.session import Session


class Echo:
    """A runner that returns its index for every output, in the manifest's dtype and shape, and records its feeds."""

    def __init__(self, *outputs: str) -> None:
        self.names = outputs
        self.fed: list[dict[str, Any]] = []
        self.closed = 0

    description = "Echo"
    inputs: Sequence[TensorSpec] = ()
    outputs: Sequence[TensorSpec] = ()

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        self.fed.append(dict(feeds))
        rows = len(next(iter(feeds.values())))
        return {name: np.full((rows, 10), float(index)) for index, name in enumerate(self.names)}

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def opened(write_manifest: Callable[..., Path]) -> Callable[..., Session]:
    """Makes a session with an Echo on the valid manifest, changed by the argument."""

    def open_session(change: Callable[[Any], object] = lambda document: None, *outputs: str) -> Session:
        return Session(Package.open(write_manifest(change)), Echo(*(outputs or ("logits",))))

    return open_session


def images(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.zeros(shape or (2, 3, 8, 8), dtype)


def test_the_package_gives_its_own_goldens(exported: Path) -> None:
    with load(exported, threads=1) as session:
        inputs, expected = session.package.goldens()
        answer = session(*inputs.values())
        named = session.run(inputs)
    assert list(named) == list(expected)
    for name, array in expected.items():
        assert compare(array, named[name]).relative_l2 <= session.package.manifest.tolerances["relative_l2"]
        assert compare(array, named[name]).top1 == 1.0
        assert isinstance(answer, np.ndarray)
        np.testing.assert_array_equal(answer, named[name])


def test_the_answer_depends_on_the_input(exported: Path) -> None:
    with load(exported, threads=1) as session:
        inputs, expected = session.package.goldens()
        (image,) = inputs.values()
        reversed_rows = session(np.ascontiguousarray(image[::-1]))
        (wanted,) = expected.values()
        assert compare(wanted[::-1], reversed_rows).relative_l2 <= 1e-5
        assert compare(wanted, reversed_rows).relative_l2 > 1e-2


def test_memory_layout_does_not_matter(exported: Path) -> None:
    with load(exported, threads=1) as session:
        (image,) = session.package.goldens()[0].values()
        plain = session(image)
        np.testing.assert_array_equal(session(np.asfortranarray(image)), plain)
        np.testing.assert_array_equal(session(np.repeat(image, 2, axis=3)[..., ::2]), plain)


def test_one_output_is_returned_alone_and_several_as_a_tuple(opened: Callable[..., Session]) -> None:
    alone = opened()(images())
    assert isinstance(alone, np.ndarray) and not alone.any()

    def second(document: Any) -> None:
        document["outputs"].insert(0, {"name": "boxes", "dtype": "float64", "shape": ["batch", 10]})

    both = opened(second, "logits", "boxes")(images())
    assert isinstance(both, tuple)
    assert [array.max() for array in both] == [1, 0]  # in the manifest's order


def test_arrays_are_passed_in_the_order_of_the_inputs(opened: Callable[..., Session]) -> None:
    session = opened(lambda document: document["inputs"].append({"name": "scale", "dtype": "int64", "shape": []}))
    scale = np.array(3)
    session(images(), scale)
    (fed,) = session._runner.fed
    assert list(fed) == ["x", "scale"]
    assert fed["scale"] is scale


@pytest.mark.parametrize(
    ("count", "said"), [(0, "expected 1 input (x), got 0"), (2, "expected 1 input (x), got 2")], ids=["none", "two"]
)
def test_a_wrong_number_of_arrays_is_refused(opened: Callable[..., Session], count: int, said: str) -> None:
    session = opened()
    with pytest.raises(BadInput) as refused:
        session(*[images()] * count)
    assert str(refused.value) == said
    two = opened(lambda document: document["inputs"].append({"name": "y", "dtype": "int64", "shape": []}))
    with pytest.raises(BadInput, match=r"^expected 2 inputs \(x, y\), got 1$"):
        two(images())


@pytest.mark.parametrize(
    ("feeds", "said"),
    [
        ({}, "input x is missing; got nothing"),
        ({"image": images()}, "no input named 'image'; the model takes x"),
        ({"x": images(), "image": images()}, "no input named 'image'; the model takes x"),
        ({"x": [[1.0]]}, "input x: expected a NumPy array, a PyTorch tensor or a CuPy array, got list"),
        ({"x": 1.0}, "input x: expected a NumPy array, a PyTorch tensor or a CuPy array, got float"),
        ({"x": images(dtype="float64")}, "input x: expected dtype float32, got float64; cast it with .astype"),
        ({"x": images(dtype="uint8")}, "input x: expected dtype float32, got uint8; cast it with .astype"),
        ({"x": images(dtype=">f4")}, "input x: expected dtype float32, got >f4; cast it with .astype"),
        ({"x": images(3, 8, 8)}, "input x: expected shape ['batch', 3, 8, 8], got [3, 8, 8]"),
        ({"x": images(1, 1, 3, 8, 8)}, "input x: expected shape ['batch', 3, 8, 8], got [1, 1, 3, 8, 8]"),
        ({"x": images(2, 1, 8, 8)}, "input x, axis 1: expected 3, got 1 in shape [2, 1, 8, 8]"),
        ({"x": images(2, 3, 8, 9)}, "input x, axis 3: expected 8, got 9 in shape [2, 3, 8, 9]"),
        ({"x": images(0, 3, 8, 8)}, "input x, axis 0: expected 1..4, got 0 in shape [0, 3, 8, 8]"),
        ({"x": images(5, 3, 8, 8)}, "input x, axis 0: expected 1..4, got 5 in shape [5, 3, 8, 8]"),
    ],
)
def test_wrong_inputs_never_reach_the_engine(opened: Callable[..., Session], feeds: dict[str, Any], said: str) -> None:
    session = opened()
    with pytest.raises(BadInput) as refused:
        session.run(feeds)
    assert str(refused.value) == said
    assert not session._runner.fed


def test_a_missing_input_beside_another_is_named(opened: Callable[..., Session]) -> None:
    session = opened(lambda document: document["inputs"].append({"name": "y", "dtype": "int64", "shape": []}))
    with pytest.raises(BadInput, match=r"^input y is missing; got x$"):
        session.run({"x": images()})
    with pytest.raises(BadInput, match=r"^no input named 'z'; the model takes x, y$"):
        session.run({"z": images()})


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_every_size_of_the_range_is_accepted(opened: Callable[..., Session], batch: int) -> None:
    session = opened()
    session.run({"x": images(batch, 3, 8, 8)})
    assert len(session._runner.fed) == 1


def test_a_dynamic_size_without_a_range_accepts_every_size_but_0(opened: Callable[..., Session]) -> None:
    session = opened(lambda document: document["inputs"][0].pop("range"))
    session.run({"x": images(1000, 3, 8, 8)})
    with pytest.raises(BadInput, match=re.escape("axis 0: expected 1..inf, got 0")):
        session.run({"x": images(0, 3, 8, 8)})
    with pytest.raises(BadInput, match=re.escape("axis 1: expected 3, got 4")):
        session.run({"x": images(1, 4, 8, 8)})


def test_a_block_closes_the_engine(opened: Callable[..., Session]) -> None:
    session = opened()
    runner = session._runner
    with session as entered:
        assert entered is session
        assert runner.closed == 0
    assert runner.closed == 1
    session.close()
    assert runner.closed == 1

    def fail() -> None:
        with opened() as failing:
            runners.append(failing._runner)
            raise KeyError("inside")

    runners: list[Echo] = []
    with pytest.raises(KeyError, match="inside"):
        fail()
    assert runners[0].closed == 1


def test_a_closed_session_raises(exported: Path) -> None:
    with load(exported) as session:
        inputs, _ = session.package.goldens()
    with pytest.raises(BadInput, match="the session was closed; load the package again"):
        session.run(inputs)


def test_inference_imports_neither_torch_nor_onnx(exported: Path, tmp_path: Path) -> None:
    script = f"""
import sys
import rectexport
with rectexport.load({str(exported)!r}) as session:
    inputs, outputs = session.package.goldens()
    print(session(*inputs.values()).shape)
heavy = {{"torch", "onnx", "onnxscript", "onnx_graphsurgeon", "typer", "rich"}} & set(sys.modules)
assert not heavy, heavy
"""
    ran = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "(4, 10)"
