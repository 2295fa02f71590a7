"""Images in folders: classes by folder, a CSV, class names, masks; and what is refused, with the place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rectexport.runtime.arrays.input_files import ImageScaling
from rectexport.runtime.base.shapes import ShapeRange
from rectexport.runtime.errors import BadInput
from rectexport.runtime.evaluation.examples import PixelLayout, open_examples
from rectexport.runtime.package.manifest import TensorEntry

image = pytest.importorskip("PIL.Image")

X = TensorEntry("x", "float32", (4, 1, 6, 5))


def save(path: Path, value: int, size: tuple[int, int] = (6, 5), mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.fromarray(np.full(size, value, np.uint8), mode=None).convert(mode).save(path)


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Two dogs, in a folder of their own below the class, and a cat."""
    save(tmp_path / "dog/a.png", 10)
    save(tmp_path / "dog/more/b.png", 20)
    save(tmp_path / "cat/c.png", 30)
    (tmp_path / "cat/notes.txt").write_text("no image")
    return tmp_path


def items(folder: Path, labels: Path | None = None) -> dict[str, tuple[float, object]]:
    examples = open_examples(folder, [X], labels, ImageScaling((0.5,), (0.25,)))
    found = {}
    for batch in examples.batches(4):
        for index, name in enumerate(batch.names):
            target = None if batch.targets is None else batch.targets[index]
            found[name] = (round(float(batch.feeds["x"][index, 0, 0, 0] * 0.25 + 0.5) * 255), target)
    assert len(found) == len(examples)
    return found


def test_folders_are_classes_in_alphabetical_order(classes: Path) -> None:
    assert items(classes) == {"cat/c.png": (30, 0), "dog/a.png": (10, 1), "dog/more/b.png": (20, 1)}


def test_labels_that_are_a_guess_are_known_by_the_number_of_folders(classes: Path) -> None:
    (classes / "names.txt").write_text("bird\ndog\ncat\n")
    (classes / "labels.csv").write_text("dog/a.png,7\n")
    for labels, expected in ((None, 2), ("names.txt", None), ("labels.csv", None)):
        given = None if labels is None else classes / labels
        assert open_examples(classes, [X], given).classes == expected
    assert open_examples(classes / "cat", [X]).classes is None


@pytest.mark.parametrize("bounds", [None, ShapeRange((1, 4, 4, 3), (2, 6, 5, 3), (4, 8, 8, 3), (1, 2, 1, 1))])
def test_images_are_given_as_the_package_takes_them(tmp_path: Path, bounds: ShapeRange | None) -> None:
    colour = np.zeros((6, 5, 3), np.uint8)
    colour[...] = 10, 20, 30
    colour[0] = 40
    image.fromarray(colour).save(tmp_path / "a.png")
    entry = TensorEntry("x", "uint8", ("n", "h", "w", 3) if bounds else (4, 6, 5, 3), bounds)
    for words, expected in (
        ({"layout": "nhwc", "channels": "rgb"}, colour),
        ({"layout": "nhwc", "channels": "bgr"}, colour[..., ::-1]),
    ):
        (batch,) = open_examples(tmp_path, [entry], layout=PixelLayout.of(words)).batches(4)
        assert np.array_equal(batch.feeds["x"], expected[None])
    first = TensorEntry("x", "uint8", (4, 3, 6, 5))
    (batch,) = open_examples(tmp_path, [first], layout=PixelLayout.of({"channels": "bgr"})).batches(4)
    assert np.array_equal(batch.feeds["x"][0], colour[..., ::-1].transpose(2, 0, 1))
    assert PixelLayout.of(None) == PixelLayout.of({"module": "x"}) == PixelLayout()


def test_a_text_file_gives_the_order_of_the_classes(classes: Path) -> None:
    names = classes / "names.txt"
    names.write_text("bird\ndog\n\ncat\n")
    assert {name: label for name, (_, label) in items(classes, names).items()} == {
        "cat/c.png": 2,
        "dog/a.png": 1,
        "dog/more/b.png": 1,
    }


