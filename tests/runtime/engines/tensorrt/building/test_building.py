"""A plan is built once for many processes, stored completely, and described in the manifest."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from rectexport.runtime.engines.tensorrt.building import building
from rectexport.runtime.engines.tensorrt.building.building import default_options, ensure_plan
from rectexport.runtime.engines.tensorrt.options import BuildOptions
from rectexport.runtime.engines.tensorrt.plans import plans_of
from rectexport.runtime.engines.tensorrt.profiles import make_profiles
from rectexport.runtime.errors import BadInput, ParityError
from rectexport.runtime.package.folder import LOCK, Package, changing
from tests.places import ROOT
from tests.runtime.engines.tensorrt.machines import Machine, edit_manifest

LAYERS = {"Layers": [{"Name": "c", "LayerType": "CaskConvolution", "Inputs": [{"Format/Datatype": "Float"}]}]}


@pytest.fixture
def counted(machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A slow builder that appends a line to a file for each build; works in forked processes too."""
    lines = tmp_path / "builds"
    lines.touch()

    class Inspected:
        def __init__(self, *_: Any) -> None:
            pass

        def inspect(self) -> str:
            return json.dumps(LAYERS)

        def close(self) -> None:
            pass

    def build(*_: Any) -> bytes:
        with lines.open("a") as stream:
            stream.write(f"{os.getpid()}\n")
        time.sleep(0.2)
        return b"plan of %d" % os.getpid()

    monkeypatch.setattr(building, "build_engine", build)
    monkeypatch.setattr(building, "accept", lambda *_: {"relative_l2": 1e-7, "allowed": 1e-4})
    monkeypatch.setattr(building, "Engine", Inspected)
    return lines


def build(machine: Machine, folder: Path, **more: Any) -> building.Built:
    return ensure_plan(folder, default_options(Package.open(folder)), machine.api(), **more)


def test_a_plan_is_built_once(machine: Machine, flexible: Path, counted: Path) -> None:
    first = build(machine, flexible)
    assert first.layers is not None and first.share is not None and first.share.of == 1
    second = build(machine, flexible)
    assert second.layers is None and second.plan == first.plan
    build(machine, flexible, rebuild=True)
    assert len(counted.read_text().split()) == 2
    second.package.verify_files()


def test_ten_processes_build_one_plan(machine: Machine, flexible: Path, counted: Path) -> None:
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=build, args=(machine, flexible)) for _ in range(10)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0] * 10
    assert len(counted.read_text().split()) == 1
    package = Package.open(flexible)
    package.verify_files()
    assert len(plans_of(package)) == 1


def test_a_killed_builder_releases_the_lock(machine: Machine, flexible: Path, counted: Path) -> None:
    def hold() -> None:
        with changing(flexible):
            (flexible / ".model.x.plan.abc.partial").write_bytes(b"half")
            counted.write_text("held\n")
            time.sleep(60)

    holder = multiprocessing.get_context("fork").Process(target=hold)
    holder.start()
    while not counted.read_text():
        time.sleep(0.01)
    os.kill(holder.pid or 0, signal.SIGKILL)
    holder.join(10)
    build(machine, flexible)
    names = {path.name for path in flexible.iterdir()}
    assert names == {"manifest.json", "model.onnx", LOCK, plans_of(Package.open(flexible))[0].file}


def test_other_options_need_another_build(machine: Machine, flexible: Path, counted: Path) -> None:
    build(machine, flexible)
    inputs = Package.open(flexible).manifest.inputs
    narrow = BuildOptions(make_profiles(inputs, ["x:1x1x8x8"]), tf32=True)
    ensure_plan(flexible, narrow, machine.api())
    assert len(counted.read_text().split()) == 2
    assert default_options(Package.open(flexible)) == narrow  # a rebuild elsewhere takes the same


