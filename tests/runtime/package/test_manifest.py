"""A manifest is untrusted: every fault in it is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rectexport.runtime.base.shapes import ShapeRange
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package import manifest
from rectexport.runtime.package.manifest import Manifest, TensorEntry, read_manifest

Writer = Callable[..., Path]
SHA = "0" * 64


def refusal(folder: Path) -> str:
    """The error for a folder's manifest, without the file name at its start."""
    with pytest.raises(BadInput) as refused:
        read_manifest(folder)
    prefix = f"{folder}/manifest.json: "
    assert str(refused.value).startswith(prefix)
    assert len(str(refused.value)) < len(prefix) + 400
    return str(refused.value).removeprefix(prefix)


def place(document: Any, path: str, value: Any) -> None:
    """Sets the value at a dotted path; ... removes it."""
    *above, last = path.split(".")
    for key in above:
        document = document[int(key) if isinstance(document, list) else key]
    if value is ...:
        del document[last]
    else:
        document[int(last) if isinstance(document, list) else last] = value


def test_a_valid_manifest_is_read(write_manifest: Writer) -> None:
    folder = write_manifest()
    bounds = ShapeRange((1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8))
    assert read_manifest(folder) == Manifest(
        inputs=(TensorEntry("x", "float32", ("batch", 3, 8, 8), bounds),),
        outputs=(TensorEntry("logits", "float64", ("batch", 10), None),),
        tolerances={"relative_l2": 1e-5, "atol:logits": 0.0},
        files={"model.onnx": SHA, "goldens.npz": "a1" * 32},
        data=json.loads((folder / "manifest.json").read_text()),
    )


def test_the_exported_manifest_is_read(exported: Path) -> None:
    read = read_manifest(exported)
    names = {path.name for path in exported.iterdir()} - {"manifest.json"}
    assert set(read.files) == names >= {"model.onnx", "goldens.npz", "parity.json"}
    assert [(entry.name, entry.dtype, entry.shape) for entry in read.inputs] == [("x", "float32", (4, 1, 8, 8))]
    assert [(entry.dtype, entry.shape) for entry in read.outputs] == [("float32", (4, 10))]
    assert read.inputs[0].range == ShapeRange((4, 1, 8, 8), (4, 1, 8, 8), (4, 1, 8, 8))
    assert read.tolerances == {"relative_l2": 1e-5}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("outputs.0.shape", []),
        ("outputs.0.shape", [0, ""]),
        ("inputs.0.range", None),
        ("tolerances", {}),
        ("tolerances.relative_l2", 0),
        ("files", {"model.onnx": SHA, "a model.plan": SHA, "..hidden": SHA, "größe.txt": SHA}),
        ("future", {"whatever": [1]}),
        *(("inputs.0.dtype", name) for name in ("bool", "int8", "uint64", "float16", "float64")),
    ],
)
def test_unusual_but_valid_values_are_accepted(write_manifest: Writer, path: str, value: Any) -> None:
    read_manifest(write_manifest(lambda document: place(document, path, value)))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("format", ..., "format: expected rectexport-package, got None"),
        ("format", "zip", "format: expected rectexport-package, got 'zip'"),
        ("format", ["rectexport-package"], "format: expected rectexport-package, got ['rectexport-package']"),
        ("inputs", ..., "inputs: expected a list, got nothing"),
        ("inputs", {}, "inputs: expected a list, got a dict"),
        ("inputs", [], "inputs: expected at least one tensor, got none"),
        ("outputs", ..., "outputs: expected a list, got nothing"),
        ("outputs", [], "outputs: expected at least one tensor, got none"),
        ("inputs.0", "x", "inputs[0]: expected a dict, got a str"),
        ("inputs.0.name", ..., "inputs[0].name: expected a str, got nothing"),
        ("inputs.0.name", 5, "inputs[0].name: expected a str, got a int"),
        ("inputs.0.dtype", ..., "inputs[0].dtype: expected a str, got nothing"),
        ("inputs.0.dtype", "object", "inputs[0].dtype: expected bool, or a numpy int or float, got 'object'"),
        ("inputs.0.dtype", "float32 ", "inputs[0].dtype: expected bool, or a numpy int or float, got 'float32 '"),
        ("inputs.0.shape", ..., "inputs[0].shape: expected a list, got nothing"),
        ("inputs.0.shape", "1x3", "inputs[0].shape: expected a list, got a str"),
        ("inputs.0.shape.1", -1, "inputs[0].shape: expected sizes or names, got -1"),
        ("inputs.0.shape.1", 1.0, "inputs[0].shape: expected sizes or names, got 1.0"),
        ("inputs.0.shape.1", True, "inputs[0].shape: expected sizes or names, got True"),
        ("inputs.0.shape.1", None, "inputs[0].shape: expected sizes or names, got None"),
        ("outputs.0.shape.1", [10], "outputs[0].shape: expected sizes or names, got [10]"),
        ("inputs.0.range", [1], "inputs[0].range: expected a dict, got a list"),
        ("inputs.0.range.min", ..., "inputs[0].range.min: expected a list, got nothing"),
        ("inputs.0.range.opt", [1, 3, 8], "inputs[0].range.opt: expected 4 positive sizes, got [1, 3, 8]"),
        ("inputs.0.range.max.0", 0, "inputs[0].range.max: expected 4 positive sizes, got [0, 3, 8, 8]"),
        ("inputs.0.range.max.0", "4", "inputs[0].range.max: expected 4 positive sizes, got ['4', 3, 8, 8]"),
        ("inputs.0.range.max.0", True, "inputs[0].range.max: expected 4 positive sizes, got [True, 3, 8, 8]"),
        ("inputs.0.range.max.0", 4.0, "inputs[0].range.max: expected 4 positive sizes, got [4.0, 3, 8, 8]"),
        ("tolerances", ..., "tolerances: expected a dict, got nothing"),
        ("tolerances.relative_l2", "1", "tolerances.relative_l2: expected a finite number >= 0, got '1'"),
        ("tolerances.relative_l2", True, "tolerances.relative_l2: expected a finite number >= 0, got True"),
        ("tolerances.relative_l2", -1e-9, "tolerances.relative_l2: expected a finite number >= 0, got -1e-09"),
        ("tolerances.relative_l2", float("nan"), "tolerances.relative_l2: expected a finite number >= 0, got nan"),
        ("tolerances.relative_l2", float("inf"), "tolerances.relative_l2: expected a finite number >= 0, got inf"),
        ("tolerances.atol", 10**400, "tolerances.atol: expected a finite number >= 0, got 1000"),
        ("files", ..., "files: expected a dict, got nothing"),
        ("files", ["model.onnx"], "files: expected a dict, got a list"),
        ("files", {"a": SHA}, "files: expected an entry for model.onnx, got ['a']"),
        ("files", {"model.onnx": None}, "files.model.onnx: expected a sha256 in hex, got None"),
        ("files", {"model.onnx": "0" * 63}, "files.model.onnx: expected a sha256 in hex, got '000"),
        ("files", {"model.onnx": "0" * 65}, "files.model.onnx: expected a sha256 in hex, got '000"),
        ("files", {"model.onnx": "A" * 64}, "files.model.onnx: expected a sha256 in hex, got 'AAA"),
        ("files", {"model.onnx": SHA + "\n"}, "files.model.onnx: expected a sha256 in hex, got '000"),
    ],
)
def test_every_fault_is_named(write_manifest: Writer, path: str, value: Any, said: str) -> None:
    assert refusal(write_manifest(lambda document: place(document, path, value))).startswith(said)


