"""Our JSON Schema checks agree with the jsonschema library on the manifest's schema."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rectexport.runtime.package.folder import Package
from rectexport.runtime.package.schema import MANIFEST_SCHEMA, faults, manifest_faults
from tests.runtime.tiny import dynamic_package

SCHEMA = json.loads(MANIFEST_SCHEMA.read_text(encoding="utf-8"))


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    return copy.deepcopy(dynamic_package(tmp_path / "tiny").manifest.data)


def test_written_manifests_fit_the_schema(exported: Path, document: dict[str, Any]) -> None:
    assert list(manifest_faults(Package.open(exported).manifest.data)) == []
    assert list(manifest_faults(document)) == []


FAULTS: list[tuple[Callable[[Any], object], str]] = [
    (lambda d: d.pop("seconds"), "manifest: seconds is missing"),
    (lambda d: d.update(version=3), "manifest.version: expected 1 or 2, got 3"),
    (lambda d: d.update(version=True), "manifest.version: expected 1 or 2, got true"),
    (lambda d: d.update(format="zip"), 'manifest.format: expected "rectexport-package", got "zip"'),
    (lambda d: d.update(extra=1), "manifest.extra: not expected here"),
    (lambda d: d.update(created=5), "manifest.created: expected string, got 5"),
    (lambda d: d["seconds"].update(load=-1), "manifest.seconds.load: expected at least 0, got -1"),
    (lambda d: d["seconds"].update(load=True), "manifest.seconds.load: expected number, got true"),
    (lambda d: d["options"].update(guard=1), "manifest.options.guard: expected boolean, got 1"),
    (lambda d: d["options"].update(opset=18.5), "manifest.options.opset: expected integer, got 18.5"),
    (lambda d: d["options"].update(precision="int4"), 'manifest.options.precision: expected "fp32" or "fp16"'),
    (lambda d: d.update(inputs=[]), "manifest.inputs: expected at least 1 entries, got 0"),
    (lambda d: d["inputs"][0].update(dtype="complex64"), "manifest.inputs[0].dtype: expected a match of"),
    (lambda d: d["inputs"][0]["shape"].append(-1), "manifest.inputs[0].shape[4]: expected at least 0, got -1"),
    (lambda d: d["inputs"][0]["shape"].append(None), "manifest.inputs[0].shape[4]: expected integer, got null"),
    (lambda d: d["inputs"][0]["range"]["min"].append(0), "manifest.inputs[0].range.min[4]: expected at least 1"),
    (lambda d: d.update(passes=[{"name": "x", "fired": [], "refused": [{"node": "n"}]}]), "reason is missing"),
    (lambda d: d["versions"].update(torch=2), "manifest.versions.torch: expected string or null, got 2"),
    (lambda d: d["files"].update({"a/b": "0" * 64}), "manifest.files: expected a match of"),
    (lambda d: d["files"].update({"model.onnx": "abc"}), "manifest.files.model.onnx: expected a match of"),
    (lambda d: d["files"].pop("export.log"), "manifest.files: export.log is missing"),
    (lambda d: d.update(opset=[18]), "manifest.opset: expected object, got [18]"),
]


@pytest.mark.parametrize(("change", "said"), FAULTS, ids=[said for _, said in FAULTS])
def test_every_fault_is_found_and_named(document: dict[str, Any], change: Callable[[Any], object], said: str) -> None:
    change(document)
    found = list(manifest_faults(document))
    assert len(found) == 1
    assert found[0].startswith(said) or found[0].endswith(said)


def test_valid_changes_still_fit(document: dict[str, Any]) -> None:
    document["versions"]["torch"] = None
    document["options"]["opset"] = 18.0  # a whole number, as JSON Schema has it
    document["source"]["sha256"] = "a" * 64
    assert list(manifest_faults(document)) == []


def test_it_agrees_with_jsonschema(document: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    judge = jsonschema.Draft202012Validator(SCHEMA)
    values: list[Any] = [None, True, -1, 1.5, "x", [], [1], {"x": 1}, 18.0]
    compared = 0
    for path in _paths(document):
        for value in values:
            changed = copy.deepcopy(document)
            _put(changed, path, value)
            assert (not list(manifest_faults(changed))) == judge.is_valid(changed), (path, value)
            compared += 1
    assert compared > 400


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    found = [path] if path else []
    return found + [inner for key in keys for inner in _paths(value[key], (*path, key))]


def _put(value: Any, path: tuple[Any, ...], new: Any) -> None:
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = new


def test_a_document_that_is_not_an_object_is_a_fault() -> None:
    for value in (None, [], 3, "text"):
        assert next(manifest_faults(value)).startswith("manifest: expected object, got ")


def test_one_of_takes_exactly_one() -> None:
    both = {"oneOf": [{"type": "integer"}, {"minimum": 3}]}
    assert list(faults(2, both, {})) == []
    assert list(faults(4, both, {})) == ["manifest: matches more than one alternative of oneOf"]


def test_an_unknown_keyword_raises() -> None:
    with pytest.raises(KeyError, match="uniqueItems"):
        list(faults([1], {"uniqueItems": True}, {}))


def test_a_list_may_have_a_largest_length() -> None:
    assert list(faults([1, 2], {"maxItems": 2}, {})) == []
    assert list(faults([1, 2], {"maxItems": 1}, {})) == ["manifest: expected at most 1 entries, got 2"]
