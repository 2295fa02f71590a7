"""Writes a Triton ensemble: models of the same repository, one behind the other, which Triton runs as one model.

Triton passes the tensors from step to step in its own memory, and batches each step by that step's configuration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rectexport.runtime.base.environment import require
from rectexport.runtime.base.files import replaced_directory, replaced_file
from rectexport.runtime.errors import BadInput
from rectexport.runtime.serving.triton.config import as_text
from rectexport.runtime.serving.triton.merge import read_config, tensor_clashes
from rectexport.runtime.serving.triton.repository import CONFIG

#: The platform of an ensemble; it has no backend.
ENSEMBLE = "ensemble"
VERSION = "1"


@dataclass(frozen=True)
class Step:
    """One model of an ensemble; the maps give the ensemble's tensor for each of the model's."""

    model: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


def write_ensemble(name: str, repository: Path, steps: Sequence[Step]) -> None:
    """Write the ensemble `name` of models that are in the repository already.

    Its inputs are the tensors that no step makes, its outputs those that no step takes. The newest version of each
    model is taken. Fields that a user added to its config.pbtxt stay. Raises BadInput where that file describes other
    steps or tensors, and for a model of that name that is no ensemble.
    """
    path = repository / name / CONFIG
    before = _existing(path, steps)
    config = _config(name, repository, steps)
    if before is not None:
        clashes = [
            text
            for side in ("input", "output")
            for text in tensor_clashes(side, getattr(before, side), getattr(config, side))
        ]
        if clashes:
            raise _contradiction(path, "; ".join(clashes))
        merged = type(before)()
        merged.CopyFrom(before)
        merged.max_batch_size = config.max_batch_size
        config = merged
    if before is None:
        with replaced_directory(path.parent, CONFIG) as work:
            (work / VERSION).mkdir()  # Triton looks for a version; there are no files in it
            (work / CONFIG).write_text(as_text(config), encoding="utf-8")
    elif config != before:
        with replaced_file(path) as work:
            work.write_text(as_text(config), encoding="utf-8")


def require_no_other(name: str, repository: Path, steps: Sequence[Step]) -> None:
    """Raise BadInput if the repository has another model, or other steps, under this name."""
    _existing(repository / name / CONFIG, steps)


def _existing(path: Path, steps: Sequence[Step]) -> Any:
    if not path.is_file():
        if path.parent.exists() and any(path.parent.iterdir()):
            raise BadInput(f"{path.parent}: holds other files and no {CONFIG}; give the package another NAME=PACKAGE")
        return None
    config = read_config(path)
    if config.platform != ENSEMBLE:
        raise BadInput(f"{path.parent}: is a model, and the ensemble would replace it; give another NAME=PACKAGE")
    found = [(step.model_name, dict(step.input_map), dict(step.output_map)) for step in config.ensemble_scheduling.step]
    if found != [(step.model, dict(step.inputs), dict(step.outputs)) for step in steps]:
        raise _contradiction(path, f"its steps are {_chain([one[0] for one in found])} with other tensors")
    return config


def _contradiction(path: Path, why: str) -> BadInput:
    return BadInput(
        f"{path}: does not fit this ensemble, and it may be edited: {why}. "
        "Delete the file to have it written anew, or give another NAME=PACKAGE"
    )


def _chain(models: Sequence[str]) -> str:
    return " → ".join(models) or "none"


def _config(name: str, repository: Path, steps: Sequence[Step]) -> Any:
    pb = require("tritonclient.grpc.model_config_pb2")
    models = {step.model: read_config(repository / step.model / CONFIG) for step in steps}
    config = pb.ModelConfig(name=name, platform=ENSEMBLE)
    config.max_batch_size = min(model.max_batch_size for model in models.values())
    made = {tensor for step in steps for tensor in step.outputs.values()}
    taken = {tensor for step in steps for tensor in step.inputs.values()}
    for step in steps:
        entry = config.ensemble_scheduling.step.add(model_name=step.model, model_version=-1)
        entry.input_map.update(step.inputs)
        entry.output_map.update(step.outputs)
        model = models[step.model]
        for side, listed, mapped, inner in (
            (config.input, model.input, step.inputs, made),
            (config.output, model.output, step.outputs, taken),
        ):
            for tensor in listed:
                if mapped[tensor.name] not in inner:
                    _add(side, mapped[tensor.name], tensor)
    return config


def _add(side: Any, name: str, tensor: Any) -> None:
    """The ensemble's tensor: type and sizes of the step's, as clients send or get them."""
    side.add(name=name, data_type=tensor.data_type, dims=tensor.dims)
