"""`rectexport run`: files in, answers out, whole or in tiles."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rectexport.runtime.base.files import sha256
from tests.cli.conftest import Command

pillow = pytest.importorskip("PIL.Image")
pytest.importorskip("onnxruntime")
WEIGHT = np.random.default_rng(3).standard_normal((2, 1, 3, 3)).astype(np.float32)


def packaged(folder: Path, sizes: Sequence[Any], nodes: Sequence[Any], out: Sequence[Any], **more: Any) -> Path:
    """A package of a small graph over the constant `w`, without goldens of its own."""
    folder.mkdir()
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", sizes), ("y", out)))
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(WEIGHT, "w")])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), folder / "model.onnx"
    )
    document = {
        "format": "rectexport-package",
        "version": 2,
        "inputs": [{"name": "x", "dtype": "float32", "shape": list(sizes)}],
        "outputs": [{"name": "y", "dtype": "float32", "shape": list(out)}],
        "tolerances": {"relative_l2": 1e-5},
        "files": {"model.onnx": sha256(folder / "model.onnx")},
        **more,
    }
    (folder / "manifest.json").write_text(json.dumps(document))
    return folder


@pytest.fixture(scope="module")
def filter_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One convolution of 16 x 16 pixels."""
    axis = {"stride": "1", "low": "-1", "high": "1", "align": 1, "halo": [1, 1]}
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])]
    sizes, tiling = ["n", 1, 16, 16], {"y": {"axes": [axis, axis]}}
    return packaged(tmp_path_factory.mktemp("run") / "filter", sizes, nodes, ["n", 2, 16, 16], tiling=tiling)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["features"]),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["y"]),
    ]
    refused = {"y": {"refused": "GlobalAveragePool pooled: it has no finite window that is known"}}
    return packaged(tmp_path_factory.mktemp("run") / "classes", ["n", 1, 8, 8], nodes, ["n", 2], tiling=refused)


def expected(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[:, 0]
    return np.einsum("nhwij,cij->nchw", windows, WEIGHT[:, 0])


def test_an_image_of_any_size_in_tiles(command: Command, filter_package: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 37), np.uint8)
    pillow.fromarray(pixels).save(tmp_path / "scan.png")
    words = [filter_package, tmp_path / "scan.png", "-o", tmp_path / "y.npy", "--tile", "16", "--tile-batch", "3"]
    ran = command("run", *words, "--mean", "0.5", "--std", "0.25", "--json")
    assert ran.code == 0, ran.err
    found = np.load(tmp_path / "y.npy")
    scaled = ((pixels[None, None] / 255.0 - 0.5) / 0.25).astype(np.float32)
    np.testing.assert_allclose(found, expected(scaled), rtol=1e-4, atol=1e-4)
    (answer,) = json.loads(ran.out)["answers"]
    assert answer["outputs"] == {"y": [1, 2, 50, 37]} and answer["input"] == "scan.png"


def test_a_mapped_array_in_tiles(command: Command, filter_package: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((1, 1, 40, 33)).astype(np.float32)
    np.save(tmp_path / "x.npy", x[0])
    ran = command("run", filter_package, tmp_path / "x.npy", "-o", tmp_path / "out", "--tile", "16,12")
    assert ran.code == 2 and "tile 12: input x takes 16 along axis 3" in " ".join(ran.err.split()), ran.err
    assert not list(tmp_path.glob("out/*"))
    ran = command("run", filter_package, tmp_path / "x.npy", "-o", tmp_path / "out", "--tile", "16")
    assert ran.code == 0, ran.err
    np.testing.assert_allclose(np.load(tmp_path / "out" / "x.npy.npz")["y"], expected(x), rtol=1e-4, atol=1e-4)


def test_classes_get_their_labels(command: Command, classifier: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for index in range(2):
        pillow.fromarray(np.full((8, 8), 100 * index + 50, np.uint8)).save(images / f"{index}.png")
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    words = ["-o", tmp_path / "out", "--labels", tmp_path / "labels.txt"]
    ran = command("run", classifier, images / "0.png", images / "1.png", *words)
    assert ran.code == 0, ran.err
    best = "cat" if WEIGHT[0].sum() > WEIGHT[1].sum() else "dog"
    assert sum(f"{best} (" in line for line in ran.out.splitlines()) == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.png.npz", "1.png.npz"]


def test_what_cannot_be_tiled_says_why(command: Command, classifier: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 1, 20, 20), np.float32))
    ran = command("run", classifier, tmp_path / "x.npy", "-o", tmp_path / "y.npy", "--tile", "8")
    assert ran.code == 1 and "GlobalAveragePool pooled" in ran.err and not (tmp_path / "y.npy").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["x.npy", "-o", "y.npz", "--tile", "many"], 2, "--tile 'many': expected a size in pixels"),
        (["x.npy", "x.npy", "-o", "y.npz"], 2, "several inputs need a folder"),
        (["x.npy", "-o", "x.npy/y"], 1, "x.npy"),
        (["missing.npy", "-o", "out"], 1, "missing.npy: no such file"),
        (["missing.npy", "-o", "out", "--tile", "16"], 1, "missing.npy: no such file"),
        (["broken.npy", "-o", "out", "--tile", "16"], 1, "broken.npy: not a readable image"),
        (["x.npy", "-o", "out", "--labels", "missing.txt"], 1, "missing.txt"),
        (["x.npy", "-o", "out", "--std", "0"], 2, "--std '0'"),
    ],
)
def test_wrong_words(
    command: Command,
    filter_package: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: Any,
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.zeros((1, 1, 16, 16), np.float32))
    Path("broken.npy").write_bytes(b"not an array")
    ran = command("run", filter_package, *words)
    assert ran.code == code and said in " ".join(ran.err.split()), ran.err
    assert not Path("out").exists()
