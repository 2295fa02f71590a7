"""The model inside a worker: opened, checked against its goldens and warmed up before the first request."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import final

import numpy as np

from rectexport.runtime.api import load
from rectexport.runtime.base.metrics import compare
from rectexport.runtime.base.runner import Array
from rectexport.runtime.batching.rows import RowVerdict, judge_package
from rectexport.runtime.engines.backends import AUTO
from rectexport.runtime.errors import BadInput, Option
from rectexport.runtime.package.folder import Package
from rectexport.runtime.package.manifest import DEPENDENT, INDEPENDENT, NOT_SHOWN
from rectexport.runtime.serving.signature import Signature
from rectexport.runtime.session import Session

#: Relative L2 from the goldens, where the manifest gives none.
TOLERANCE = 1e-3
WARM_RUNS = 3
Feeds = dict[str, Array]


@dataclass(frozen=True)
class ModelSpec:
    """What a worker needs to open a model; all values fit into JSON.

    identity is that of the package when the model was loaded: a worker that is started later opens no other package.
    """

    path: str
    backend: str = AUTO
    threads: int = 0
    max_batch: int | None = None
    allow_unproven: bool = False
    identity: str = ""


def open_session(spec: ModelSpec) -> Session:
    """Open a package for serving."""
    return load(spec.path, spec.backend, threads=spec.threads, allow_unproven=spec.allow_unproven)


@final
class HostedModel:
    """Opens a package and runs real inferences: the goldens, and the smallest and the largest batch.

    Raises BadInput when the package cannot be opened, or when its outputs differ from the goldens; with allow_unproven
    such a difference is a remark.
    """

    def __init__(self, spec: ModelSpec) -> None:
        begin = time.perf_counter()
        self._session = open_session(spec)
        manifest = self._session.package.manifest
        _require_identity(spec, self._session.package)
        self.signature = Signature.of(manifest.inputs, manifest.outputs, spec.max_batch)
        self.remark = ""
        feeds = self._check_goldens(spec.allow_unproven)
        if self.signature.max_batch:
            self._check_rows()
        self._warm(feeds)
        self.seconds = time.perf_counter() - begin

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Infer once. Raises BadInput when the engine fails or returns another number of rows than it was given."""
        outputs = self._session.run(feeds)
        if self.signature.max_batch:
            rows = next(iter(feeds.values())).shape[0]
            for name, array in outputs.items():
                if array.ndim == 0 or array.shape[0] != rows:
                    raise BadInput(f"output {name}: expected {rows} rows, as in the inputs, got {list(array.shape)}")
        return outputs

    def _check_goldens(self, allow_unproven: bool) -> Feeds:
        package = self._session.package
        feeds, expected = package.goldens()
        actual = self._session.run(feeds)
        tolerance = package.manifest.tolerances.get("relative_l2", TOLERANCE)
        for name, reference in expected.items():
            if reference.shape != actual[name].shape:
                raise BadInput(
                    f"{package.path}: output {name}: expected shape {list(reference.shape)}, as the golden has, "
                    f"got {list(actual[name].shape)}"
                )
            distance = compare(reference, actual[name]).relative_l2
            if not distance <= tolerance:
                fault = f"output {name}: relative L2 {distance:.1e} from the golden, expected at most {tolerance:.1e}"
                if not allow_unproven:
                    ways = (": not served; ", Option("allow_unproven", True), " serves it all the same")
                    raise BadInput(f"{package.path}: {fault}", *ways)
                self.remark = f"{fault}: served all the same"
        return feeds

    def _check_rows(self) -> None:
        """Turn batching off unless this engine, too, answers each row as it does without the rows beside it.

        The manifest's word holds for the engines of the export; without one, only this engine is asked.
        """
        package = self._session.package
        if package.manifest.rows in (DEPENDENT, NOT_SHOWN):
            verdict = RowVerdict(package.manifest.rows, f"the package says: rows {package.manifest.rows}")
        else:
            least = max(tensor.bounds[0][0] for tensor in self.signature.inputs.values())
            verdict = judge_package(self._session.run, package, least, self.signature.max_batch)
        if verdict.verdict != INDEPENDENT:
            alone = f"{verdict.reason}: requests are run one by one"
            self.remark = "; ".join(filter(None, (self.remark, alone)))
            self.signature = self.signature.unbatched()

    def _warm(self, feeds: Feeds) -> None:
        """Run the goldens, the smallest and the largest batch, so that no client waits for first runs."""
        for _ in range(WARM_RUNS):
            self.run(feeds)
        if self.signature.max_batch:
            least = max(tensor.bounds[0][0] for tensor in self.signature.inputs.values())
            for rows in (self.signature.max_batch, *[least] * WARM_RUNS):
                self.run({name: np.resize(array, (rows, *array.shape[1:])) for name, array in feeds.items()})


def _require_identity(spec: ModelSpec, opened: Package) -> None:
    """Raise BadInput if the package is another one than the model was loaded from; `opened` is what the engine read.

    The folder is read again, because it may have been exchanged between the check of its hashes and the engine's read.
    """
    if spec.identity and not opened.identity == Package.open(spec.path).identity == spec.identity:
        raise BadInput(
            f"{spec.path}: another package is in its place since the model was loaded; "
            "put the first one back, load the model again, or restart the server"
        )
