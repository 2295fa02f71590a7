"""Opens the reference that a package is compared with. PyTorch and ONNX are imported only for a reference in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rectexport.exporter.base.options import LoadOptions
from rectexport.runtime.base.environment import require
from rectexport.runtime.base.runner import Runner
from rectexport.runtime.base.tolerance import Tolerance
from rectexport.runtime.errors import BadInput, UsageError
from rectexport.runtime.package.folder import Package
from rectexport.runtime.parity.run import Layers
from rectexport.runtime.parity.stored_reference import ParityReference, StoredReference

if TYPE_CHECKING:
    from rectexport.exporter.base.log import Log
    from rectexport.exporter.checking.layers import InnerReference


@dataclass(frozen=True)
class Against:
    """The reference as it was typed; without a model it is the package's own ONNX file."""

    model: Path | None
    load: LoadOptions
    tolerance: float | None

    def words(self) -> list[str]:
        """The flags that select the same reference."""
        words = [] if self.model is None else ["--against", str(self.model)]
        words += load_words(self.load)
        return words + ([] if self.tolerance is None else ["--tolerance", str(self.tolerance)])

    def check_alone(self) -> None:
        """Raise UsageError for flags that say how a checkpoint is loaded: the reference is none."""
        if self.load != LoadOptions():
            flags = ", ".join(word for word in load_words(self.load) if word.startswith("--"))
            raise UsageError(f"{flags}: only with --against and a checkpoint")


def load_words(load: LoadOptions) -> list[str]:
    """The flags that load a model in the same way."""
    words = [] if load.arch is None else ["--arch", load.arch]
    words += [] if load.model is None else ["--model", load.model]
    words += [word for text in load.model_args for word in ("--model-args", text)]
    words += [] if load.weights is None else ["--weights", load.weights]
    words += [] if load.rectified is None else ["--rectified" if load.rectified else "--plain"]
    words += ["--trust-pickle"] if load.trust_pickle else []
    return words + (["--rectify-model"] if load.rectify_model else [])


def open_reference(
    against: Against, package: Package, log: Log
) -> tuple[ParityReference, StoredReference | InnerReference]:
    """The reference twice: for the outputs, and for inner tensors as `make_layers` takes it.

    Raises UsageError for options that do not fit the kind of model, BadInput for a model that cannot be used.
    """
    path = against.model
    if path is not None and not path.is_dir() and path.suffix != ".onnx":
        return _source(path, against, package, log)
    against.check_alone()
    if path is None:
        stored = StoredReference(package.model_file, package, "the package's own model")
    elif path.is_dir():
        other = Package.open(path)
        other.verify_files()
        stored = StoredReference(other.model_file, package, f"package {path}")
    else:
        if not path.is_file():
            raise BadInput(f"{path}: no such file (--against)")
        stored = StoredReference(path, package, str(path))
    return stored, stored


def _source(
    path: Path, against: Against, package: Package, log: Log
) -> tuple[ParityReference, StoredReference | InnerReference]:
    from rectexport.exporter.frontend.model_file import check_model_file

    path = check_model_file(path, against.load.arch)
    for library in ("torch", "onnx", "onnxscript", "onnx_graphsurgeon"):
        require(library)
    from rectexport.exporter.checking.against import SourceReference

    source = SourceReference.of_file(path, package, against.load)
    for line in (source.note, *source.remarks):
        log.say(line)
    return source, source


def make_layers(
    package: Package,
    opened: Callable[[Package], Runner],
    reference: StoredReference | InnerReference,
    tolerance: Tolerance,
    memory: int,
    counts_nodes: bool,
    required: bool,
    engine: str,
) -> Layers | None:
    libraries = ("onnx", "onnx_graphsurgeon")
    if required:
        for library in libraries:
            require(library)
    if any(find_spec(library) is None for library in libraries):
        return None
    from rectexport.exporter.checking.layers import MarkedLayers
    from rectexport.exporter.checking.stored_tensors import StoredTensors

    tensors: InnerReference = StoredTensors(reference, package) if isinstance(reference, StoredReference) else reference
    return MarkedLayers(package, opened, tensors, tolerance, memory, counts_nodes, engine)


def allowed(against: Against, package: Package) -> Tolerance:
    """--tolerance if given; else the package's own, or the looser of the two if the reference is a package."""
    entries = dict(package.manifest.tolerances)
    if against.model is not None and against.model.is_dir():
        other = Package.open(against.model).manifest.tolerances
        entries["relative_l2"] = max(entries.get("relative_l2", 0.0), other.get("relative_l2", 0.0))
    if against.tolerance is not None:
        entries = {"relative_l2": against.tolerance}
    return Tolerance.from_dict(entries)
