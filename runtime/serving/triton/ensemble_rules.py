"""What Triton refuses in an ensemble: its rules as of release 2.51, and whether the steps' tensors fit.

They are those of ValidateEnsembleSchedulingConfig in
https://github.com/triton-inference-server/core/blob/main/src/model_config_utils.cc, and of
https://github.com/triton-inference-server/core/blob/main/src/ensemble_scheduler/ensemble_utils.cc.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rectexport.runtime.errors import BadInput
from rectexport.runtime.serving.triton.ensemble import ENSEMBLE
from rectexport.runtime.serving.triton.merge import read_config
from rectexport.runtime.serving.triton.repository import CONFIG
from rectexport.runtime.serving.triton.rules import FREE, tensor_refusals, version_refusals

#: Fields that an ensemble may have.
KNOWN = frozenset(
    (
        *("name", "platform", "version_policy", "max_batch_size", "input", "output", "ensemble_scheduling"),
        *("metric_tags", "parameters"),
    )
)


def ensemble_refusals(config: Any, folder: Path) -> Iterator[str]:
    """Every reason for which Triton would not load the ensemble in `folder`, as text."""
    for item, _ in config.ListFields():
        if item.name not in KNOWN:
            yield f"{item.name}: an ensemble does not have it, or this check does not know it"
    versions = [path.name for path in folder.iterdir() if path.is_dir() and path.name.isdecimal()]
    if not versions:
        yield "no version: expected a folder named with a whole number, which may be empty"
    yield from version_refusals(config, versions)
    for side in ("input", "output"):
        if not getattr(config, side):
            yield f"no {side}"
        for tensor in getattr(config, side):
            yield from (f"{side} {tensor.name}: {text}" for text in tensor_refusals(config, tensor))
            label = getattr(tensor, "label_filename", "")
            if label and not (folder / label).is_file():
                yield f"output {tensor.name}: label_filename {label!r} is missing"
    if not config.ensemble_scheduling.step:
        yield "ensemble_scheduling: no step"
    yield from _steps(config, folder.parent)


def _steps(config: Any, repository: Path) -> Iterator[str]:
    #: Tensor of the ensemble -> where it comes from, and its type and sizes there.
    known = {tensor.name: ("the ensemble's input", *_kind(config, tensor)) for tensor in config.input}
    taken: set[str] = set()
    for step in config.ensemble_scheduling.step:
        where = f"step {step.model_name}"
        model = _model(step, config, repository)
        if isinstance(model, str):
            yield f"{where}: {model}"
            return
        if model.max_batch_size < config.max_batch_size:
            yield f"{where}: takes batches of up to {model.max_batch_size}, the ensemble up to {config.max_batch_size}"
        yield from (f"{where}: {text}" for text in _unmapped(step, model))
        for name, tensor in step.input_map.items():
            listed = next((one for one in model.input if one.name == name), None)
            if listed is None:
                continue
            if tensor not in known:
                yield f"{where}: input {name}: no earlier step and no input of the ensemble gives {tensor!r}"
                continue
            taken.add(tensor)
            yield from (f"{where}: input {name}: {text}" for text in _unlike(known[tensor], _kind(model, listed)))
        for name, tensor in step.output_map.items():
            listed = next((one for one in model.output if one.name == name), None)
            if listed is None:
                continue
            if tensor in known:
                yield f"{where}: output {name}: {tensor!r} is {known[tensor][0]} already"
            known[tensor] = (f"output {name} of {step.model_name}", *_kind(model, listed))
    for tensor in config.input:
        if tensor.name not in taken:
            yield f"input {tensor.name}: no step takes it"
    for tensor in config.output:
        if tensor.name not in known:
            yield f"output {tensor.name}: no step gives it"
        else:
            yield from (f"output {tensor.name}: {text}" for text in _unlike(known[tensor.name], _kind(config, tensor)))


def _model(step: Any, config: Any, repository: Path) -> Any:
    """The configuration of a step's model, or why there is none."""
    if not step.model_name or step.model_name == config.name:
        return "no model_name, or the ensemble itself"
    folder = repository / step.model_name
    if not (folder / CONFIG).is_file():
        return f"the repository has no model {step.model_name!r}"
    if step.model_version != FREE and not (folder / str(step.model_version)).is_dir():
        return f"the repository has no version {step.model_version} of it"
    try:
        model = read_config(folder / CONFIG)
    except BadInput as error:
        return str(error)
    if model.platform == ENSEMBLE:
        return "is an ensemble itself, which this check does not follow"
    return model


def _unmapped(step: Any, model: Any) -> Iterator[str]:
    inputs = {tensor.name for tensor in model.input if not tensor.optional}
    outputs = {tensor.name for tensor in model.output}
    yield from (f"input {name!r} of the model is not mapped" for name in sorted(inputs - set(step.input_map)))
    every = {tensor.name for tensor in model.input}
    yield from (f"the model has no input {name!r}" for name in sorted(set(step.input_map) - every))
    yield from (f"the model has no output {name!r}" for name in sorted(set(step.output_map) - outputs))
    if not step.output_map:
        yield "no output is mapped"
    for tensor in (*step.input_map.values(), *step.output_map.values()):
        if not tensor:
            yield "a tensor of the ensemble has no name"


def _kind(config: Any, tensor: Any) -> tuple[int, list[int]]:
    """Type and all sizes, with the batch."""
    return tensor.data_type, [*([FREE] if config.max_batch_size else []), *tensor.dims]


def _unlike(given: tuple[str, int, list[int]], wanted: tuple[int, list[int]]) -> Iterator[str]:
    source, data_type, sizes = given
    if data_type != wanted[0]:
        yield f"another data_type than {source} has"
    same = len(sizes) == len(wanted[1])
    if not same or any(FREE not in pair and pair[0] != pair[1] for pair in zip(sizes, wanted[1], strict=True)):
        yield f"has sizes {wanted[1]}, {source} {sizes}"
