"""A package folder: open it, check its files, read its goldens, add files to it."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rectexport.runtime.base.files import check_replaceable, locked, replaced_file, sha256
from rectexport.runtime.base.notebook import as_html
from rectexport.runtime.base.reading import open_regular
from rectexport.runtime.base.runner import Array
from rectexport.runtime.base.temporary import PARTIAL
from rectexport.runtime.errors import BadInput, UsageError
from rectexport.runtime.package.archives import check_archive
from rectexport.runtime.package.manifest import FILE_NAME, Manifest, describe_tensors, read_manifest

MODEL = "model.onnx"
#: Weights of models that exceed 2 GB, or that several models share.
WEIGHTS = "model.onnx.data"
GOLDENS = "goldens.npz"
PARITY = "parity.json"
REWRITES = "rewrites.json"
#: Where each node of the models comes from.
ORIGINS = "origins.json"
LATENCY = "latency.json"
#: What a search found.
TUNING = "tuning.json"
#: Lock file of processes that change a package; empty, not in the manifest, may be deleted when none is running.
LOCK = ".lock"
#: Suffix of TensorRT plans, and the manifest's lists of engines.
PLAN = ".plan"
ENGINES = ("plans", "rtx_engines")
SIGNATURE = "manifest.sig"
#: Label of the goldens' first case, whose arrays have no label in their names.
FIRST_CASE = "example"


@dataclass(frozen=True, repr=False)
class Package:
    """A package whose manifest has been read; `verify_files` checks the files."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path) -> Package:
        """Read the manifest at `path`. Raises BadInput when it is missing or malformed."""
        folder = Path(path)
        return cls(folder, read_manifest(folder))

    @property
    def model_file(self) -> Path:
        """The ONNX file that serves every engine without one of its own."""
        return self.path / MODEL

    def model_name(self, engine: str) -> str:
        """Name of the ONNX file for an engine: "onnxruntime", "openvino", "tensorrt"; "cuda" is ONNX Runtime's."""
        return self.manifest.models.get("onnxruntime" if engine == "cuda" else engine, MODEL)

    @property
    def identity(self) -> str:
        """sha256 of the manifest's content, which holds the hashes of all other files; equal for equal packages."""
        return hashlib.sha256(json.dumps(self.manifest.data, sort_keys=True).encode()).hexdigest()

    def model_for(self, engine: str) -> Path:
        """The ONNX file for an engine, named as `model_name` takes it."""
        return self.path / self.model_name(engine)

    def __repr__(self) -> str:
        return f"<Package {self.path}: {describe_tensors(self.manifest.inputs, self.manifest.outputs)}>"

    def _repr_html_(self) -> str | None:
        return as_html("package", self)

    def verify_files(self, but: Collection[str] = ()) -> None:
        """Compare every file, except those in `but`, with its sha256 in the manifest.

        Raises BadInput that names the first that differs, is missing, or is there without being listed: a model
        may refer to any file of its folder. Files of a build at work, or of one that was killed, are left alone,
        unless a model names them: a plan is opened by the manifest's name for it alone.
        """
        unlisted = self._passed_over()
        for name, expected in self.manifest.files.items():
            if name in but:
                continue
            path = self.path / name
            if path.is_symlink() or not path.is_file():
                raise BadInput(f"{path}: listed in the manifest but missing; copy the package again")
            actual = sha256(path)
            if actual != expected:
                raise BadInput(
                    f"{path}: sha256 {actual[:12]}… where the manifest says {expected[:12]}…: "
                    "the file was changed or cut short; copy or export the package again"
                )
        self._refuse_named(unlisted)

    def _passed_over(self) -> list[Path]:
        """Unlisted files of a build. Raises BadInput for any other file that the manifest does not list."""
        listed = {*self.manifest.files, FILE_NAME, SIGNATURE}
        unlisted = [path for path in sorted(self.path.iterdir()) if path.name not in listed]
        for path in unlisted:
            of_a_build = path.suffix in (PARTIAL, PLAN) or (path.name == LOCK and not path.stat().st_size)
            if not of_a_build or path.is_symlink():
                raise BadInput(
                    f"{path}: not listed in the manifest, so it cannot be checked; remove it from the package"
                )
        return unlisted

    def _refuse_named(self, unlisted: Sequence[Path]) -> None:
        """Raise BadInput for an unlisted file whose name stands in a model, which may keep weights there."""
        models = [self.path / name for name in self.manifest.files if name.endswith(".onnx")]
        for path in unlisted:
            if any(_holds(model, os.fsencode(path.name)) for model in models):
                why = "and a model of the package names it"
                raise BadInput(f"{path}: not listed in the manifest, {why}; remove it from the package")

    def goldens(self) -> tuple[dict[str, Array], dict[str, Array]]:
        """Inputs and the reference's outputs of the first case, by tensor name. Raises as `golden_cases` does."""
        return self.golden_cases()[FIRST_CASE]

    def golden_cases(self) -> dict[str, tuple[dict[str, Array], dict[str, Array]]]:
        """Every case by label: inputs and the reference's outputs, by tensor name. The first is FIRST_CASE.

        Raises BadInput when they cannot be read.
        """
        path = self.path / GOLDENS
        cases: dict[str, dict[str, dict[str, Array]]] = {FIRST_CASE: {"input": {}, "output": {}}}
        try:
            check_archive(path)
            with np.load(path, allow_pickle=False) as arrays:
                for key in arrays.files:
                    label, side, name = golden_key(key)
                    value = arrays[key]
                    if not isinstance(value, np.ndarray):
                        raise ValueError(f"{key!r} is no array")
                    cases.setdefault(label, {"input": {}, "output": {}})[side][name] = value
        except Exception as error:  # numpy raises anything from BadZipFile to EOFError here
            raise BadInput(f"{path}: unreadable goldens: {str(error)[:300]}") from None
        return {label: (found["input"], found["output"]) for label, found in cases.items()}


