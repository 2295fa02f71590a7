"""A package in a Triton repository, with preprocessing before it, an answer behind it, and an ensemble of them."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rectexport.runtime.base.environment import require
from rectexport.runtime.package.folder import Package
from rectexport.runtime.serving.served_packages import ServedPackage
from rectexport.runtime.serving.triton.config import Deployment
from rectexport.runtime.serving.triton.ensemble import Step, require_no_other, write_ensemble
from rectexport.runtime.serving.triton.merge import read_config
from rectexport.runtime.serving.triton.repository import CONFIG, Written, refuse_package, write_model

if TYPE_CHECKING:
    from rectexport.exporter.base.processing import Answer, ImageInput
    from rectexport.exporter.ensemble import Around

BEFORE, BEHIND, WHOLE = "_preprocessing", "_postprocessing", "_ensemble"


def write_with_ensemble(
    source: ServedPackage,
    repository: Path,
    deployment: Deployment,
    image: ImageInput | None,
    answer: Answer | None,
    max_batch: int | None,
    given: Collection[str],
) -> Written:
    """Write a package as write_model does, the steps around it as models, and NAME_ensemble.

    The steps are exported before anything is written. Raises what write_model, export_around and write_ensemble raise,
    and MissingDependency without PyTorch.
    """
    require("torch")
    from rectexport.exporter.ensemble import export_around

    refuse_package(repository)
    package = Package.open(source.path)
    whole = f"{source.name}{WHOLE}"
    with tempfile.TemporaryDirectory() as scratch:
        around = export_around(package, image, answer, Path(scratch), max_batch)
        steps = _steps(source.name, package, around)
        require_no_other(whole, repository, steps)
        written = write_model(source, repository, deployment, max_batch, given)
        batched = read_config(repository / source.name / CONFIG).max_batch_size > 0
        backend = "onnxruntime" if deployment.backend == "tensorrt" else deployment.backend
        beside = replace(deployment, backend=backend)
        for suffix, step in ((BEFORE, around.before), (BEHIND, around.behind)):
            if step is not None:
                served = ServedPackage(f"{source.name}{suffix}", "1", step.path)
                written.remarks.extend(write_model(served, repository, beside, None if batched else 0, given).remarks)
    write_ensemble(whole, repository, steps)
    return replace(written, remarks=[*written.remarks, *_remarks(package, around, whole)])


def _steps(name: str, package: Package, around: Around) -> list[Step]:
    """The steps in order, with a name for every tensor between them."""
    manifest = package.manifest
    inputs = {entry.name: entry.name for entry in manifest.inputs}
    outputs = {entry.name: entry.name for entry in manifest.outputs}
    steps = []
    if around.before is not None:
        (image,), (planes,) = around.before.manifest.inputs, around.before.manifest.outputs
        inputs[around.image] = f"{name}:{around.image}"
        steps.append(Step(f"{name}{BEFORE}", {image.name: image.name}, {planes.name: inputs[around.image]}))
    if around.behind is not None:
        outputs[around.answer] = f"{name}:{around.answer}"
    steps.append(Step(name, inputs, outputs))
    if around.behind is not None:
        (taken,), made = around.behind.manifest.inputs, around.behind.manifest.outputs
        prefix = f"{around.answer}." if len(outputs) > 1 else ""
        names = {entry.name: f"{prefix}{entry.name}" if len(made) > 1 else around.answer for entry in made}
        steps.append(Step(f"{name}{BEHIND}", {taken.name: outputs[around.answer]}, names))
    return steps


def _remarks(package: Package, around: Around, whole: str) -> list[str]:
    if around.before is None and package.manifest.data.get("preprocessing"):
        return [f"{whole}: takes images, by the preprocessing in the graph of {package.path}"]
    return []
