"""A complete package verifies; one that was changed in any way does not."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.api import load
from rectexport.runtime.base.runner import BackendOptions
from rectexport.runtime.errors import BadInput, MissingDependency
from rectexport.runtime.verify import verify
from tests.runtime.tiny import dynamic_package


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return dynamic_package(tmp_path / "tiny").path


def rewrite(package: Path, change: Callable[[Any], object] = lambda document: None) -> None:
    """Change the manifest, and set its hashes to those of the files."""
    path = package / "manifest.json"
    document = json.loads(path.read_text())
    for name in document["files"]:
        document["files"][name] = hashlib.sha256((package / name).read_bytes()).hexdigest()
    change(document)
    path.write_text(json.dumps(document))


def goldens(package: Path, **arrays: Any) -> None:
    np.savez(package / "goldens.npz", **{name.replace("_", ".", 1): array for name, array in arrays.items()})
    rewrite(package)


def test_an_exported_package_verifies(exported: Path) -> None:
    steps: list[str] = []
    found = verify(exported, "onnxruntime", BackendOptions(threads=1), steps.append)
    assert found.passed and found.failures == ()
    assert steps == ["manifest", "files", "load", "warm up", "goldens"]
    (difference,) = found.outputs.values()
    assert difference.relative_l2 <= 1e-5 and difference.top1 == 1.0
    document = json.loads(json.dumps(found.as_dict()))
    assert document["passed"] is True and document["backend"]["name"] == "onnxruntime"
    assert document["tolerances"] == {"relative_l2": 1e-5} and document["files"] >= 4


def test_a_wrong_output_is_a_failure_and_not_an_error(package: Path) -> None:
    x = np.ones((2, 1, 8, 8), np.float32)
    y = load(package, "onnxruntime")(x)
    goldens(package, input_x=x, output_y=y)
    assert verify(package, "onnxruntime").passed
    goldens(package, input_x=x, output_y=y * np.float32(1.001))
    found = verify(package, "onnxruntime")
    assert not found.passed and found.failures == ("y: relative L2 1.0e-03, allowed 1e-05",)
    rewrite(package, lambda document: document["tolerances"].update(relative_l2=0.01))
    assert verify(package, "onnxruntime").passed
    rewrite(package, lambda document: document["tolerances"].update({"atol:y": 1e-6}))
    assert "elements outside atol 1e-06" in verify(package, "onnxruntime").failures[0]
    goldens(package, input_x=x, output_y=y[..., 1:])
    assert verify(package, "onnxruntime").failures == ("y: shape [2, 1, 8, 8], expected [2, 1, 8, 7]",)


def test_a_range_that_the_model_does_not_take_is_found(package: Path) -> None:
    def three_channels(document: Any) -> None:
        document["inputs"][0]["range"]["max"][1] = 3

    rewrite(package, three_channels)
    with pytest.raises(BadInput, match=r"^ONNX Runtime could not run with x float32\[4, 3, 16, 16\]: "):
        verify(package, "onnxruntime")


def test_goldens_with_other_names_are_refused(package: Path) -> None:
    x = np.ones((2, 1, 8, 8), np.float32)
    goldens(package, input_x=x)
    with pytest.raises(BadInput, match=r"goldens\.npz: has outputs none; the manifest says y$"):
        verify(package, "onnxruntime")
    goldens(package, input_z=x, output_y=x)
    with pytest.raises(BadInput, match=r"goldens\.npz: has inputs z; the manifest says x$"):
        verify(package, "onnxruntime")
    goldens(package, input_x=x.astype(np.float64), output_y=x)
    with pytest.raises(BadInput, match="expected dtype float32, got float64"):
        verify(package, "onnxruntime")


@pytest.mark.parametrize("name", ["model.onnx", "goldens.npz", "parity.json", "export.log"])
@pytest.mark.parametrize("how", ["flipped", "cut", "missing", "link"])
def test_verify_and_load_refuse_a_changed_file(package: Path, name: str, how: str) -> None:
    path = package / name
    data = path.read_bytes()
    path.unlink()
    if how == "link":
        elsewhere = package.parent / name
        elsewhere.write_bytes(data)
        path.symlink_to(elsewhere)
    elif how != "missing":
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:] if how == "flipped" and data else data[:-1] or b"more")
    for use in (verify, load):
        with pytest.raises(BadInput, match=name):
            use(package, "onnxruntime")


@pytest.mark.parametrize("name", ["model.plan", "weights.bin", "model.onnx.data", "sub", ".hidden", "report.html"])
def test_a_file_that_is_not_listed_is_refused(package: Path, name: str) -> None:
    if name == "sub":
        (package / name).mkdir()
    else:
        (package / name).write_bytes(b"x")
    with pytest.raises(BadInput, match=f"{name}: not listed in the manifest"):
        verify(package, "onnxruntime")
    if name == "model.plan":  # what a build leaves that is killed keeps nobody from loading the package
        load(package, "onnxruntime").close()
    else:
        with pytest.raises(BadInput, match=f"{name}: not listed in the manifest"):
            load(package, "onnxruntime")


def test_a_manifest_that_violates_its_schema_is_refused(package: Path) -> None:
    rewrite(package, lambda document: document.update(created=5, colour="red"))
    with pytest.raises(BadInput) as refused:
        verify(package, "onnxruntime")
    assert str(refused.value) == (
        f"{package / 'manifest.json'}: manifest.colour: not expected here; manifest.created: expected string, got 5"
    )
    rewrite(package, lambda document: document.update({str(index): index for index in range(9)}))
    with pytest.raises(BadInput, match=r"; and 6 more$"):
        verify(package, "onnxruntime")


def test_the_requested_backend_is_used(package: Path) -> None:
    with pytest.raises(MissingDependency, match=r"^backend cuda: "):
        verify(package, "cuda", BackendOptions(device=10_000))
    shutil.rmtree(package)
    with pytest.raises(BadInput, match="no such package folder"):
        verify(package)
