"""The project's checkpoint: a plain dict that torch.load reads with weights_only=True.

format          "rectexport-checkpoint"
version         1
arch            a name of the zoo
arguments       further arguments of create_model, plain values
state_dict      tensors
example_input   float32 [N, C, H, W]
tolerances      {"relative_l2": 1e-5}
labels          names of the classes, or None
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rectexport.models.loading.bounded import at_most
from rectexport.models.loading.weights import check_weights, load_weights
from rectexport.models.registry import create_model
from rectexport.runtime.base.files import replaced_file
from rectexport.runtime.base.reading import check_regular
from rectexport.runtime.base.texts import brief
from rectexport.runtime.errors import BadInput

FORMAT = "rectexport-checkpoint"
VERSION = 1
MAX_VALUES = 10_000
TOLERANCES = {"relative_l2": 1e-5}
FIELDS = {"arch": str, "arguments": dict, "state_dict": dict, "example_input": Tensor, "tolerances": dict}


def save_checkpoint(
    path: str | Path,
    arch: str,
    arguments: Mapping[str, Any],
    model: nn.Module,
    example_input: Tensor,
    tolerances: Mapping[str, float] | None = None,
    labels: Sequence[str] | None = None,
) -> None:
    """Write a checkpoint to a temporary sibling of `path`, then rename it.

    example_input [N, C, H, W] is stored as float32; tolerances default to `TOLERANCES`. Raises ValueError for
    arguments that are not plain values, before anything is written.
    """
    checkpoint = {
        "format": FORMAT,
        "version": VERSION,
        "arch": arch,
        "arguments": {str(key): _plain(value, key) for key, value in arguments.items()},
        "state_dict": {key: value.detach().cpu().clone() for key, value in model.state_dict().items()},
        "example_input": example_input.detach().cpu().to(torch.float32).clone(),
        "tolerances": dict(TOLERANCES if tolerances is None else tolerances),
        "labels": None if labels is None else [str(label) for label in labels],
    }
    # Given a path, torch.save would store its name in the file and hide the error of a full disk.
    content = io.BytesIO()
    torch.save(checkpoint, content)
    with replaced_file(Path(path)) as temporary:
        temporary.write_bytes(content.getbuffer())


def _plain(value: Any, name: str) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return type(value)(_plain(item, name) for item in value)
    raise ValueError(f"arguments[{name!r}]: expected a plain value, got {type(value).__name__}")


def _is_plain(arguments: Mapping[Any, Any]) -> bool:
    """Whether all are plain values and few: a pickle of a few bytes can hold a list of practically endless length."""
    pending, left = [*arguments, *arguments.values()], MAX_VALUES
    while pending and left:
        value, left = pending.pop(), left - 1
        if isinstance(value, list | tuple) and len(value) <= left:
            pending.extend(value)
        elif value is not None and not isinstance(value, bool | int | float | str):
            return False
    return not pending


def is_checkpoint(value: Any) -> bool:
    """Whether a loaded object is one of our checkpoints (of any version)."""
    return isinstance(value, Mapping) and value.get("format") == FORMAT


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Load and check a checkpoint file, never unpickling code. Raises BadInput that names the file."""
    check_regular(Path(path))
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises anything from KeyError to UnpicklingError
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInput(f"{path}: not a readable checkpoint: {reason}") from error
    check(checkpoint, str(path))
    return dict(checkpoint)


def check(checkpoint: Any, source: str) -> None:
    """Raise BadInput, naming `source`, unless checkpoint has every field of this version with its type."""
    if not is_checkpoint(checkpoint):
        raise BadInput(f"{source}: not a {FORMAT}")
    if checkpoint.get("version") != VERSION:
        raise BadInput(f"{source}: version {brief(checkpoint.get('version'))}, this release reads {VERSION}")
    for name, kind in FIELDS.items():
        if not isinstance(checkpoint.get(name), kind):
            got = type(checkpoint[name]).__name__ if name in checkpoint else "nothing"
            raise BadInput(f"{source}: field {name!r}: expected {kind.__name__}, got {got}")
    if not _is_plain(checkpoint["arguments"]):
        raise BadInput(f"{source}: field 'arguments': expected plain values, {MAX_VALUES} of them at most")
    example = checkpoint["example_input"]
    if example.dtype != torch.float32 or example.dim() < 2 or not len(example):
        got = f"{example.dtype} {list(example.shape)}"
        raise BadInput(f"{source}: example_input: expected float32 [N, …], got {got}")
    if example.nbytes > example.untyped_storage().nbytes():
        raise BadInput(f"{source}: example_input: {list(example.shape)}, but the file holds fewer elements")


def build(checkpoint: Mapping[str, Any], source: str = "checkpoint") -> nn.Module:
    """The network of a checkpoint, in eval mode, its weights loaded strictly.

    Raises BadInput, naming `source`, for a missing field, an unknown arch or argument, or weights that do not
    fit.
    """
    check(checkpoint, source)
    arch, arguments = checkpoint["arch"], checkpoint["arguments"]
    try:
        with torch.device("meta"), at_most(len(checkpoint["state_dict"])):
            outline = create_model(arch, **arguments)  # without memory: the arguments may ask for any amount of it
    except Exception as error:  # an argument of the wrong kind may raise anything
        reason = str(error)[:300]
        raise BadInput(f"{source}: {arch:.100} cannot be built with these arguments: {reason}") from error
    check_weights(outline, checkpoint["state_dict"], source, arch)
    model = create_model(arch, **arguments)
    load_weights(model, checkpoint["state_dict"], source, arch)
    return model.eval()
