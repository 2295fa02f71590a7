"""What the folder of a package holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, checker

from rectexport.exporter import targets
from rectexport.exporter.checking.engines import installed_engines
from rectexport.exporter.frontend.inputs import ShapeOptions
from rectexport.exporter.frontend.load import load_source
from rectexport.exporter.writing import package_writer
from rectexport.exporter.writing.package_writer import write_goldens, write_json, write_model, write_reproduce
from rectexport.models import create_model
from rectexport.models.checkpoint import save_checkpoint
from rectexport.runtime.base.files import sha256
from rectexport.runtime.package.folder import Package
from tests.export.helper import build, normal, outputs
from tests.export.nets import Pair, exported, image, seeded, source
from tests.places import ROOT

SCHEMA = json.loads((ROOT / "runtime" / "package" / "manifest.schema.json").read_text(encoding="utf-8"))
FILES = {
    *("model.onnx", "manifest.json", "goldens.npz"),
    *("parity.json", "rewrites.json", "origins.json", "export.log"),
}
X = {"x": normal(3, 200)}


def heavy() -> ModelProto:
    return build("(float[N,200] x) => (float[N,200] y)", "y = MatMul(x, w)", w=normal(200, 200))


def test_model_in_one_file(tmp_path: Path) -> None:
    path = write_model(tmp_path, heavy(), {"a": "1"})
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.onnx"]
    checker.check_model(str(path))
    np.testing.assert_array_equal(outputs(onnx.load(path), X)[0], outputs(heavy(), X)[0])


def test_notes_replace_those_of_their_keys(tmp_path: Path) -> None:
    model = heavy()
    onnx.helper.set_model_props(model, {"author": "A. Person", "a": "0"})
    stored = onnx.load(write_model(tmp_path, model, {"a": "1", "b": "2"}))
    assert {entry.key: entry.value for entry in stored.metadata_props} == {"author": "A. Person", "a": "1", "b": "2"}


def test_weights_beside_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = heavy()
    path = write_model(tmp_path, model, {}, limit=1000)
    assert {entry.name for entry in tmp_path.iterdir()} == {"model.onnx", "model.onnx.data"}
    assert path.stat().st_size < 2000 < (tmp_path / "model.onnx.data").stat().st_size
    monkeypatch.chdir("/")
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    expected = outputs(heavy(), X)[0]
    np.testing.assert_allclose(session.run(None, X)[0], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(outputs(model, X)[0], expected)  # the model in memory is whole again


def test_the_limit_is_exact(tmp_path: Path) -> None:
    model = heavy()
    write_model(tmp_path, model, {}, limit=model.ByteSize())
    assert not (tmp_path / "model.onnx.data").exists()
    write_model(tmp_path, model, {}, limit=model.ByteSize() - 1)
    assert (tmp_path / "model.onnx.data").exists()


def test_a_whole_package_with_weights_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parity runs on the stored files; the manifest covers them; moved elsewhere the package still loads."""
    monkeypatch.setattr(package_writer, "write_model", partial(write_model, limit=1000))
    torch_model = create_model("digits", width=0.25).eval()
    result = exported(source(seeded(torch_model), image(2, 1, 8, 8)), tmp_path / "package")
    data = tmp_path / "package" / "model.onnx.data"
    assert data.stat().st_size > 1000
    assert result.package.manifest.files["model.onnx.data"] == sha256(data)
    moved = Package.open((tmp_path / "package").rename(tmp_path / "moved"))
    moved.verify_files()
    feeds, expected = moved.goldens()
    session = ort.InferenceSession(moved.model_file, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, feeds)[0], expected["output"], rtol=1e-4, atol=1e-4)
    data = tmp_path / "moved" / "model.onnx.data"
    data.write_bytes(data.read_bytes()[:-1] + b"?")
    with pytest.raises(ValueError, match=r"model\.onnx\.data: sha256"):
        moved.verify_files()


