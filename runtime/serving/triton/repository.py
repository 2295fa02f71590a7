"""Writes a package into a Triton model repository: NAME/config.pbtxt, NAME/VERSION/, NAME/warmup/.

The version's folder is the package itself. Triton reads model.onnx or model.plan in it and ignores the other files;
`rectexport serve REPO` reads the manifest and checks every hash.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rectexport.runtime.base.files import copy_file, replaced_directory
from rectexport.runtime.errors import BadInput, UsageError
from rectexport.runtime.package.folder import Package
from rectexport.runtime.package.manifest import FILE_NAME
from rectexport.runtime.serving.repository import MAX_BATCH
from rectexport.runtime.serving.served_packages import ServedPackage
from rectexport.runtime.serving.signature import Signature
from rectexport.runtime.serving.triton.config import (
    BACKENDS,
    WARM_UP_FOLDER,
    Deployment,
    as_text,
    model_config,
)

CONFIG = "config.pbtxt"


def write_model(
    served: ServedPackage, repository: Path, deployment: Deployment, max_batch: int | None = None
) -> list[Path]:
    """Write a package as a version of a model, and return the plugin libraries in it; other versions stay.

    The model's folder is replaced as a whole or not at all. Raises BadInput for a damaged package or one without the
    file that the backend reads, and UsageError for an unknown backend.
    """
    if deployment.backend not in BACKENDS:
        raise UsageError(f"--backend {deployment.backend}: expected one of {', '.join(BACKENDS)}")
    package = Package.open(served.path)
    package.verify_files()
    needed = BACKENDS[deployment.backend][1]
    if needed.endswith(".onnx"):
        needed = package.model_name(deployment.backend)
    if needed not in package.manifest.files:
        raise BadInput(f"{served.path}: has no {needed}, which Triton's {deployment.backend} backend reads")
    signature = Signature.of(package.manifest.inputs, package.manifest.outputs, max_batch or MAX_BATCH)
    out = repository / served.name
    old = _versions(out)
    with replaced_directory(out, f"{old[0].name if old else served.version}/{FILE_NAME}") as work:
        for version in old:
            if version.name != served.version:
                shutil.copytree(version, work / version.name, copy_function=copy_file)
        home = work / served.version
        home.mkdir()
        for name in (FILE_NAME, *package.manifest.files):
            copy_file(served.path / name, home / name)
        goldens, _ = package.goldens()
        chosen = _write_warm_up(goldens, signature, work / WARM_UP_FOLDER, replace(deployment, file=needed))
        (work / CONFIG).write_text(as_text(model_config(served.name, signature, chosen)), encoding="utf-8")
    return [out / served.version / name for name in package.manifest.files if name.endswith(".so")]


def _versions(model: Path) -> list[Path]:
    """The model's version folders that hold packages."""
    if not model.is_dir():
        return []
    return sorted(path for path in model.iterdir() if path.name.isdecimal() and (path / FILE_NAME).is_file())


def _write_warm_up(
    goldens: Mapping[str, Any], signature: Signature, folder: Path, deployment: Deployment
) -> Deployment:
    """Write one row of each golden input as raw bytes; Triton repeats it up to the batch size."""
    folder.mkdir()
    files: dict[str, tuple[str, tuple[int, ...]]] = {}
    for index, (name, array) in enumerate(goldens.items()):
        sample = np.ascontiguousarray(array[:1] if signature.max_batch else array)
        (folder / f"input{index}").write_bytes(sample.tobytes())
        files[name] = (f"input{index}", sample.shape)
    return replace(deployment, warm_up=files)