def test_the_second_tensor_is_named_by_its_number(write_manifest: Writer) -> None:
    folder = write_manifest(lambda document: document["inputs"].append({"name": "y", "shape": []}))
    assert refusal(folder) == "inputs[1].dtype: expected a str, got nothing"


@pytest.mark.parametrize("version", [3, 0, None, "1", 1.5, True, [1]])
def test_another_version_is_refused_with_a_way_out(write_manifest: Writer, version: Any) -> None:
    folder = write_manifest(lambda document: place(document, "version", version))
    assert refusal(folder) == (
        f"package version {version!r}, this rectexport reads 1 and 2: "
        "export the model again, or install the rectexport that wrote it"
    )


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "/etc/passwd",
        "a/b",
        "./a",
        "a/",
        "..",
        ".",
        "",
        "a\\b",
        "..\\a",
        "a\0b",
        "a\nb",
        "\ud800",
        "n" * 256,
    ],
)
def test_files_outside_the_folder_are_refused(write_manifest: Writer, name: str) -> None:
    folder = write_manifest(lambda document: document["files"].update({name: SHA}))
    assert refusal(folder).startswith("files: expected plain file names, got ")


@pytest.mark.parametrize(
    ("document", "kind"), [([], "a list"), ("text", "a str"), (5, "a int"), (None, "nothing"), (True, "a bool")]
)
def test_a_document_that_is_not_an_object_is_refused(write_manifest: Writer, document: Any, kind: str) -> None:
    folder = write_manifest()
    (folder / "manifest.json").write_text(json.dumps(document))
    assert refusal(folder) == f"document: expected a dict, got {kind}"


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\xff\xfe\x00", b"{'format': 1}", b"[" * 200_000, b'{"a":' * 200_000, b'{"a": ' + b"9" * 9999 + b"}"],
)
def test_text_that_is_not_json_is_refused(write_manifest: Writer, data: bytes) -> None:
    folder = write_manifest()
    (folder / "manifest.json").write_bytes(data)
    assert refusal(folder).startswith("not JSON: ")


def test_a_manifest_above_the_size_limit_is_refused(write_manifest: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_manifest()
    size = (folder / "manifest.json").stat().st_size
    assert manifest.MAX_BYTES >= 1 << 20
    monkeypatch.setattr(manifest, "MAX_BYTES", size)
    read_manifest(folder)
    monkeypatch.setattr(manifest, "MAX_BYTES", size - 1)
    assert refusal(folder) == f"{size} bytes, more than the {size - 1} that a manifest may have"


def test_paths_without_a_package_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd/manifest.json").mkdir(parents=True)
    for name, said in [
        ("nowhere", "no such package folder"),
        ("file", "is a file, expected the folder of a package"),
        ("empty", "not a package: manifest.json is missing"),
        ("odd", "not a package: manifest.json is missing"),
    ]:
        with pytest.raises(BadInput) as refused:
            read_manifest(tmp_path / name)
        assert str(refused.value) == f"{tmp_path / name}: {said}"


def test_steps_are_read(write_manifest: Writer) -> None:
    def stepped(*steps: Any) -> Path:
        bounds = {"min": [1, 3, 8, 8], "opt": [2, 3, 8, 24], "max": [4, 3, 8, 40], "step": list(steps)}
        return write_manifest(lambda document: place(document, "inputs.0.range", bounds))

    assert read_manifest(stepped(1, 1, 1, 16)).inputs[0].range == ShapeRange(
        (1, 3, 8, 8), (2, 3, 8, 24), (4, 3, 8, 40), (1, 1, 1, 16)
    )
    assert "inputs[0].range.step: expected 4 positive steps" in refusal(stepped(1, 1, 16))
    assert "inputs[0].range.step: expected 4 positive steps" in refusal(stepped(1, 1, 1, 0))
    assert "steps that lead from min to opt and max (8, 24, 40)" in refusal(stepped(1, 1, 1, 5))