def _holds(model: Path, name: bytes) -> bool:
    """Whether the bytes occur in the file, which is mapped and not read whole."""
    with open_regular(model) as stream:
        if not os.fstat(stream.fileno()).st_size:
            return False
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(name) >= 0


def golden_key(key: str) -> tuple[str, str, str]:
    """(case, "input" or "output", tensor) of an array's name: input.NAME in the first case, CASE|input.NAME in others.

    Raises ValueError for another name.
    """
    label, bar, rest = key.partition("|")
    if not bar or label.startswith(("input.", "output.")):
        label, rest = FIRST_CASE, key
    side, _, name = rest.partition(".")
    if side not in ("input", "output"):
        raise ValueError(f"{key!r} is not an array named input.NAME or output.NAME")
    return label, side, name


@contextmanager
def changing(path: str | Path) -> Iterator[Package]:
    """Lock a package and open it; other processes that want to change it wait. Raises BadInput if it is read-only."""
    folder = Path(path)
    Package.open(folder)  # so that a folder that is not a package gets no lock file
    with locked(folder / LOCK):
        yield Package.open(folder)


def add_files(path: str | Path, files: Mapping[str, Path | bytes], entries: Mapping[str, Any] | None = None) -> Package:
    """Copy files, or bytes, into a package under the given names, and rewrite the manifest with their hashes.

    entries are set in the manifest's document; a list of entries that have a `file` replaces those with the same file
    and keeps the others. The manifest is valid at every moment: a replaced file is first removed from it and added back
    with its new hash, so that a process killed in between leaves a package without the file, not with a wrong hash.

    Raises BadInput when the package cannot be read or written. Does not lock: see `changing`.
    """
    package = Package.open(path)
    document = json.loads(json.dumps(package.manifest.data))
    if FILE_NAME in files:
        raise BadInput(f"{package.path}: {FILE_NAME} is written by this function, not added")
    for name in files:
        check_replaceable(package.path / name)  # before anything changes
    if any(document["files"].pop(name, None) for name in files):
        for field in ENGINES:
            if isinstance(document.get(field), list):
                document[field] = [entry for entry in document[field] if entry["file"] not in files]
        _write_manifest(package.path, document)
    for name, source in files.items():
        with replaced_file(package.path / name) as work:
            if isinstance(source, bytes):
                work.write_bytes(source)
            else:
                shutil.copyfile(source, work)
        document["files"][name] = sha256(package.path / name)
    for field, value in (entries or {}).items():
        document[field] = _merged(document.get(field), value)
    _write_manifest(package.path, document)
    return Package.open(package.path)


def _merged(old: Any, new: Any) -> Any:
    if not (isinstance(old, list) and isinstance(new, list)):
        return new
    replaced = {entry["file"] for entry in new}
    return [*(entry for entry in old if entry["file"] not in replaced), *new]


def _write_manifest(folder: Path, document: Mapping[str, Any]) -> None:
    text = json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n"
    (folder / SIGNATURE).unlink(missing_ok=True)  # it signs the old manifest
    with replaced_file(folder / FILE_NAME) as work:
        work.write_text(text, encoding="utf-8")


def check_outside(out: Path) -> None:
    """Raise UsageError if the file `out` would be written into a package: the manifest would not list it."""
    if (out.parent / FILE_NAME).is_file():
        raise UsageError(f"{out}: lies in a package, whose manifest must list every file; choose another folder")
