"""Plans are chosen by machine, and no other plan reaches TensorRT."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rectexport.runtime.base.files import sha256
from rectexport.runtime.engines.tensorrt.plans import Machine, find_plan, plans_of
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.folder import Package, add_files
from tests.runtime.engines.tensorrt.machines import edit_manifest

H100 = Machine("NVIDIA H100 80GB HBM3", (9, 0), (10, 13, 3), (12, 8))
A100 = replace(H100, gpu="NVIDIA A100-SXM4-80GB", compute_capability=(8, 0))
T4 = replace(H100, gpu="Tesla T4", compute_capability=(7, 5))


def entry(package: Path, machine: Machine = H100, **options: Any) -> dict[str, Any]:
    """The manifest's entry for a plan, as building.py writes it."""
    recorded = {"tf32": False, "version_compatible": False, "hardware_compatibility": "none", "strip_plan": False}
    bounds = {"min": [1, 1, 4, 4], "opt": [2, 1, 8, 8], "max": [8, 1, 16, 16]}
    return {
        "file": machine.plan_name,
        "backend": "tensorrt",
        **machine.as_dict(),
        "precision": "fp32",
        "layers": 1,
        "convolutions": {"precision": "fp32", "at": 1, "of": 1, "others": {}},
        "created": "2026-01-01T00:00:00+00:00",
        "seconds": 1.0,
        "trtexec": "trtexec",
        "model": Package.open(package).manifest.files["model.onnx"],
        "options": {**recorded, **options, "profiles": [{"x": bounds}]},
        "plugins": [],
        "parity": None,
    }


def add(package: Path, machine: Machine = H100, data: bytes = b"a plan", **options: Any) -> Package:
    source = package.parent / "source"
    source.write_bytes(data)
    made = {**entry(package, machine, **options), "sha256": sha256(source)}
    return add_files(package, {made["file"]: source}, {"plans": [made]})


def test_machines_have_different_plan_names() -> None:
    assert H100.plan_name == "model.nvidia-h100-80gb-hbm3.sm90.trt10.13.3.plan"
    assert replace(H100, tensorrt=(8, 6, 1)).plan_name == "model.nvidia-h100-80gb-hbm3.sm90.trt8.6.1.plan"
    assert replace(H100, gpu="../ÄÖ").plan_name == "model.gpu.sm90.trt10.13.3.plan"
    assert len({machine.plan_name for machine in (H100, A100, T4)}) == 3


def test_a_package_holds_plans_of_several_machines(flexible: Path) -> None:
    add(flexible, A100, b"one")
    package = add(flexible, H100, b"two")
    assert find_plan(package, A100).read(package) == b"one"
    assert find_plan(package, H100).read(package) == b"two"
    package.verify_files()
    package = add(flexible, H100, b"three")  # in place of its own kind
    assert [plan.file for plan in plans_of(package)] == [A100.plan_name, H100.plan_name]
    assert find_plan(package, H100).read(package) == b"three"


def test_a_package_without_plans_says_how_to_build_one(flexible: Path) -> None:
    with pytest.raises(BadInput) as refused:
        find_plan(Package.open(flexible), H100)
    assert str(refused.value) == (
        f"{flexible}: holds no TensorRT plan for NVIDIA H100 80GB HBM3 (9.0), TensorRT 10.13.3; "
        f"build one here: rectexport build {flexible} --trt, or load with rebuilding allowed"
    )


@pytest.mark.parametrize(
    ("here", "options", "reasons"),
    [
        (A100, {}, ["it was built for NVIDIA H100 80GB HBM3 (9.0), but this is NVIDIA A100-SXM4-80GB (8.0)"]),
        (A100, {"hardware_compatibility": "ampere+"}, []),
        (T4, {"hardware_compatibility": "ampere+"}, ["it was built for"]),
        (replace(H100, gpu="NVIDIA H200"), {}, ["but this is NVIDIA H200 (9.0)"]),
        (replace(H100, gpu="NVIDIA H200"), {"hardware_compatibility": "same-compute-capability"}, []),
        (A100, {"hardware_compatibility": "same-compute-capability"}, ["it was built for"]),
        (replace(H100, tensorrt=(10, 3, 0)), {}, ["it was built by TensorRT 10.13.3, but this is 10.3.0"]),
        (replace(H100, tensorrt=(10, 14, 0)), {"version_compatible": True}, []),
        (replace(H100, tensorrt=(10, 3, 0)), {"version_compatible": True}, ["it was built by TensorRT 10.13.3"]),
        (replace(H100, tensorrt=(11, 1, 0)), {"version_compatible": True}, ["it was built by TensorRT 10.13.3"]),
        (replace(A100, tensorrt=(8, 6, 1)), {}, ["it was built for", "; it was built by TensorRT 10.13.3"]),
    ],
)
def test_mismatches_are_named(flexible: Path, here: Machine, options: dict[str, Any], reasons: list[str]) -> None:
    package = add(flexible, H100, **options)
    if not reasons:
        assert find_plan(package, here).file == H100.plan_name
        return
    with pytest.raises(BadInput) as refused:
        find_plan(package, here)
    for reason in (H100.plan_name, *reasons):
        assert reason in str(refused.value)


