"""Checks of a model's path and architecture name that need neither PyTorch nor ONNX, so that mistakes show at once."""

from __future__ import annotations

import difflib
from pathlib import Path

from rectexport.models.registry import model_names
from rectexport.runtime.errors import BadInput

SUFFIXES = (".pt", ".pth", ".pt2", ".onnx", ".safetensors", ".ckpt", ".bin")


def check_model_file(path: Path, arch: str | None = None) -> None:
    """Raise BadInput unless `path` is a file that is not empty, and `arch` is None or a network of the zoo."""
    if path.is_dir():
        raise BadInput(f"{path}: is a folder, expected a model file ({', '.join(SUFFIXES)})")
    if not path.is_file():
        raise BadInput(f"{path}: no such file{_nearby(path)}")
    if path.stat().st_size == 0:
        raise BadInput(f"{path}: the file is empty")
    if arch is not None and arch not in model_names():
        raise BadInput(_unknown_arch(arch))


def _unknown_arch(arch: str) -> str:
    nearest = difflib.get_close_matches(arch, model_names(), n=3, cutoff=0.4)
    known = f"nearest: {', '.join(nearest)}" if nearest else f"known: {', '.join(model_names())}"
    return f"--arch {arch}: unknown; {known}"


def _nearby(path: Path) -> str:
    if not path.parent.is_dir():
        return f", nor a folder {path.parent}"
    nearest = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=1)
    return f"; did you mean {path.with_name(nearest[0])}?" if nearest else ""
