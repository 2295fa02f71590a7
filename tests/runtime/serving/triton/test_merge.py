"""Another version into a repository: the owner's edits and files stay, contradictions are refused before writing."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rectexport.runtime.errors import BadInput
from rectexport.runtime.serving.served_packages import ServedPackage
from rectexport.runtime.serving.triton.check import check_repository
from rectexport.runtime.serving.triton.config import Deployment
from rectexport.runtime.serving.triton.merge import read_config
from rectexport.runtime.serving.triton.repository import CONFIG, Written, write_model

pytest.importorskip("tritonclient.grpc.model_config_pb2")


@pytest.fixture
def model(trouble: Path, tmp_path: Path) -> Path:
    """A model with one version."""
    write_model(ServedPackage("t", "1", trouble), tmp_path / "repo", Deployment())
    return tmp_path / "repo" / "t"


def edit(model: Path, *changes: tuple[str, str], more: str = "") -> None:
    path = model / CONFIG
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text + more)


def again(model: Path, package: Path, version: str = "2", **options: Any) -> Written:
    return write_model(ServedPackage("t", version, package), model.parent, Deployment(), **options)


def changed(trouble: Path, folder: Path, change: Callable[[Any], None]) -> Path:
    package = Path(shutil.copytree(trouble, folder))
    document = json.loads((package / "manifest.json").read_text())
    change(document)
    (package / "manifest.json").write_text(json.dumps(document))
    return package


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_edits_and_other_files_stay(model: Path, trouble: Path) -> None:
    edit(
        model,
        ("max_batch_size: 8", "max_batch_size: 4"),
        ("max_queue_delay_microseconds: 500", "preferred_batch_size: [ 4 ]"),
        ("  count: 1\n", "  count: 3\n"),
        ('name: "y"', 'name: "y"\n  label_filename: "labels.txt"'),
        more='parameters { key: "intra_op_thread_count" value { string_value: "2" } }\n',
    )
    (model / "labels.txt").write_text("cat\n")
    (model / "scripts").mkdir()
    (model / "scripts/post.py").write_text("pass\n")
    (model / "warmup/more").write_bytes(b"mine")
    before = read_config(model / CONFIG)
    assert again(model, trouble).remarks == []
    found = read_config(model / CONFIG)
    assert found.version_policy.HasField("all")
    found.ClearField("version_policy")
    assert found == before
    assert (model / "labels.txt").read_text() == "cat\n" and (model / "scripts/post.py").exists()
    assert (model / "warmup/more").read_bytes() == b"mine"
    assert check_repository(model.parent) == (["t"], [])


def test_a_file_that_need_not_change_keeps_its_comments(model: Path, trouble: Path) -> None:
    edit(model, more="# mind the delay\n")
    text = (model / CONFIG).read_text()
    again(model, trouble, "1")
    assert (model / CONFIG).read_text() == text


def test_versions_need_a_policy_and_an_own_one_stays(model: Path, trouble: Path) -> None:
    edit(model, more="version_policy { specific { versions: [ 1 ] } }\n")
    assert "does not name version 2" in again(model, trouble).remarks[0]
    assert list(read_config(model / CONFIG).version_policy.specific.versions) == [1]
    edit(model, ("specific { versions: [ 1 ] }", "latest { num_versions: 1 }"))
    assert again(model, trouble, "3").remarks == []
    assert "does not name version 1" in again(model, trouble, "1").remarks[0]


def test_options_on_the_command_line_replace_what_is_written(model: Path, trouble: Path) -> None:
    edit(model, ("max_batch_size: 8", "max_batch_size: 4"))
    deployment = Deployment(instances=2, max_delay_us=7)
    given = ("max_batch", "instances", "max_delay_us")
    write_model(ServedPackage("t", "2", trouble), model.parent, deployment, 6, given)
    found = read_config(model / CONFIG)
    assert (found.max_batch_size, found.instance_group[0].count) == (6, 2)
    assert found.dynamic_batching.max_queue_delay_microseconds == 7


def test_a_warm_up_that_was_removed_stays_away(model: Path, trouble: Path) -> None:
    config = read_config(model / CONFIG)
    del config.model_warmup[:]
    (model / CONFIG).write_text(str(config))
    again(model, trouble)
    assert not read_config(model / CONFIG).model_warmup


CLASHES = {
    "name": (('name: "t"', 'name: "u"'), "name is 'u'"),
    "backend": (('backend: "onnxruntime"', 'backend: "openvino"'), "backend is 'openvino'"),
    "file": (("model.onnx", "net.onnx"), "default_model_filename is 'net.onnx'"),
    "batch": (("max_batch_size: 8", "max_batch_size: 100"), "this package takes at most 8"),
    "type": (("TYPE_FP32", "TYPE_FP64"), "another data_type"),
    "sizes": (("dims: 3", "dims: 4"), r"has sizes \[4\]"),
    "tensor": (('name: "y"', 'name: "z"'), "output 'y' is not in the file"),
    "no configuration": (("{", "{{"), CONFIG),
}


@pytest.mark.parametrize("clash", CLASHES)
def test_a_contradiction_is_refused_before_anything_is_written(model: Path, trouble: Path, clash: str) -> None:
    change, said = CLASHES[clash]
    edit(model, change)
    before = contents(model.parent)
    with pytest.raises(BadInput, match=said):
        again(model, trouble)
    assert contents(model.parent) == before


def test_versions_must_fit_one_configuration(model: Path, trouble: Path, tmp_path: Path) -> None:
    small = changed(trouble, tmp_path / "small", lambda document: document["inputs"][0]["range"].update(max=[2, 3]))
    before = contents(model.parent)
    with pytest.raises(BadInput, match="max_batch_size is 8, this package takes at most 2"):
        again(model, small)
    assert contents(model.parent) == before
    again(model, small, max_batch=2, given=("max_batch",))
    assert read_config(model / CONFIG).max_batch_size == 2
    with pytest.raises(BadInput, match="takes at most 2 rows in one run"):
        again(model, trouble, "3", max_batch=8, given=("max_batch",))


@pytest.mark.parametrize("word", ["dependent", "not shown", None])
def test_dependent_rows_are_never_batched(trouble: Path, tmp_path: Path, word: str | None) -> None:
    def change(document: Any) -> None:
        document["rows"] = word
        if word is None:
            del document["rows"]

    package = changed(trouble, tmp_path / "package", change)
    written = write_model(ServedPackage("t", "1", package), tmp_path / "repo", Deployment())
    found = read_config(tmp_path / "repo/t" / CONFIG)
    assert found.max_batch_size == 0 and not found.HasField("dynamic_batching") and found.input[0].dims == [-1, 3]
    assert "rows" in written.remarks[0]
    assert check_repository(tmp_path / "repo") == (["t"], [])
    if word:
        edit(tmp_path / "repo/t", ("platform", "max_batch_size: 8\nplatform"), ("dims: -1\n", ""))
        _, findings = check_repository(tmp_path / "repo")
        assert any("none may share a run" in finding.text for finding in findings)


def test_a_package_is_no_repository(trouble: Path, model: Path, tmp_path: Path) -> None:
    package = Path(shutil.copytree(trouble, tmp_path / "package"))
    before = contents(package)
    for repository in (package, package / "inside", model, model / "1"):
        with pytest.raises(BadInput, match=r"is a package|lies in a package|is a model of a repository"):
            write_model(ServedPackage("t", "1", trouble), repository, Deployment())
    assert contents(package) == before and sorted(path.name for path in model.iterdir()) == ["1", CONFIG, "warmup"]
