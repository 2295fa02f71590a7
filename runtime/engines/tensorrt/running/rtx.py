"""Opens a package's engine of TensorRT for RTX on a machine with one of the GPUs that it was built for.

Such an engine is built ahead of time, often where it cannot run. One that was never compared with PyTorch is compared
here, before its first answer. TensorRT for RTX compiles its kernels for this GPU where a context is created, which
takes seconds.
"""

from __future__ import annotations

from typing import Any

from rectexport.runtime.base.runner import BackendOptions
from rectexport.runtime.engines.tensorrt import cuda
from rectexport.runtime.engines.tensorrt.building.acceptance import accept
from rectexport.runtime.engines.tensorrt.building.building import model_of
from rectexport.runtime.engines.tensorrt.building.rtx import engines_of, ensure_rtx_engine, parse_targets
from rectexport.runtime.engines.tensorrt.options import BuildOptions
from rectexport.runtime.engines.tensorrt.plans import model_hashes, read_plan
from rectexport.runtime.engines.tensorrt.profiles import make_profiles
from rectexport.runtime.engines.tensorrt.running.engine import Engine
from rectexport.runtime.engines.tensorrt.versions import Api
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.folder import Package


def find_rtx_engine(package: Package, api: Api, capability: str) -> dict[str, Any]:
    """The newest engine for this version and GPU. Raises BadInput that says why each does not fit."""
    reasons = []
    for entry in reversed(engines_of(package)):
        wrong = _mismatches(package, entry, api, capability)
        if not wrong:
            return entry
        reasons.append(f"{entry['file']}: {'; '.join(wrong)}")
    why = f"holds no engine for TensorRT {api.text} and a GPU of compute capability {capability}"
    listed = f" ({' · '.join(reasons)})" if reasons else ""
    raise BadInput(f"{package.path}: {why}{listed}; build one: {_command(package)}, or load with rebuilding allowed")


def _mismatches(package: Package, entry: dict[str, Any], api: Api, capability: str) -> list[str]:
    found, here = [], ".".join(map(str, api.version))
    if capability not in entry["compute_capabilities"]:
        found.append(f"it was built for compute capability {', '.join(entry['compute_capabilities'])}")
    if entry["tensorrt_rtx"] != here:
        found.append(f"it was built by version {entry['tensorrt_rtx']}, but this is {here}")
    if any(entry.get(key) != digest for key, digest in model_hashes(package).items()):
        found.append(f"it was built from another {package.model_name('tensorrt')}")
    return found


def open_rtx_engine(package: Package, api: Api, options: BackendOptions) -> Engine:
    """Load the package's engine; with options.rebuild, build one for this GPU if none fits.

    Raises BadInput when none fits, or for a changed file; ParityError when an engine that was not compared with PyTorch
    before gives other outputs, unless options.allow_unproven.
    """
    capability = ".".join(map(str, cuda.driver().compute_capability))
    try:
        entry = find_rtx_engine(package, api, capability)
    except BadInput:
        if not options.rebuild:
            raise
        precision = model_of(package).precision
        wanted = BuildOptions(make_profiles(package.manifest.inputs))
        built = ensure_rtx_engine(
            package.path, wanted, api, parse_targets([capability], precision, False), report=options.progress
        )
        package, entry = built.package, built.entry
    engine = Engine(read_plan(package, entry, _command(package)), api, str(package.path / entry["file"]))
    if entry["parity"] is None and not options.allow_unproven:
        options.progress("comparing the engine with PyTorch's answers: it has not run before")
        _compare(engine, package, "tf32" if entry["options"]["tf32"] else entry["precision"])
    return engine


def _compare(engine: Engine, package: Package, precision: str) -> None:
    try:
        accept(engine, package, precision)
    except BaseException:
        engine.close()
        raise


def _command(package: Package) -> str:
    return f"rectexport build {package.path} --rtx"
