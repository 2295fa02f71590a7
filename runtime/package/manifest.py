"""Reads and checks the manifest of a package, which is untrusted input.

Version 2 is documented in docs/package.md and runtime/package/manifest.schema.json. Version 1 is read too; it has
neither proofs nor models of single engines.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from rectexport.runtime.base.notebook import as_html
from rectexport.runtime.base.shapes import MAX_DIMENSION, Shape, ShapeRange
from rectexport.runtime.base.texts import brief, printable
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.structure import StructureError, check_structure

FORMAT = "rectexport-package"
VERSION = 2
READABLE = (1, 2)
FILE_NAME = "manifest.json"
MAX_BYTES = 16 << 20
#: Whether a row's outputs depend on the other rows of its batch.
ROWS = INDEPENDENT, DEPENDENT, NOT_SHOWN = "independent", "dependent", "not shown"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DTYPE = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)")


@dataclass(frozen=True)
class TensorEntry:
    """An input or output of the packaged model; a str in shape names a dynamic dimension."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    range: ShapeRange | None = None


def describe_tensors(inputs: Sequence[TensorEntry], outputs: Sequence[TensorEntry]) -> str:
    """Inputs and outputs on one line, as in x float32[1, 3, 8, 8] -> logits float32[1, 10]."""

    def listed(entries: Sequence[TensorEntry]) -> str:
        return ", ".join(f"{entry.name} {entry.dtype}[{', '.join(map(str, entry.shape))}]" for entry in entries)

    return printable(f"{listed(inputs)} -> {listed(outputs)}")


@dataclass(frozen=True, repr=False)
class Manifest:
    """A checked manifest; `data` is the whole document.

    models      engine -> its file, where not model.onnx
    structure   what a session returns around the outputs (structure.py); None for one array, or a tuple of several
    rows        independent, dependent or not shown; empty in packages of before that was recorded
    """

    inputs: tuple[TensorEntry, ...]
    outputs: tuple[TensorEntry, ...]
    tolerances: dict[str, float]
    files: dict[str, str]
    data: dict[str, Any]
    models: dict[str, str] = field(default_factory=dict)
    structure: dict[str, Any] | None = None
    rows: str = ""

    def __repr__(self) -> str:
        return f"<Manifest of {len(self.files)} files: {describe_tensors(self.inputs, self.outputs)}>"

    def _repr_html_(self) -> str | None:
        return as_html("manifest", self)


def read_manifest(folder: Path) -> Manifest:
    """Read and check folder/manifest.json.

    Raises BadInput that names the file, the field, what was expected and what was found.
    """
    path = folder / FILE_NAME
    if folder.is_file():
        raise BadInput(f"{folder}: is a file, expected the folder of a package")
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such package folder")
    if not path.is_file():
        raise BadInput(f"{folder}: not a package: {FILE_NAME} is missing")
    if path.stat().st_size > MAX_BYTES:
        raise BadInput(f"{path}: {path.stat().st_size} bytes, more than the {MAX_BYTES} that a manifest may have")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not JSON: {error}") from None
    return _Reader(path).manifest(data)


