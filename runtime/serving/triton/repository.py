"""Writes a package into a Triton model repository: NAME/config.pbtxt, NAME/VERSION/, NAME/warmup/.

The version's folder is the package itself. Triton reads model.onnx or model.plan in it and ignores the other files;
`rectexport serve REPO` reads the manifest and checks every hash.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rectexport.runtime.base.files import copy_file, replaced_directory
from rectexport.runtime.base.reading import read_bounded
from rectexport.runtime.base.shapes import MAX_DIMENSION
from rectexport.runtime.engines.tensorrt.plans import build_command, model_hashes, plans_of
from rectexport.runtime.errors import BadInput, UsageError
from rectexport.runtime.package.folder import Package
from rectexport.runtime.package.manifest import DEPENDENT, FILE_NAME, FORMAT, INDEPENDENT, MAX_BYTES
from rectexport.runtime.serving.repository import MAX_BATCH
from rectexport.runtime.serving.served_packages import ServedPackage
from rectexport.runtime.serving.signature import Signature
from rectexport.runtime.serving.triton.config import BACKENDS, WARM_UP_FOLDER, Deployment, as_text, model_config
from rectexport.runtime.serving.triton.merge import SAMPLE, merged, read_config

CONFIG = "config.pbtxt"


@dataclass(frozen=True)
class Written:
    """What was written: plugin libraries that tritonserver must load, and remarks for the user."""

    plugins: list[Path]
    remarks: list[str]


def write_model(
    served: ServedPackage,
    repository: Path,
    deployment: Deployment,
    max_batch: int | None = None,
    given: Collection[str] = (),
) -> Written:
    """Write a package as a version of a model. Other versions, other files and edits of config.pbtxt stay.

    The model's folder is replaced as a whole or not at all. max_batch 0 turns batching off. given names the options
    that were on the command line: they replace what an edited config.pbtxt says. Raises BadInput for a damaged package,
    one without the file that the backend reads, one that contradicts the config.pbtxt that is there, and for a
    repository that is a package; and UsageError for an unknown backend.
    """
    if deployment.backend not in BACKENDS:
        raise UsageError(f"--backend {deployment.backend}: expected one of {', '.join(BACKENDS)}")
    refuse_package(repository)
    package = Package.open(served.path)
    package.verify_files()
    chosen = replace(deployment, **_files(package, deployment.backend))
    remarks: list[str] = []
    most = MAX_BATCH if max_batch is None else max_batch
    limit = min(most, _most_of_plans(package) if deployment.backend == "tensorrt" else MAX_DIMENSION)
    signature = _signature(package, limit, remarks)
    goldens, _ = package.goldens()
    out = repository / served.name
    old = _versions(out)
    path = out / CONFIG
    several = any(version.name != served.version for version in old)
    before = read_config(path) if old and path.is_file() else None

    def make(limit: int | None) -> Any:
        asked = signature if limit is None else signature.limited(limit)
        return model_config(served.name, asked, replace(chosen, warm_up=_warm_up_files(goldens, asked)))

    config = make(None) if before is None else merged(before, make, given, path, several)
    _require_others(config, [version for version in old if version.name != served.version])
    names = {served.version, *(version.name for version in old)}
    if several and not _serves(config, served.version, names):
        remarks.append(f"version_policy in {path} does not name version {served.version}: Triton will not serve it")
    with replaced_directory(out, f"{old[0].name if old else served.version}/{FILE_NAME}") as work:
        _copy_others(out, work, served.version)
        home = work / served.version
        home.mkdir()
        for name in (FILE_NAME, *package.manifest.files):
            copy_file(served.path / name, home / name)
        if any(sample.name == SAMPLE for sample in config.model_warmup):
            _write_warm_up(goldens, bool(config.max_batch_size), work / WARM_UP_FOLDER)
        if config != before:
            (work / CONFIG).write_text(as_text(config), encoding="utf-8")
    return Written([out / served.version / name for name in package.manifest.files if name.endswith(".so")], remarks)


def refuse_package(repository: Path) -> None:
    """Raise BadInput if the folder of a repository is a package, lies in one, or is a model of a repository."""
    for folder in (repository, *repository.resolve().parents):
        if _is_package(folder):
            raise BadInput(
                f"{repository}: {'is' if folder == repository else 'lies in'} a package, not a model repository; "
                "give a folder that holds models, or a new one"
            )
    if (repository / CONFIG).is_file():
        raise BadInput(f"{repository}: is a model of a repository; give the folder above it")


def _is_package(folder: Path) -> bool:
    try:
        document = json.loads(read_bounded(folder / FILE_NAME, MAX_BYTES))
    except (BadInput, ValueError, RecursionError):
        return False
    return isinstance(document, dict) and document.get("format") == FORMAT


def _require_others(config: Any, versions: Sequence[Path]) -> None:
    """Raise BadInput if a version that stays takes smaller batches than the configuration allows."""
    for version in versions:
        manifest = Package.open(version).manifest
        most = Signature.of(manifest.inputs, manifest.outputs).max_batch if manifest.rows == INDEPENDENT else 0
        if config.max_batch_size > max(most, 1):
            raise BadInput(
                f"{version}: takes at most {most} rows in one run, and max_batch_size would be "
                f"{config.max_batch_size} for all versions; give --max-batch, or another NAME=PACKAGE. "
                "Nothing was written"
            )


def _signature(package: Package, limit: int, remarks: list[str]) -> Signature:
    """The signature; without batching unless the rows were shown to be independent at export."""
    manifest = package.manifest
    signature = Signature.of(manifest.inputs, manifest.outputs, limit)
    if not signature.max_batch or manifest.rows == INDEPENDENT:
        return signature
    why = "depend on each other" if manifest.rows == DEPENDENT else "were not shown to be independent of each other"
    again = "" if manifest.rows else "; export it again to have that shown"
    remarks.append(f"{package.path}: its rows {why}, so max_batch_size is 0 and Triton runs each request alone{again}")
    return signature.unbatched()


def _files(package: Package, backend: str) -> dict[str, Any]:
    """Fields of the Deployment about the files that a backend reads. Raises BadInput where there are none."""
    if backend != "tensorrt":
        return {"file": package.model_name(backend)}
    if BACKENDS[backend][1] in package.manifest.files:
        return {"file": BACKENDS[backend][1]}
    hashes = model_hashes(package)
    plans = [plan for plan in plans_of(package) if all(plan.entry.get(key) == value for key, value in hashes.items())]
    if not plans:
        raise BadInput(
            f"{package.path}: has no model.plan and no TensorRT plan of its model, which the tensorrt backend reads; "
            f"on the GPU and with the TensorRT of the Triton server run: {build_command(package)}"
        )
    newest = {str(plan.entry["compute_capability"]): plan for plan in plans}
    return {
        "file": plans[-1].file,
        "files": {capability: plan.file for capability, plan in newest.items()},
        "profiles": min(len(plan.profiles) for plan in newest.values()),
    }


def _most_of_plans(package: Package) -> int:
    """Most rows that every plan takes in some profile."""
    most = [max(min(bounds.max[0] for bounds in one.values()) for one in plan.profiles) for plan in plans_of(package)]
    return min(most, default=MAX_DIMENSION)


def _serves(config: Any, version: str, versions: Collection[str]) -> bool:
    policy = config.version_policy
    if policy.HasField("specific"):
        return int(version) in policy.specific.versions
    if policy.HasField("latest"):
        return version in sorted(versions, key=int)[-policy.latest.num_versions :]
    return policy.HasField("all")


def _versions(model: Path) -> list[Path]:
    """The model's version folders that hold packages."""
    if not model.is_dir():
        return []
    return sorted(path for path in model.iterdir() if path.name.isdecimal() and (path / FILE_NAME).is_file())


def _copy_others(model: Path, work: Path, version: str) -> None:
    """Copy all that lies in the model's folder, except the version that is written anew."""
    for path in sorted(model.iterdir()) if model.is_dir() else ():
        if path.name == version:
            continue
        if path.is_dir():
            shutil.copytree(path, work / path.name, copy_function=copy_file)
        else:
            copy_file(path, work / path.name)


def _warm_up_files(goldens: Mapping[str, Any], signature: Signature) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Input -> its file in warmup/ and the sample's shape: one row where Triton repeats it up to the batch size."""
    return {
        name: (f"input{index}", (array[:1] if signature.max_batch else array).shape)
        for index, (name, array) in enumerate(goldens.items())
    }


def _write_warm_up(goldens: Mapping[str, Any], batched: bool, folder: Path) -> None:
    """Write the golden inputs as raw bytes; one row where Triton repeats it."""
    folder.mkdir(exist_ok=True)
    for index, array in enumerate(goldens.values()):
        path = folder / f"input{index}"
        path.unlink(missing_ok=True)
        path.write_bytes(np.ascontiguousarray(array[:1] if batched else array).tobytes())
