"""Adds an engine of TensorRT for RTX to a package: built ahead of time, on a machine with or without a GPU.

Such an engine is for kinds of GPUs that are named, not for one model of GPU; TensorRT for RTX finishes it where it is
loaded. It is compared with the goldens if this machine has a GPU that it is for. Without one it is stored all the same,
and the manifest says that it has not run.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rectexport.runtime.base.files import sha256
from rectexport.runtime.engines.tensorrt import cuda
from rectexport.runtime.engines.tensorrt.building.acceptance import accept
from rectexport.runtime.engines.tensorrt.building.builder import Capability, build_engine
from rectexport.runtime.engines.tensorrt.building.building import model_of
from rectexport.runtime.engines.tensorrt.building.monitor import Report
from rectexport.runtime.engines.tensorrt.options import BuildOptions
from rectexport.runtime.engines.tensorrt.plans import model_hashes
from rectexport.runtime.engines.tensorrt.running.engine import Engine
from rectexport.runtime.engines.tensorrt.versions import Api
from rectexport.runtime.errors import BadInput, MissingDependency, UsageError
from rectexport.runtime.package.folder import Package, add_files, changing
from rectexport.runtime.package.schema import field_faults

#: Field of the manifest.
FIELD = "rtx_engines"
#: Turing, Ampere, Ada and Blackwell: the RTX GPUs that TensorRT for RTX builds for.
TARGETS: tuple[Capability, ...] = ((7, 5), (8, 6), (8, 9), (12, 0))
#: Turing has neither bfloat16 nor TF32.
_AMPERE: Capability = (8, 0)


@dataclass(frozen=True)
class RtxBuilt:
    """An engine in a package: its entry in the manifest, and whether this call built it."""

    package: Package
    entry: dict[str, Any]
    built: bool


def parse_targets(words: Sequence[str], precision: str, tf32: bool) -> tuple[Capability, ...]:
    """Compute capabilities from text, as in 8.6; without any, all of TARGETS that have the precision.

    Raises UsageError for another text or capability.
    """
    if not words:
        newer = precision == "bf16" or tf32
        return tuple(target for target in TARGETS if target >= _AMPERE or not newer)
    known = {_text(target): target for target in TARGETS}
    for word in words:
        if word not in known:
            raise UsageError(f"--compute-capability {word}: TensorRT for RTX builds for {', '.join(known)}")
    return tuple(sorted({known[word] for word in words}))


def engines_of(package: Package) -> list[dict[str, Any]]:
    """The entries of the manifest. Raises BadInput for entries that violate its schema."""
    document = package.manifest.data
    if FIELD not in document:
        return []
    wrong = next(field_faults(document, FIELD), None)
    if wrong:
        raise BadInput(f"{package.path}: {FIELD}: not a list of engines ({wrong}); copy or export the package again")
    return list(document[FIELD])


def ensure_rtx_engine(
    path: Path,
    options: BuildOptions,
    api: Api,
    targets: Sequence[Capability],
    *,
    rebuild: bool = False,
    report: Report = lambda text: None,
) -> RtxBuilt:
    """The package's engine for these GPUs, this version and these options; built if the package has none.

    Raises as build_engine does, ParityError when there is a GPU and the engine's outputs differ from the goldens, and
    BadInput for a package that was changed or cannot be written.
    """
    report("waiting for another build of this package")
    with changing(path) as package:
        name = f"model.rtx{'.'.join(map(str, api.version))}.sm{'-'.join(_text(target, '') for target in targets)}.plan"
        found = next((entry for entry in engines_of(package) if entry["file"] == name), None)
        if found is not None and not rebuild and _is_current(package, found, options):
            return RtxBuilt(package, found, built=False)
        return _build(package, name, options, api, targets, report)


def _is_current(package: Package, entry: dict[str, Any], options: BuildOptions) -> bool:
    path = package.path / entry["file"]
    same = all(entry.get(key) == digest for key, digest in model_hashes(package).items())
    recorded = entry["options"] == _recorded(options)
    return same and recorded and path.is_file() and not path.is_symlink() and sha256(path) == entry["sha256"]


def _build(
    package: Package, name: str, options: BuildOptions, api: Api, targets: Sequence[Capability], report: Report
) -> RtxBuilt:
    package.verify_files(but=[entry["file"] for entry in engines_of(package)])
    begin, model = time.perf_counter(), model_of(package)
    data = build_engine(model, options, api, report, targets)
    report("comparing with the goldens")
    parity, not_run = _accepted(data, api, name, targets, package, "tf32" if options.tf32 else model.precision)
    entry = {
        "file": name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "tensorrt_rtx": ".".join(map(str, api.version)),
        "compute_capabilities": [_text(target) for target in targets],
        **model_hashes(package),
        "precision": model.precision,
        "options": _recorded(options),
        "parity": parity,
        "not_run": not_run,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - begin, 1),
    }
    return RtxBuilt(add_files(package.path, {name: data}, {FIELD: [entry]}), entry, built=True)


def _recorded(options: BuildOptions) -> dict[str, Any]:
    recorded = options.recorded()
    return {name: recorded[name] for name in ("profiles", "tf32")}


def _accepted(
    data: bytes, api: Api, name: str, targets: Sequence[Capability], package: Package, precision: str
) -> tuple[dict[str, Any] | None, str | None]:
    """The engine's distance from PyTorch, or why it was not run. Raises ParityError."""
    try:
        driver = cuda.driver()
    except MissingDependency as error:
        return None, f"there is no GPU on the machine that built it: {error}"
    if driver.compute_capability not in targets:
        return None, f"{driver.gpu} ({_text(driver.compute_capability)}) is not among the GPUs that it was built for"
    engine = Engine(data, api, name)
    try:
        parity = accept(engine, package, precision)
    finally:
        engine.close()
    return parity, None if parity else "no profile includes the shapes of the package's examples"


def _text(capability: Capability, separator: str = ".") -> str:
    return f"{capability[0]}{separator}{capability[1]}"
