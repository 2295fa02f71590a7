"""Examples from arrays and .npz files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.arrays.input_files import ImageScaling
from rectexport.runtime.base.shapes import ShapeRange
from rectexport.runtime.errors import BadInput
from rectexport.runtime.evaluation.examples import batch_rows, open_examples, padded, unused_scaling
from rectexport.runtime.package.manifest import TensorEntry

X = TensorEntry("x", "float32", (2, 3))
IMAGES = np.arange(15, dtype=np.float32).reshape(5, 3)


def read(path: Path) -> tuple[list[str], np.ndarray, Any]:
    examples = open_examples(path, [X])
    batches = list(examples.batches(2))
    assert [len(batch.names) for batch in batches] == [2, 2, 1] and len(examples) == 5
    feeds = np.concatenate([batch.feeds["x"] for batch in batches])
    targets = [batch.targets for batch in batches]
    labelled = [target for target in targets if target is not None]
    return [name for batch in batches for name in batch.names], feeds, np.concatenate(labelled) if labelled else None


@pytest.mark.parametrize("name", ["x", "input.x"])
@pytest.mark.parametrize("labelled", [True, False])
def test_an_npz_is_read_in_batches(tmp_path: Path, name: str, labelled: bool) -> None:
    more = {"labels": np.arange(5)} if labelled else {}
    np.savez(tmp_path / "data.npz", **{name: IMAGES, "other": np.zeros(2), **more})  # type: ignore[arg-type]
    names, feeds, targets = read(tmp_path / "data.npz")
    assert names[4] == "item 4" and np.array_equal(feeds, IMAGES)
    assert targets is None if not labelled else targets.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"y": IMAGES}, "has no array x, only y"),
        ({"x": IMAGES.astype(np.float64)}, "expected dtype float32, got float64"),
        ({"x": IMAGES[:, :2]}, "axis 1: expected 3, got 2"),
        ({"x": IMAGES[0]}, "expected shape ['items', 3], got [3]"),
        ({"x": IMAGES, "labels": np.arange(4)}, "different numbers of rows: x 5, labels 4"),
        ({"x": IMAGES[:0]}, "holds no items"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(BadInput) as caught:
        open_examples(tmp_path / "data.npz", [X])
    assert said in str(caught.value) and "data.npz" in str(caught.value)


def test_labels_for_an_npz_and_missing_files_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=IMAGES)
    with pytest.raises(BadInput, match="holds its labels as an array"):
        open_examples(tmp_path / "data.npz", [X], "labels.csv")
    with pytest.raises(BadInput, match="no such file or folder"):
        open_examples(tmp_path / "absent.npz", [X])


def test_a_scaling_that_has_no_use_is_known(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=IMAGES)
    scaling, pixels = ImageScaling((0.5,)), TensorEntry("x", "uint8", (1, 3, 8, 8))
    for data in ({"x": IMAGES}, tmp_path / "data.npz"):
        assert "arrays are used as stored" in unused_scaling(data, [X], scaling)
        assert unused_scaling(data, [X], ImageScaling()) == ""
    assert "input x takes uint8 pixels" in unused_scaling(tmp_path, [pixels], scaling)
    assert unused_scaling(tmp_path, [X], scaling) == ""


def test_an_input_called_labels_is_an_input() -> None:
    entry = TensorEntry("labels", "float32", ("n", 3))
    assert not open_examples({"labels": IMAGES}, [entry]).labelled


def test_a_scalar_input_has_no_rows() -> None:
    with pytest.raises(BadInput, match="is a scalar"):
        open_examples({"s": np.zeros(())}, [TensorEntry("s", "float64", ())])


def test_batches_fit_the_package() -> None:
    ranges = ShapeRange((4, 3), (8, 3), (16, 3))
    assert batch_rows([X]) == (2, 2)
    assert batch_rows([TensorEntry("x", "float32", ("n", 3))]) == (32, 1)
    assert batch_rows([TensorEntry("x", "float32", ("n", 3), ranges)]) == (16, 4)
    assert np.array_equal(padded({"x": IMAGES[:2]}, 5)["x"], IMAGES[[0, 1, 0, 1, 0]])
