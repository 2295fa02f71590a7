"""Checks of the paths of a model and its inputs, and of the architecture's name.

They need neither PyTorch nor ONNX, so that mistakes show at once.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from rectexport.models.registry import model_names
from rectexport.runtime.base.reading import check_regular
from rectexport.runtime.errors import BadInput, Option

SUFFIXES = (".pt", ".pth", ".pt2", ".onnx", ".safetensors", ".ckpt", ".bin")
#: Weights in a folder, in one file or with an index of several, the safer kinds first.
IN_FOLDERS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def check_model_file(path: Path, arch: str | None = None) -> Path:
    """The file of a model: `path` itself, or the file of weights in a folder as Hugging Face's tools write it.

    Raises BadInput unless it is a regular file that is not empty, and `arch` is None or a network of the zoo.
    """
    if path.is_dir():
        found = [path / name for name in IN_FOLDERS if (path / name).is_file()]
        if not found:
            raise BadInput(
                f"{path}: is a folder, expected a model file ({', '.join(SUFFIXES)}) or a folder with {IN_FOLDERS[0]}"
            )
        path = found[0]
    if not path.exists():
        raise BadInput(f"{path}: no such file{_nearby(path)}")
    if check_regular(path) == 0:
        raise BadInput(f"{path}: the file is empty")
    if arch is not None and arch not in model_names():
        raise BadInput(
            Option("arch", arch),
            f": unknown; {_nearest_arch(arch)}; for a network of your own, ",
            Option("model", "FILE.py:CLASS"),
        )
    return path


def check_inputs_file(path: Path | None) -> None:
    """Raise BadInput unless the file of example inputs, if one is given, is a regular file."""
    try:
        if path is not None:
            check_regular(path)
    except BadInput as error:
        raise BadInput(f"{error} (--inputs)") from None


def _nearest_arch(arch: str) -> str:
    nearest = difflib.get_close_matches(arch, model_names(), n=3, cutoff=0.4)
    return f"nearest: {', '.join(nearest)}" if nearest else f"known: {', '.join(model_names())}"


def _nearby(path: Path) -> str:
    if not path.parent.is_dir():
        return f", nor a folder {path.parent}"
    nearest = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=1)
    return f"; did you mean {path.with_name(nearest[0])}?" if nearest else ""