def test_goldens(tmp_path: Path) -> None:
    feeds = {"x": normal(2, 3), "n": np.array([1, 2])}
    outputs = {"y": np.array([1 / 3]), "top": np.array([7]), "z": np.ones(2, np.float32)}
    write_goldens(tmp_path, (feeds, outputs), {"min": ({"x": normal(1, 3)}, {"y": np.zeros(1)})})
    package = Package(tmp_path, None)  # type: ignore[arg-type]
    assert list(package.golden_cases()) == ["example", "min"]
    assert package.golden_cases()["min"][0]["x"].shape == (1, 3)
    inputs, answers = package.goldens()
    assert inputs.keys() == feeds.keys()
    np.testing.assert_array_equal(inputs["x"], feeds["x"])
    assert [(name, array.dtype) for name, array in answers.items()] == [("y", "f4"), ("top", "i8"), ("z", "f4")]
    assert answers["y"][0] == np.float32(1 / 3)


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"b": [1.5, float("inf")], "a": ({"c": float("nan")}, "ä", None, True, 3)})
    text = path.read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=pytest.fail) == {"a": [{"c": "nan"}, "ä", None, True, 3], "b": [1.5, "inf"]}
    assert text.index('"a"') < text.index('"b"')
    assert text.endswith("}\n")


def test_reproduce(tmp_path: Path) -> None:
    """The script passes every word on as it was, and the folder that it is told."""
    show = [sys.executable, "-c", "import sys; print(sys.argv[1:])"]
    write_reproduce(tmp_path, [*show, "it's a $net.pt", "--opset", "18"])
    script = tmp_path / "reproduce.sh"
    assert os.access(script, os.X_OK)
    for given, folder in (([], "reproduced"), (["my out"], "my out")):
        ran = subprocess.run([str(script), *given], capture_output=True, text=True, check=True)
        assert ran.stdout.strip() == str(["it's a $net.pt", "--opset", "18", "-o", folder])


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o700), (0o022, 0o755), (0, 0o777)])
def test_reproduce_follows_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_reproduce(tmp_path, ["rectexport"])
    finally:
        os.umask(before)
    assert (tmp_path / "reproduce.sh").stat().st_mode & 0o777 == mode


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "digits.pt"
    save_checkpoint(path, "digits", {"width": 0.25}, seeded(create_model("digits", width=0.25)), image(2, 1, 8, 8))
    return path


RANGE = ShapeOptions(min=["x:1x1x5x5"], opt=["x:2x1x8x8"], max=["x:3x1x16x16"])


@pytest.fixture(scope="module")
def package(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Package:
    """Of dynamic size, exported in a process of its own, where strings hash otherwise."""
    out = tmp_path_factory.mktemp("package") / "digits"
    flags = ["--min-shapes", *RANGE.min, "--opt-shapes", *RANGE.opt, "--max-shapes", *RANGE.max]
    command = [sys.executable, "-m", "rectexport", str(checkpoint), "-o", str(out), *flags]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=out.parent)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return Package.open(out)


def manifest(package: Package) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((package.path / "manifest.json").read_text(encoding="utf-8"))
    return document


def check_schema(package: Package) -> None:
    jsonschema.validate(manifest(package), SCHEMA, jsonschema.Draft202012Validator)


def test_the_schema_itself() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_files(package: Package) -> None:
    assert {path.name for path in package.path.iterdir()} == {*FILES, "reproduce.sh"}
    assert set(package.manifest.files) == {*FILES, "reproduce.sh"} - {"manifest.json"}
    package.verify_files()


def test_manifest(package: Package, checkpoint: Path) -> None:
    check_schema(package)
    data = manifest(package)
    assert data["source"] == {
        "kind": "torch.nn.Module",
        "description": "checkpoint of digits",
        "file": "digits.pt",
        "sha256": sha256(checkpoint),
    }
    assert data["options"] == {
        "opset": 18,
        "rectify": "auto",
        "target": "onnxruntime",
        "precision": "fp32",
        "guard": True,
    }
    (entry,) = data["inputs"]
    assert entry["shape"] == ["batch", 1, "height", "width"]
    assert entry["range"] == {"min": [1, 1, 5, 5], "opt": [2, 1, 8, 8], "max": [3, 1, 16, 16]}
    assert data["outputs"] == [{"name": "output", "dtype": "float32", "shape": ["batch", 10]}]
    assert data["opset"] == {"ai.onnx": 18}
    passes = {entry["name"]: entry for entry in data["passes"]}
    assert next(iter(passes)) == "raise"
    assert list(passes)[-6:] == [
        *("rectify_fold", "rectify_graph", "masked_counts", "boundary_pad", "inline", "cleanup")
    ]
    assert {entry["reason"] for entry in passes["rectify_fold"]["refused"]} == {"H, W dynamic"}
    assert data["tolerances"] == {"relative_l2": 1e-5}
    assert set(data["versions"]) == set(package_writer._LIBRARIES)
    assert data["versions"]["numpy"] == np.__version__
    assert {"load", "trace", "passes", "parity"} <= set(data["seconds"])