def test_a_plan_of_another_model_does_not_fit(flexible: Path) -> None:
    add(flexible)
    edit_manifest(flexible, lambda document: document["files"].update({"model.onnx": "0" * 64}))
    with pytest.raises(BadInput, match=r"it was built from another model\.onnx"):
        find_plan(Package.open(flexible), H100)


def test_a_plan_needs_the_plugins_it_was_built_with(flexible: Path, tmp_path: Path) -> None:
    library = tmp_path / "librectify.so"
    library.write_bytes(b"code")
    add(flexible)
    edit_manifest(
        flexible,
        lambda document: document["plans"][0].update(plugins=[{"file": library.name, "sha256": sha256(library)}]),
    )
    package = Package.open(flexible)
    assert find_plan(package, H100, [library])
    with pytest.raises(BadInput, match=r"it needs the plugin library librectify\.so; say where it is with --plugins"):
        find_plan(package, H100)
    library.write_bytes(b"other code")
    with pytest.raises(BadInput, match=r"it was built with another librectify\.so than "):
        find_plan(package, H100, [library])


@pytest.mark.parametrize("side", ["file", "manifest", "entry", "gone"])
def test_a_changed_plan_is_not_read(flexible: Path, side: str) -> None:
    path = add(flexible).path / H100.plan_name
    if side == "file":
        path.write_bytes(b"b plan")
    elif side == "gone":
        path.unlink()
    elif side == "manifest":
        edit_manifest(flexible, lambda document: document["files"].update({H100.plan_name: "0" * 64}))
    else:
        edit_manifest(flexible, lambda document: document["plans"][0].update(sha256="0" * 64))
    package = Package.open(flexible)
    with pytest.raises(BadInput) as refused:
        find_plan(package, H100).read(package)
    assert str(path) in str(refused.value) and f"rectexport build {flexible} --trt" in str(refused.value)


@pytest.mark.parametrize(
    "change",
    [
        {"plans": 3},
        {"plans": [3]},
        {"plans": {"a": 1}},
        {"file": "../model.onnx"},
        {"file": None},
        {"gpu": 3},
        {"tensorrt": "new"},
        {"tensorrt": None},
        {"options": {}},
        {"options": {"profiles": 3}},
        {"plugins": [{}]},
        {"plans": {}},
        {"layers": "many"},
        {"parity": {}},
        {"file": "\x1b[2J.plan"},
        {"tensorrt": f"{'9' * 5000}.0.0"},
        {"trtexec": None},
    ],
    ids=str,
)
def test_malformed_plan_entries_are_refused(flexible: Path, change: dict[str, Any]) -> None:
    add(flexible)
    edit_manifest(flexible, lambda document: (document if "plans" in change else document["plans"][0]).update(change))
    with pytest.raises(BadInput, match=r"manifest\.json: plans: not a list of plans"):
        find_plan(Package.open(flexible), H100)


def test_adding_a_plan_changes_no_other_file(flexible: Path) -> None:
    before = json.loads((flexible / "manifest.json").read_text())
    add(flexible)
    after = json.loads((flexible / "manifest.json").read_text())
    assert after["files"].pop(H100.plan_name) and after.pop("plans")
    assert after == before
    assert sorted(path.name for path in flexible.iterdir()) == ["manifest.json", H100.plan_name, "model.onnx"]


def test_a_plan_follows_the_model_of_its_engine_and_the_weights_beside_it(flexible: Path) -> None:
    """With several models in a package, only TensorRT's own and the shared weights decide."""
    add(flexible)
    own = Package.open(flexible).manifest.files["model.onnx"]

    def several(document: dict[str, Any]) -> None:
        document["files"].update({"model.tensorrt.onnx": own, "model.onnx": "0" * 64})
        document["models"] = {"tensorrt": "model.tensorrt.onnx"}

    edit_manifest(flexible, several)
    assert find_plan(Package.open(flexible), H100).entry["model"] == own
    edit_manifest(flexible, lambda document: document["files"].update({"model.onnx.data": "1" * 64}))
    with pytest.raises(BadInput, match=r"it was built from another model\.tensorrt\.onnx"):
        find_plan(Package.open(flexible), H100)
