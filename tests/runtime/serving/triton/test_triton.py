"""Model repositories: the written configuration is correct, and wrong configurations are found."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rectexport.runtime.errors import BadInput, UsageError
from rectexport.runtime.package.folder import add_files
from rectexport.runtime.serving.served_packages import ServedPackage, find_packages
from rectexport.runtime.serving.triton.check import check_repository
from rectexport.runtime.serving.triton.config import Deployment
from rectexport.runtime.serving.triton.repository import CONFIG, write_model

pb = pytest.importorskip("tritonclient.grpc.model_config_pb2")
text_format = pytest.importorskip("google.protobuf.text_format")


@pytest.fixture
def repository(trouble: Path, tmp_path: Path) -> Path:
    write_model(ServedPackage("t", "1", trouble), tmp_path / "repo", Deployment(instances=2, max_delay_us=100))
    return tmp_path / "repo"


def config(repository: Path) -> object:
    return text_format.Parse((repository / "t" / CONFIG).read_text(), pb.ModelConfig())


def test_the_written_configuration_matches_the_package(repository: Path, trouble: Path) -> None:
    found = config(repository)
    assert (found.name, found.backend, found.max_batch_size) == ("t", "onnxruntime", 8)
    assert found.input[0].dims == [3] and found.input[0].data_type == pb.TYPE_FP32
    assert found.instance_group[0].count == 2 and found.dynamic_batching.max_queue_delay_microseconds == 100
    sample = found.model_warmup[0].inputs["x"]
    assert sample.dims == [3]
    warm = np.fromfile(repository / "t" / "warmup" / sample.input_data_file, np.float32)
    np.testing.assert_array_equal(warm, [2, 1, 2])
    for name in ("model.onnx", "manifest.json", "goldens.npz"):
        assert (repository / "t/1" / name).read_bytes() == (trouble / name).read_bytes()
    assert check_repository(repository) == (["t"], [])


def test_versions_stay_beside_each_other(repository: Path, trouble: Path) -> None:
    write_model(ServedPackage("t", "2", trouble), repository, Deployment())
    write_model(ServedPackage("t", "2", trouble), repository, Deployment())
    assert check_repository(repository) == (["t"], [])
    found = [(source.name, source.version) for source in find_packages([str(repository)])]
    assert found == [("t", "1"), ("t", "2")]


def test_a_fixed_batch_gives_no_batching(trouble: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from rectexport.runtime.base.files import sha256

    package = Path(shutil.copytree(trouble, tmp_path / "fixed"))
    model = onnx.load(package / "model.onnx")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, package / "model.onnx")
    document = json.loads((package / "manifest.json").read_text())
    for entry in document["inputs"] + document["outputs"]:
        entry["shape"][0] = 2
        entry.pop("range", None)
    document["files"]["model.onnx"] = sha256(package / "model.onnx")
    (package / "manifest.json").write_text(json.dumps(document))
    write_model(ServedPackage("t", "1", package), tmp_path / "repo", Deployment())
    found = config(tmp_path / "repo")
    assert found.max_batch_size == 0 and found.input[0].dims == [2, 3] and not found.HasField("dynamic_batching")
    assert check_repository(tmp_path / "repo") == (["t"], [])
    path = tmp_path / "repo" / "t" / CONFIG
    path.write_text(path.read_text().replace("max_batch_size: 0", "") + "max_batch_size: 4\n")
    _, findings = check_repository(tmp_path / "repo")
    assert any("with a fixed batch of [2]" in finding.text for finding in findings)


def replaced(old: str, new: str) -> Callable[[Path], None]:
    def change(repository: Path) -> None:
        path = repository / "t" / CONFIG
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return change


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "syntax": (replaced('name: "t"', 'name "t"'), "config.pbtxt: 1:6"),
    "unknown field": (replaced('name: "t"', 'nam: "t"'), 'has no field named "nam"'),
    "name": (replaced('name: "t"', 'name: "u"'), "name 'u' in a folder named 't'"),
    "negative batch": (replaced("max_batch_size: 8", "max_batch_size: -1"), "max_batch_size -1"),
    "batch too large": (replaced("max_batch_size: 8", "max_batch_size: 9"), "the package takes at most 8"),
    "no batch": (replaced("max_batch_size: 8", ""), "dims [3], the model has [-1, 3]"),
    "batching without": (replaced("max_batch_size: 8", ""), "requests are never batched"),
    "missing type": (replaced("  data_type: TYPE_FP32\n", ""), "data_type TYPE_INVALID"),
    "wrong type": (replaced("TYPE_FP32", "TYPE_FP64"), "TYPE_FP64, the model has float32"),
    "wrong dims": (replaced("dims: 3", "dims: 4"), "dims [4], the model has [3]"),
    "dynamic dims": (replaced("dims: 3", "dims: -1"), "dims [-1], the model has [3]"),
    "zero dims": (replaced("dims: 3", "dims: 0"), "expected -1 or sizes from 1"),
    "unknown input": (replaced('name: "x"', 'name: "z"'), "no input 'z' in the model"),
    "missing output": (replaced('name: "y"', 'name: "z"'), "output 'y' of the model is not listed"),
    "backend": (replaced('backend: "onnxruntime"', 'backend: "onnx"'), "backend 'onnx': expected one of"),
    "platform": (replaced("onnxruntime_onnx", "tensorrt_plan"), "platform 'tensorrt_plan' with backend"),
    "file name": (replaced("model.onnx", "net.onnx"), "1/net.onnx is missing"),
    "warm-up batch": (replaced("batch_size: 1\n", "batch_size: 9\n"), "batch_size 9"),
    "warm-up file": (lambda repository: (repository / "t/warmup/input0").write_bytes(b"\0"), "expected a file of 12"),
    "no version": (lambda repository: shutil.rmtree(repository / "t/1"), "no version"),
    "changed model": (lambda repository: (repository / "t/1/model.onnx").write_bytes(b"no model"), "sha256"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(repository: Path, fault: str) -> None:
    change, said = FAULTS[fault]
    change(repository)
    _, findings = check_repository(repository)
    assert any(said in finding.text for finding in findings), findings


def test_unknown_backends_and_incomplete_packages_are_refused(trouble: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"has no model\.plan"):
        write_model(ServedPackage("t", "1", trouble), tmp_path / "repo", Deployment("tensorrt"))
    with pytest.raises(UsageError, match="expected one of onnxruntime, openvino, tensorrt"):
        write_model(ServedPackage("t", "1", trouble), tmp_path / "repo", Deployment("onnx"))
    (tmp_path / "repo" / "t").mkdir(parents=True)
    (tmp_path / "repo" / "t" / "thesis.tex").touch()
    with pytest.raises(BadInput, match="already holds other files"):
        write_model(ServedPackage("t", "1", trouble), tmp_path / "repo", Deployment())
    for folder in (tmp_path / "nothing", trouble):
        with pytest.raises(BadInput):
            check_repository(folder)


@pytest.mark.parametrize(("umask", "closed"), [(0o077, 0o077), (0o027, 0o027)])
def test_permissions_follow_the_umask(trouble: Path, tmp_path: Path, umask: int, closed: int) -> None:
    package = Path(shutil.copytree(trouble, tmp_path / "package"))
    for path in package.iterdir():
        path.chmod(0o644)
    before = os.umask(umask)
    try:
        for version in ("1", "2"):
            write_model(ServedPackage("t", version, package), tmp_path / "repo", Deployment())
    finally:
        os.umask(before)
    written = [tmp_path / "repo", *(tmp_path / "repo").rglob("*")]
    assert len(written) > 10
    assert [path for path in written if path.stat().st_mode & closed] == []


def test_triton_gets_the_model_of_its_backend(trouble: Path, tmp_path: Path) -> None:
    package = tmp_path / "several"
    shutil.copytree(trouble, package)
    own = "model.openvino.onnx"
    add_files(package, {own: (package / "model.onnx").read_bytes()}, {"models": {"openvino": own}})
    for backend, file in (("openvino", own), ("onnxruntime", "model.onnx")):
        repository = tmp_path / backend
        write_model(ServedPackage("t", "1", package), repository, Deployment(backend))
        text = (repository / "t" / CONFIG).read_text()
        assert f'default_model_filename: "{file}"' in text and f'backend: "{backend}"' in text
        assert check_repository(repository) == (["t"], [])