def test_a_package_holds_no_machine_paths(package: Package, checkpoint: Path) -> None:
    for name in ("model.onnx", "manifest.json", "parity.json"):
        assert str(checkpoint.parent).encode() not in (package.path / name).read_bytes()


def test_notes_in_the_model(package: Package) -> None:
    stored = onnx.load(package.model_file)
    assert {entry.key: entry.value for entry in stored.metadata_props} == {
        "rectexport.source": "digits.pt",
        "rectexport.description": "checkpoint of digits",
        "rectexport.precision": "fp32",
        "rectexport.rectify": "auto",
    }
    assert not any(node.domain for node in stored.graph.node)
    assert not stored.functions


def test_parity_document(package: Package) -> None:
    document = json.loads((package.path / "parity.json").read_text(encoding="utf-8"))
    assert document["passed"] is True
    assert [case["case"] for case in document["cases"]] == ["opt", "min", "max", "odd"]
    assert all(case["layers"] for case in document["cases"])


def test_goldens_of_a_package(package: Package) -> None:
    feeds, answers = package.goldens()
    np.testing.assert_array_equal(feeds["x"], image(2, 1, 8, 8).numpy())
    session = ort.InferenceSession(package.model_file, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, feeds)[0], answers["output"], rtol=1e-4, atol=1e-5)


def test_two_exports_are_equal(
    package: Package, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte by byte, but for the time in the manifest, the command, and what is said about loading."""
    monkeypatch.setattr(targets, "installed_engines", installed_engines)  # as in the other process
    second = exported(load_source(checkpoint), tmp_path / "again", RANGE).package
    for name in ("model.onnx", "goldens.npz", "parity.json"):
        assert (second.path / name).read_bytes() == (package.path / name).read_bytes(), name
    first_data, second_data = manifest(package), manifest(second)
    for data in (first_data, second_data):
        del data["created"], data["seconds"], data["files"]["export.log"]
    del first_data["files"]["reproduce.sh"]
    assert first_data == second_data
    logs = [_without_waiting((entry.path / "export.log").read_text(encoding="utf-8")) for entry in (package, second)]
    assert logs[0].endswith(logs[1])


def _without_waiting(log: str) -> str:
    """The lines that a busy machine adds are left out."""
    return "".join(line for line in log.splitlines(keepends=True) if "still tracing after" not in line)


def test_manifest_of_two_static_inputs(tmp_path: Path) -> None:
    result = exported(source(seeded(Pair()), image(1, 1, 4, 5), image(2, 1, 6, 3)), tmp_path / "pair")
    check_schema(result.package)
    data = manifest(result.package)
    assert [(entry["name"], entry["shape"]) for entry in data["inputs"]] == [("x", [1, 1, 4, 5]), ("y", [2, 1, 6, 3])]
    assert [entry["name"] for entry in data["outputs"]] == ["output_0", "output_1"]
    assert data["source"] == {"kind": "torch.nn.Module", "description": "Pair"}
    assert not (result.package.path / "reproduce.sh").exists()


def test_manifest_of_an_onnx_file(tmp_path: Path) -> None:
    body = "a = Relu(x)\n y = Identity(a)\n n = ArgMax<axis=1>(a)"
    onnx.save(build("(float[N,2] x) => (float[N,2] y, int64[N,1] n)", body, 20), tmp_path / "net.onnx")
    flags = ShapeOptions(min=["1x2"], opt=["3x2"], max=["8x2"])
    result = exported(load_source(tmp_path / "net.onnx"), tmp_path / "package", flags)
    check_schema(result.package)
    data = manifest(result.package)
    assert data["source"]["kind"] == "onnx.ModelProto"
    assert data["opset"] == {"ai.onnx": 20}
    assert data["outputs"][1] == {"name": "n", "dtype": "int64", "shape": ["N", 1]}
    assert data["inputs"][0]["range"]["max"] == [8, 2]


def test_initializers_that_are_inputs_too_are_no_inputs(tmp_path: Path) -> None:
    model = build("(float[2] x, float[2] w) => (float[2] y)", "y = Add(x, w)", w=np.ones(2, np.float32))
    onnx.save(model, tmp_path / "net.onnx")
    result = exported(load_source(tmp_path / "net.onnx"), tmp_path / "package")
    assert [entry.name for entry in result.package.manifest.inputs] == ["x"]


def test_an_unknown_library_has_no_version() -> None:
    assert package_writer._version("surely-not-installed") is None