class _Reader:
    """Converts a parsed document; every error starts with the file's name."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def manifest(self, data: Any) -> Manifest:
        document = self._typed(data, dict, "document")
        self._expect(document.get("format") == FORMAT, "format", FORMAT, document.get("format"))
        found = document.get("version")
        if found not in READABLE or isinstance(found, bool):
            readable = " and ".join(map(str, READABLE))
            raise BadInput(
                f"{self._path}: package version {brief(found)}, this rectexport reads {readable}: "
                "export the model again, or install the rectexport that wrote it"
            )
        outputs = self._tensors(document, "outputs")
        return Manifest(
            inputs=self._tensors(document, "inputs"),
            outputs=outputs,
            tolerances=self._tolerances(document),
            files=self._files(document),
            data=document,
            models=self._models(document),
            structure=self._structure(document, outputs),
            rows=self._rows(document),
        )

    def _structure(self, document: dict[str, Any], outputs: tuple[TensorEntry, ...]) -> dict[str, Any] | None:
        structure = document.get("structure")
        if structure is None:
            return None
        try:
            check_structure(structure, {entry.name for entry in outputs})
        except StructureError as error:
            raise BadInput(f"{self._path}: structure: {error}") from None
        return self._typed(structure, dict, "structure")

    def _rows(self, document: dict[str, Any]) -> str:
        rows = document.get("rows", "")
        self._expect(rows in ("", *ROWS) and isinstance(rows, str), "rows", " or ".join(ROWS), rows)
        return str(rows)

    def _models(self, document: dict[str, Any]) -> dict[str, str]:
        models = self._typed(document.get("models", {}), dict, "models")
        for engine, name in models.items():
            self._expect(name in document["files"], f"models.{engine}", "a file of the package", name)
        return models

    def _tensors(self, document: dict[str, Any], field: str) -> tuple[TensorEntry, ...]:
        entries = self._typed(document.get(field), list, field)
        if not entries:
            self._refuse(field, "at least one tensor", "none")
        return tuple(self._tensor(entry, f"{field}[{index}]") for index, entry in enumerate(entries))

    def _tensor(self, entry: Any, field: str) -> TensorEntry:
        entry = self._typed(entry, dict, field)
        sizes = self._typed(entry.get("shape"), list, f"{field}.shape")
        shape = tuple(self._dimension(size, f"{field}.shape") for size in sizes)
        bounds = entry.get("range")
        dtype = self._typed(entry.get("dtype"), str, f"{field}.dtype")
        self._expect(_DTYPE.fullmatch(dtype) is not None, f"{field}.dtype", "bool, or a numpy int or float", dtype)
        return TensorEntry(
            name=self._typed(entry.get("name"), str, f"{field}.name"),
            dtype=dtype,
            shape=shape,
            range=None if bounds is None else self._range(bounds, f"{field}.range", len(shape)),
        )

    def _dimension(self, size: Any, field: str) -> Any:
        valid = isinstance(size, str) or (isinstance(size, int) and not isinstance(size, bool) and size >= 0)
        self._expect(valid, field, "sizes or names", size)
        return size

    def _range(self, bounds: Any, field: str, rank: int) -> ShapeRange:
        bounds = self._typed(bounds, dict, field)
        sides: list[Shape] = []
        for side in ("min", "opt", "max"):
            sizes = self._typed(bounds.get(side), list, f"{field}.{side}")
            whole = all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in sizes)
            self._expect(whole and len(sizes) == rank, f"{field}.{side}", f"{rank} positive sizes", sizes)
            sides.append(tuple(sizes))
        low, opt, high = sides
        return ShapeRange(low, opt, high, self._steps(bounds, sides, f"{field}.step", rank))

    def _steps(self, bounds: dict[str, Any], sides: Sequence[Shape], field: str, rank: int) -> Shape:
        if "step" not in bounds:
            return ()
        steps = self._typed(bounds["step"], list, field)
        whole = all(isinstance(step, int) and not isinstance(step, bool) and step > 0 for step in steps)
        self._expect(whole and len(steps) == rank, field, f"{rank} positive steps", steps)
        for low, opt, high, step in zip(*sides, steps, strict=True):
            fit = (opt - low) % step == 0 and (high == MAX_DIMENSION or (high - low) % step == 0)
            self._expect(fit, field, f"steps that lead from min to opt and max ({low}, {opt}, {high})", steps)
        return tuple(steps)

    def _tolerances(self, document: dict[str, Any]) -> dict[str, float]:
        entries = self._typed(document.get("tolerances"), dict, "tolerances")
        for name, value in entries.items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            finite = number and 0 <= value <= sys.float_info.max
            self._expect(finite, f"tolerances.{name}", "a finite number >= 0", value)
        return {name: float(value) for name, value in entries.items()}

    def _files(self, document: dict[str, Any]) -> dict[str, str]:
        files = self._typed(document.get("files"), dict, "files")
        for name, digest in files.items():
            plain = PurePosixPath(name).name == name and name not in ("", "..") and "\\" not in name
            short = name.isprintable() and len(name.encode()) <= 255  # what a file system takes
            self._expect(plain and short, "files", "plain file names", name)
            valid = isinstance(digest, str) and _SHA256.fullmatch(digest) is not None
            self._expect(valid, f"files.{name}", "a sha256 in hex", digest)
        self._expect("model.onnx" in files, "files", "an entry for model.onnx", sorted(files))
        return files

    def _typed(self, value: Any, kind: type, field: str) -> Any:
        if not isinstance(value, kind):
            self._refuse(field, f"a {kind.__name__}", "nothing" if value is None else f"a {type(value).__name__}")
        return value

    def _expect(self, holds: bool, field: str, expected: str, actual: object) -> None:
        if not holds:
            self._refuse(field, expected, repr(actual))

    def _refuse(self, field: str, expected: str, actual: str) -> NoReturn:
        raise BadInput(f"{self._path}: {field:.200}: expected {expected}, got {actual:.200}")
