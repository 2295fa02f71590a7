"""Checks of the paths of a model and its inputs, and of the architecture's name.

They need neither PyTorch nor ONNX, so that mistakes show at once.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from rectexport.models.registry import model_names
from rectexport.runtime.base.reading import check_regular
from rectexport.runtime.errors import BadInput

SUFFIXES = (".pt", ".pth", ".pt2", ".onnx", ".safetensors", ".ckpt", ".bin")


def check_model_file(path: Path, arch: str | None = None) -> None:
    """Raise BadInput unless `path` is a regular file that is not empty, and `arch` is None or a network of the zoo."""
    if path.is_dir():
        raise BadInput(f"{path}: is a folder, expected a model file ({', '.join(SUFFIXES)})")
    if not path.exists():
        raise BadInput(f"{path}: no such file{_nearby(path)}")
    if check_regular(path) == 0:
        raise BadInput(f"{path}: the file is empty")
    if arch is not None and arch not in model_names():
        raise BadInput(_unknown_arch(arch))


def check_inputs_file(path: Path | None) -> None:
    """Raise BadInput unless the file of example inputs, if one is given, is a regular file."""
    try:
        if path is not None:
            check_regular(path)
    except BadInput as error:
        raise BadInput(f"{error} (--inputs)") from None


def _unknown_arch(arch: str) -> str:
    nearest = difflib.get_close_matches(arch, model_names(), n=3, cutoff=0.4)
    known = f"nearest: {', '.join(nearest)}" if nearest else f"known: {', '.join(model_names())}"
    return f"--arch {arch}: unknown; {known}"


def _nearby(path: Path) -> str:
    if not path.parent.is_dir():
        return f", nor a folder {path.parent}"
    nearest = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=1)
    return f"; did you mean {path.with_name(nearest[0])}?" if nearest else ""