def test_a_csv_gives_classes(classes: Path) -> None:
    table = classes / "labels.csv"
    table.write_text("image,label\ndog/a.png,7\ncat/c.png,3\n")
    assert items(classes, table) == {"dog/a.png": (10, 7), "cat/c.png": (30, 3)}


def test_a_csv_gives_masks_as_they_are_stored(tmp_path: Path) -> None:
    save(tmp_path / "frames/a.png", 10)
    save(tmp_path / "frames/b.png", 11)
    indexed = image.fromarray(np.full((6, 5), 3, np.uint8), mode="L").convert("P")
    indexed.putpalette([200, 100, 50] * 256)  # the colours of the classes do not matter
    indexed.putdata([3] * 30)
    indexed.save(tmp_path / "a-mask.png")
    np.save(tmp_path / "b-mask.npy", np.full((6, 5), 300, np.int32))
    table = tmp_path / "masks.csv"
    table.write_text("a.png,a-mask.png\n")
    (mask,) = [target for _, target in items(tmp_path / "frames", table).values()]
    assert isinstance(mask, np.ndarray) and mask.shape == (6, 5) and (mask == 3).all()
    table.write_text("b.png,b-mask.npy\n")
    (mask,) = [target for _, target in items(tmp_path / "frames", table).values()]
    assert isinstance(mask, np.ndarray) and (mask == 300).all()


def test_images_alone_have_no_labels(tmp_path: Path) -> None:
    save(tmp_path / "a.png", 10)
    assert items(tmp_path) == {"a.png": (10, None)}


def test_colour_targets_keep_their_channels(tmp_path: Path) -> None:
    save(tmp_path / "a.png", 10)
    save(tmp_path / "target.png", 60, mode="RGB")
    (tmp_path / "t.csv").write_text("a.png,target.png")
    ((_, target),) = items(tmp_path, tmp_path / "t.csv").values()
    assert isinstance(target, np.ndarray) and target.shape == (3, 6, 5)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("l.csv", "a.png,1\nabsent.png,2\n", "l.csv, line 2: no image 'absent.png'"),
        ("l.csv", "a.png,cat\n", "line 1: label 'cat' is neither a class number nor the path of a target"),
        ("l.csv", "a.png,cat\n", "number classes from 0 in the order of the model's outputs"),
        ("l.csv", "a.png;1\n", "line 1: expected an image and its label, separated by a comma"),
        ("l.csv", "id,digit\na.png,1\n", "line 1: no image 'id' in"),
        ("l.csv", "id,digit\na.png,1\n", "; a heading's first cell is one of image, "),
        ("l.csv", "image,label\n", "l.csv: lists no image"),
        ("l.txt", "cat\ncat\n", "one class name a line, each once"),
        ("l.txt", "cat\ndog\n", "labels lists classes, and the images lie in no folders"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    save(tmp_path / "a.png", 10)
    (tmp_path / name).write_text(text)
    with pytest.raises(BadInput) as caught:
        items(tmp_path, tmp_path / name)
    assert said in str(caught.value)


def test_labels_that_are_no_text_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.png", 10)
    (tmp_path / "l.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="not a text file in UTF-8"):
        items(tmp_path, tmp_path / "l.csv")


def test_a_class_that_is_not_listed_is_refused(classes: Path) -> None:
    (classes / "names.txt").write_text("dog\n")
    with pytest.raises(BadInput, match="cat: no class of this name"):
        items(classes, classes / "names.txt")


def test_images_beside_class_folders_are_refused(classes: Path) -> None:
    save(classes / "stray.png", 1)
    with pytest.raises(BadInput, match="holds images and the folder cat"):
        items(classes)


def test_an_image_of_another_size_is_refused_by_name(classes: Path) -> None:
    save(classes / "dog/big.png", 1, (7, 5))
    with pytest.raises(BadInput, match=r"big\.png: input x, axis 2: expected 6, got 7"):
        items(classes)


def test_a_package_that_takes_no_images_is_refused(classes: Path) -> None:
    with pytest.raises(BadInput, match=r"takes v \[4, 8\]; give an \.npz"):
        open_examples(classes, [TensorEntry("v", "float32", (4, 8))])
