"""A package on disk: a folder that knows what it must contain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rectexport.runtime.archives import check_archive
from rectexport.runtime.errors import BadInput
from rectexport.runtime.files import sha256
from rectexport.runtime.manifest import FILE_NAME, Manifest, read_manifest
from rectexport.runtime.runner import Array

MODEL = "model.onnx"
GOLDENS = "goldens.npz"
SIGNATURE = "manifest.sig"


@dataclass(frozen=True)
class Package:
    """A package whose manifest has been read; files are checked by `verify_files`."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path) -> Package:
        """Read the manifest at `path`. Raises BadInput when it is missing or malformed."""
        folder = Path(path)
        return cls(folder, read_manifest(folder))

    @property
    def model_file(self) -> Path:
        """The ONNX file."""
        return self.path / MODEL

    def verify_files(self) -> None:
        """Compare every file with its sha256 in the manifest.

        Raises BadInput that names the first that differs, is missing, or is there without being listed: a model
        may refer to any file of its folder.
        """
        for path in sorted(self.path.iterdir()):
            if path.name not in (*self.manifest.files, FILE_NAME, SIGNATURE):
                raise BadInput(
                    f"{path}: not listed in the manifest, so nothing vouches for it; take it out of the package"
                )
        for name, expected in self.manifest.files.items():
            path = self.path / name
            if path.is_symlink() or not path.is_file():
                raise BadInput(f"{path}: listed in the manifest but missing; copy the package again")
            actual = sha256(path)
            if actual != expected:
                raise BadInput(
                    f"{path}: sha256 {actual[:12]}… where the manifest says {expected[:12]}…: "
                    "the file was changed or cut short; copy or export the package again"
                )

    def goldens(self) -> tuple[dict[str, Array], dict[str, Array]]:
        """Inputs and the reference's outputs, by tensor name. Raises BadInput when they cannot be read."""
        path = self.path / GOLDENS
        found: dict[str, dict[str, Array]] = {"input": {}, "output": {}}
        try:
            check_archive(path)
            with np.load(path, allow_pickle=False) as arrays:
                for key in arrays.files:
                    side, _, name = key.partition(".")
                    value = arrays[key]
                    if side not in found or not isinstance(value, np.ndarray):
                        raise ValueError(f"{key!r} is no array named input.NAME or output.NAME")
                    found[side][name] = value
        except Exception as error:  # numpy raises anything from BadZipFile to EOFError here
            raise BadInput(f"{path}: unreadable goldens: {str(error)[:300]}") from None
        return found["input"], found["output"]
