"""Find the module of the model, and the line of its code, that an error or a running trace is in."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn

#: Code below these folders is torch's; a line there tells a user nothing.
_TORCH = str(Path(torch.__file__).parent)


def module_of_error(model: Any, error: BaseException) -> str:
    """Path of the innermost module whose forward raised, as in layer4.0; empty if there is none inside the model."""
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    places = (
        _innermost(model, (frame for frame, _ in traceback.walk_tb(entry.__traceback__))) for entry in chain[::-1]
    )
    return next((place for place in places if place), "")


def module_of_frame(model: Any, frame: FrameType | None) -> str:
    """Path of the innermost module that a running thread is in."""
    frames = [entry for entry, _ in traceback.walk_stack(frame)] if frame is not None else []
    return _innermost(model, reversed(frames))


def line_of_frame(frame: FrameType | None) -> str:
    """File and line of the innermost code that is not torch's, as in net.py:12."""
    for entry, line in traceback.walk_stack(frame) if frame is not None else ():
        path = entry.f_code.co_filename
        if not path.startswith((_TORCH, "<")) and "sympy" not in path and _is_forward(entry):
            return f"{Path(path).name}:{line}"
    return ""


def _is_forward(frame: FrameType) -> bool:
    return isinstance(frame.f_locals.get("self"), nn.Module)


def _innermost(model: Any, frames: Iterable[FrameType]) -> str:
    if not isinstance(model, nn.Module):
        return ""
    names = {id(module): name for name, module in model.named_modules()}
    found = ""
    for frame in frames:
        found = names.get(id(frame.f_locals.get("self")), "") or found
    return found
