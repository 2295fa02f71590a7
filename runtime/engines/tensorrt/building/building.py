"""Adds a plan for this machine to a package; processes that ask for the same plan build it only once."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib import import_module
from pathlib import Path
from typing import Any

from rectexport.runtime.base.files import replaced_file, sha256
from rectexport.runtime.engines.tensorrt import trtexec
from rectexport.runtime.engines.tensorrt.building.acceptance import accept
from rectexport.runtime.engines.tensorrt.building.builder import Model, build_engine
from rectexport.runtime.engines.tensorrt.building.inspector import Layer, Share, check_share, measure_share, read_layers
from rectexport.runtime.engines.tensorrt.building.monitor import Report
from rectexport.runtime.engines.tensorrt.options import BuildOptions
from rectexport.runtime.engines.tensorrt.plans import (
    FIELD,
    Machine,
    Plan,
    find_plan,
    model_hashes,
    plans_of,
    this_machine,
)
from rectexport.runtime.engines.tensorrt.profiles import make_profiles
from rectexport.runtime.engines.tensorrt.running.engine import Engine
from rectexport.runtime.engines.tensorrt.versions import Api
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.folder import Package, add_files, changing

#: Passes that lower precision; nodes that they refuse stay in float32.
_PRECISION_PASSES = ("float16", "bfloat16")


@dataclass(frozen=True)
class Built:
    """A plan in a package. `layers` and `share` describe this build; None if the plan existed already."""

    package: Package
    plan: Plan
    layers: Sequence[Layer] | None = None
    share: Share | None = None


def ensure_plan(
    path: Path,
    options: BuildOptions,
    api: Api,
    *,
    rebuild: bool = False,
    layers_file: Path | None = None,
    report: Report = lambda text: None,
) -> Built:
    """The plan of the package at `path` for this machine and these options; built if the package has none.

    rebuild builds it even if it exists. The engine inspector's JSON is written to layers_file. Other processes that
    build in this package wait, then find the plan. Raises as build_engine does, ParityError when the engine's outputs
    differ from the goldens, and BadInput for a package that was changed or cannot be written.
    """
    machine = this_machine(api)
    options = replace(options, plugins=plugins_of(Package.open(path), options.plugins))
    report("waiting for another build of this package")
    with changing(path) as package:
        if not rebuild:
            plan = _present(package, options, machine)
            if plan is not None:
                return Built(package, plan)
        _remove_leftovers(package)
        return _build(package, options, api, machine, layers_file, report)


def plugins_of(package: Package, given: Sequence[Path]) -> tuple[Path, ...]:
    """The plugin libraries for a package: those given, else ours if the package was exported with rectify=plugin."""
    if given or package.manifest.data.get("options", {}).get("rectify") != "plugin":
        return tuple(given)
    try:
        found = import_module("rectexport.runtime.engines.tensorrt.plugins").plugin_library()
    except ImportError:
        return ()
    return () if found is None else (Path(found),)


def default_options(package: Package) -> BuildOptions:
    """Options when the user gives none: those of the package's newest plan, else the package's range of shapes."""
    plans = plans_of(package)
    if not plans:
        return BuildOptions(make_profiles(package.manifest.inputs))
    recorded = {name: value for name, value in plans[-1].entry["options"].items() if name != "profiles"}
    return BuildOptions(plans[-1].profiles, **recorded)


def model_of(package: Package) -> Model:
    """The package's ONNX file, with its precision and its float32 nodes from the manifest."""
    data, name = package.manifest.data, package.model_name("tensorrt")
    refused = (
        entry["node"]
        for result in data.get("passes_of", {}).get(name, data.get("passes", ()))
        if result["name"] in _PRECISION_PASSES
        for entry in result["refused"]
    )
    options = data.get("options", {})
    functions = options.get("rectify") == "plugin"
    precision, half_rest = options.get("precision", "fp32"), options.get("rest") == "fp16"
    precision = "int8" if data.get("quantized") else precision
    return Model(package.path / name, precision, frozenset(refused), functions, half_rest)


def _present(package: Package, options: BuildOptions, machine: Machine) -> Plan | None:
    try:
        plan = find_plan(package, machine, options.plugins)
    except BadInput:
        return None
    same = plan.entry["options"] == options.recorded() and len(plan.entry["plugins"]) == len(options.plugins)
    path = package.path / plan.file
    whole = path.is_file() and not path.is_symlink() and sha256(path) == plan.entry["sha256"]
    return plan if same and whole else None


def _remove_leftovers(package: Package) -> None:
    """Half-written plans of builders that were killed; nobody else writes while we hold the lock."""
    for path in package.path.glob(".*.plan.*.partial"):
        path.unlink(missing_ok=True)


def _build(
    package: Package, options: BuildOptions, api: Api, machine: Machine, layers_file: Path | None, report: Report
) -> Built:
    package.verify_files(but=[plan.file for plan in plans_of(package)])  # a broken plan is no reason not to build
    begin, model = time.perf_counter(), model_of(package)
    data = build_engine(model, options, api, report)
    report("looking at what was built")
    engine = Engine(data, api, machine.plan_name, options.plugins, options.version_compatible, options.dla_core)
    precision = "tf32" if options.tf32 else model.precision
    try:
        text = engine.inspect()
        if layers_file is not None:
            with replaced_file(layers_file) as work:
                work.write_text(text, encoding="utf-8")
        layers = read_layers(text)
        share = measure_share(layers, precision)
        if options.dla_core is None:  # what runs on a DLA is one layer for the inspector
            check_share(share, str(package.path))
        report("comparing with the goldens")
        if options.strip_plan:
            engine.refit(package.model_for("tensorrt"))
        parity = accept(engine, package, precision)
    finally:
        engine.close()
    entry = {
        "file": machine.plan_name,
        "backend": "tensorrt",
        **machine.as_dict(),
        **model_hashes(package),
        "precision": model.precision,
        "options": options.recorded(),
        "plugins": [{"file": path.name, "sha256": sha256(path)} for path in options.plugins],
        "layers": len(layers),
        "convolutions": share.as_dict(),
        "parity": parity,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - begin, 1),
        "trtexec": trtexec.build_command(
            package.model_name("tensorrt"), machine.plan_name, options, model.precision, api
        ),
    }
    return Built(*_store(package, data, entry), layers, share)


def _store(package: Package, data: bytes, entry: dict[str, Any]) -> tuple[Package, Plan]:
    entry["sha256"] = hashlib.sha256(data).hexdigest()
    return add_files(package.path, {entry["file"]: data}, {FIELD: [entry]}), Plan(entry)