def test_a_changed_plan_is_rebuilt(machine: Machine, flexible: Path, counted: Path) -> None:
    plan = build(machine, flexible).plan
    (flexible / plan.file).write_bytes(b"tampered")
    assert build(machine, flexible).layers is not None
    Package.open(flexible).verify_files()


def test_a_changed_model_is_refused(machine: Machine, flexible: Path, counted: Path) -> None:
    with (flexible / "model.onnx").open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(BadInput, match=r"model\.onnx: sha256 .* where the manifest says"):
        build(machine, flexible)
    assert not counted.read_text()


def test_a_plan_without_the_requested_precision_is_not_stored(
    machine: Machine, flexible: Path, counted: Path, tmp_path: Path
) -> None:
    edit_manifest(flexible, lambda document: document.update(options={"precision": "fp16"}))
    with pytest.raises(ParityError, match=r"fp16 was asked for, but none of .* 1 convolutions"):
        build(machine, flexible, layers_file=tmp_path / "layers.json")
    assert json.loads((tmp_path / "layers.json").read_text()) == LAYERS
    assert not plans_of(Package.open(flexible)) and not list(flexible.glob("*.plan"))


def test_float32_nodes_come_from_the_manifest(flexible: Path) -> None:
    refused = [{"node": "rectify_scale.z", "reason": "rectification factors stay exact"}]
    passes = [{"name": "float16", "fired": [], "refused": refused}, {"name": "other", "refused": [{"node": "a"}]}]
    edit_manifest(flexible, lambda document: document.update(options={"precision": "fp16"}, passes=passes))
    model = building.model_of(Package.open(flexible))
    assert (model.precision, model.kept, model.half_rest) == ("fp16", {"rectify_scale.z"}, False)


def test_what_is_not_int8_may_be_half(flexible: Path) -> None:
    edit_manifest(flexible, lambda document: document.update(options={"precision": "int8", "rest": "fp16"}))
    model = building.model_of(Package.open(flexible))
    assert (model.precision, model.half_rest) == ("int8", True)


def test_a_file_with_its_own_quantization_is_built_in_int8(flexible: Path) -> None:
    edit_manifest(flexible, lambda document: document.update(options={"precision": "fp32"}, quantized=True))
    assert building.model_of(Package.open(flexible)).precision == "int8"


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_a_plan_of_any_precision_is_read_again(
    machine: Machine, flexible: Path, counted: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    datatype = {"fp32": "Float", "fp16": "Half", "bf16": "BFloat16", "int8": "Int8"}[precision]
    layer = {"Name": "c", "LayerType": "CaskConvolution", "Inputs": [{"Format/Datatype": datatype}]}
    monkeypatch.setitem(LAYERS, "Layers", [layer])
    edit_manifest(flexible, lambda document: document.update(options={"precision": precision}))
    built = build(machine, flexible)
    assert built.share is not None and (built.share.at, built.share.of) == (1, 1)
    (plan,) = plans_of(Package.open(flexible))
    assert plan.entry["precision"] == plan.entry["convolutions"]["precision"] == precision
    assert build(machine, flexible).plan == plan  # it is taken, not built again


def test_the_manifest_fits_its_schema(machine: Machine, package: Path, counted: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    built = build(machine, package)
    schema = json.loads((ROOT / "runtime/package/manifest.schema.json").read_text())
    jsonschema.validate(built.package.manifest.data, schema)
    entry = built.plan.entry
    assert entry["trtexec"].startswith(
        f"trtexec --onnx=model.onnx --saveEngine={entry['file']} --stronglyTyped --noTF32"
    )
    assert entry["convolutions"] == {"precision": "fp32", "at": 1, "of": 1, "others": {}}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_package_is_refused(machine: Machine, flexible: Path, counted: Path) -> None:
    flexible.chmod(0o555)
    try:
        with pytest.raises(BadInput, match="cannot be written here"):
            build(machine, flexible)
    finally:
        flexible.chmod(0o755)
