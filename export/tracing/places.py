"""Find the module of the model that a node of a trace, an error or a running trace is in, and its line of code."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn

from rectexport.exporter.frontend.arguments import inner_path

#: Stands for the path of the model itself.
ROOT = "."
#: Code in these folders is not the model's: torch, and the exporter.
_FOREIGN = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]), "<")


def module_of_error(model: Any, error: BaseException) -> str:
    """Path of the innermost module whose forward raised, as in layer4.0; empty if there is none inside the model."""
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    tracebacks = [traceback.walk_tb(entry.__traceback__) for entry in reversed(chain)]
    places = (_innermost(model, (frame for frame, _ in entries)) for entries in tracebacks)
    return next((place for place in places if place), "")


def module_of_frame(model: Any, frame: FrameType | None) -> str:
    """Path of the innermost module that a running thread is in."""
    frames = [entry for entry, _ in traceback.walk_stack(frame)] if frame is not None else []
    return _innermost(model, reversed(frames))


def module_paths(program: Any) -> dict[str, str]:
    """Path of the innermost module by the name of each call in an exported program; ROOT for the model itself."""
    calls = [node for node in program.graph.nodes if node.op not in ("placeholder", "output")]
    stacks = {node.name: list((node.meta.get("nn_module_stack") or {}).values()) for node in calls}
    return {name: inner_path(stack) or ROOT for name, stack in stacks.items()}


def line_of_frame(frame: FrameType | None) -> str:
    """File and line of the innermost code that is not torch's, as in net.py:12."""
    for entry, line in traceback.walk_stack(frame) if frame is not None else ():
        path = entry.f_code.co_filename
        if is_model_code(path) and isinstance(entry.f_locals.get("self"), nn.Module):
            return f"{Path(path).name}:{line}"
    return ""


def is_model_code(path: str) -> bool:
    """Whether a file may be the model's own code: not torch's, nor the exporter's."""
    return not path.startswith(_FOREIGN)


def _innermost(model: Any, frames: Iterable[FrameType]) -> str:
    """Path of the last module in `frames`, in the model or in a copy of it, whose own frame comes first."""
    if not isinstance(model, nn.Module):
        return ""
    names: dict[int, str] = {}
    found = ""
    for frame in frames:
        holder = frame.f_locals.get("self")
        if not names and isinstance(holder, nn.Module) and type(holder) is type(model):
            names = {id(module): name for name, module in holder.named_modules()}
        found = names.get(id(holder), "") or found
    return found
