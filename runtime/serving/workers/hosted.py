"""The model inside a worker: opened, checked against its goldens and warmed up before the first request."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import final

import numpy as np

from rectexport.runtime.api import load
from rectexport.runtime.base.metrics import compare
from rectexport.runtime.base.runner import Array
from rectexport.runtime.engines.backends import AUTO
from rectexport.runtime.errors import BadInput, Option
from rectexport.runtime.package.folder import Package
from rectexport.runtime.serving.signature import Signature
from rectexport.runtime.session import Session

#: Relative L2 that a row may change by in a larger batch: engines use other kernels for other batch sizes.
MIXING_TOLERANCE = 1e-3
WARM_RUNS = 3
Feeds = dict[str, Array]


@dataclass(frozen=True)
class ModelSpec:
    """What a worker needs to open a model; all values fit into JSON."""

    path: str
    backend: str = AUTO
    threads: int = 0
    max_batch: int | None = None
    allow_unproven: bool = False

    def signature(self) -> Signature:
        """The signature from the manifest; no engine is opened. Raises BadInput."""
        manifest = Package.open(self.path).manifest
        return Signature.of(manifest.inputs, manifest.outputs, self.max_batch)


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
        self.signature = spec.signature()
        self.remark = ""
        feeds = self._check_goldens(spec.allow_unproven)
        if self.signature.max_batch:
            self._check_rows(feeds)
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
        tolerance = package.manifest.tolerances.get("relative_l2", MIXING_TOLERANCE)
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

    def _check_rows(self, feeds: Feeds) -> None:
        """Turn batching off when a row's outputs depend on the other rows of its batch."""
        least = max(tensor.bounds[0][0] for tensor in self.signature.inputs.values())
        if 2 * least > self.signature.max_batch:
            self.signature = self.signature.unbatched()
            return
        one = {name: array[:least] for name, array in feeds.items()}
        other = {name: np.ascontiguousarray(array[..., ::-1]) for name, array in one.items()}
        together = self._session.run({name: np.concatenate((one[name], other[name])) for name in one})
        for start, alone in ((0, self._session.run(one)), (least, self._session.run(other))):
            for name, array in alone.items():
                rows = together[name][start : start + least]
                if rows.shape != array.shape or not compare(array, rows).relative_l2 <= MIXING_TOLERANCE:
                    alone_text = f"output {name} of a row depends on the rows beside it: requests are run one by one"
                    self.remark = "; ".join(filter(None, (self.remark, alone_text)))
                    self.signature = self.signature.unbatched()
                    return

    def _warm(self, feeds: Feeds) -> None:
        """Run the goldens, the smallest and the largest batch, so that no client waits for first runs."""
        for _ in range(WARM_RUNS):
            self.run(feeds)
        if self.signature.max_batch:
            least = max(tensor.bounds[0][0] for tensor in self.signature.inputs.values())
            for rows in (self.signature.max_batch, *[least] * WARM_RUNS):
                self.run({name: np.resize(array, (rows, *array.shape[1:])) for name, array in feeds.items()})
