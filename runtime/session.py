"""Session: inference on a loaded package."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from threading import Lock
from types import TracebackType
from typing import Any, NoReturn, final

from rectexport.runtime.arrays.feeds import check_feeds
from rectexport.runtime.arrays.finite import check_finite
from rectexport.runtime.arrays.placing import infer
from rectexport.runtime.arrays.results import ResultCheck
from rectexport.runtime.base.notebook import as_html
from rectexport.runtime.base.runner import Runner, silent
from rectexport.runtime.batching.calls import Joining, SubmittedCalls
from rectexport.runtime.engines.backends import Choice
from rectexport.runtime.errors import BadInput, UsageError
from rectexport.runtime.package.folder import Package
from rectexport.runtime.package.manifest import TensorEntry, describe_tensors
from rectexport.runtime.package.structure import rebuild
from rectexport.runtime.streaming import stream
from rectexport.runtime.tiling.tiled import run_tiled


@final
class Session:
    """Inference on one package. Call it with arrays in the order of its inputs or by name.

    Takes NumPy arrays, PyTorch tensors on the host or a GPU, and CuPy arrays, and returns the same kind. If the engine
    runs on the arrays' device, memory is shared and not copied. Any number of threads may use one session at once.

    >>> with rectexport.load("out/digits") as session:  # doctest: +SKIP
    ...     logits = session(images)
    """

    def __init__(
        self,
        package: Package,
        runner: Runner,
        backend: Choice | None = None,
        *,
        check_finite: bool = False,
        joining: Joining | None = None,
    ) -> None:
        """`backend` records how the runner was chosen; with check_finite, NaN and infinite outputs raise NotFinite.

        `joining` says how submitted calls share runs; None: each has a run of its own.
        """
        self.package = package
        self.backend = backend or Choice("given", runner.description)
        self._runner: Runner | None = runner
        self._check_finite = check_finite
        self._check_results = ResultCheck(package.manifest.inputs, package.manifest.outputs)
        self._joining = joining
        self._submitted: SubmittedCalls | None = None
        self._lock = Lock()
        self._closed = False

    @property
    def inputs(self) -> Sequence[TensorEntry]:
        """Name, dtype, shape and range of each input, in order."""
        return self.package.manifest.inputs

    @property
    def outputs(self) -> Sequence[TensorEntry]:
        """Name, dtype and shape of each output, in order."""
        return self.package.manifest.outputs

    def __call__(self, /, *arrays: Any, **named: Any) -> Any:
        """One array for each input, in order or by name -> what the model's forward returns.

        That is an array, a tuple, a dict, a named tuple (also for a dataclass), or these nested; constants stand where
        forward has them. Raises as `run` does, and BadInput for an input that is given twice or missing.
        """
        return self._returned(self.run(self._feeds(arrays, named)))

    def _returned(self, results: Mapping[str, Any]) -> Any:
        """What forward returns, with these outputs."""
        structure = self.package.manifest.structure
        if structure is not None:
            return rebuild(structure, results)
        outputs = tuple(results[entry.name] for entry in self.outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def _feeds(self, arrays: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
        entries = self.inputs
        if len(arrays) > len(entries) or (len(arrays) < len(entries) and not named):
            names = ", ".join(entry.name for entry in entries)
            raise BadInput(f"expected {len(entries)} input{'s' * (len(entries) != 1)} ({names}), got {len(arrays)}")
        feeds = {entry.name: array for entry, array in zip(entries, arrays, strict=False)}
        if twice := feeds.keys() & named.keys():
            raise BadInput(f"input {sorted(twice)[0]}: given twice, by its place and by its name")
        return {**feeds, **named}

    def run(self, feeds: Mapping[str, Any], out: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Arrays by input name -> arrays of the same library, on the same device, by output name.

        Dtypes and shapes are those of `inputs` and `outputs`. `out` gives arrays to write outputs into, by name; these
        are returned. NaN and infinity pass through.

        Raises BadInput with expected and actual for a wrong name, dtype, rank or size, for arrays of different
        libraries, for a GPU array if the engine does not run on that GPU, and after close(); NotFinite if the session
        was loaded with check_finite.
        """
        runner = self._runner
        if runner is None:
            self._refuse()
        library = check_feeds(self.inputs, feeds)
        results = infer(runner, library, feeds, out or {}, self.outputs)
        self._check_results(library, feeds, results, self.backend.description)
        if self._check_finite:
            check_finite(library, feeds, results)
        return results

    def tiled(
        self,
        image: Any,
        tile: int | Sequence[int],
        batch: int = 1,
        out: Mapping[str, Any] | None = None,
        progress: Callable[[str], None] = silent,
    ) -> Any:
        """The answer to an image of any size, computed tile by tile -> what a call returns.

        It equals the answer to the whole image: tiles overlap by what each output depends on (see docs/tiling.md).
        image and out are NumPy arrays, or anything that is sliced like them, such as memory maps; only `batch` tiles
        are in memory besides them. tile is the size of a tile along the image's axes, or one for each axis, within the
        package's range.

        Raises BadInput for outputs that depend on the whole image, naming the node that makes them so, and UsageError
        for a tile that is too small.
        """
        results = run_tiled(self.run, self.package, image, tile, batch, out, progress)
        return self._returned(results)

    def submit(self, /, *arrays: Any, **named: Any) -> Future[Any]:
        """Call the session on another thread; the future holds the call's result or error.

        Calls with NumPy arrays of equal shape, but for the batch, may share a run: see docs/runtime.md. Do not change
        the arrays until the future is done. Raises BadInput after close().
        """
        with self._lock:
            if self._closed:
                self._refuse()
            if self._submitted is None:
                self._submitted = SubmittedCalls(self.run, self.package, self._joining)
            try:
                feeds = self._feeds(arrays, named)
            except BadInput as error:
                failed: Future[Any] = Future()
                failed.set_exception(error)
                return failed
            return self._submitted.submit(feeds, self._returned)

    def stream(
        self,
        items: Iterable[Any],
        prepare: Callable[[Any], Any] | None = None,
        finish: Callable[[Any], Any] | None = None,
        *,
        workers: int = 1,
        depth: int | None = None,
    ) -> Iterator[Any]:
        """The answers to a stream of items, in its order, while the next items are prepared and the last ones finished.

        prepare makes of an item what a call takes: an array, a tuple of arrays in the order of the inputs, or a dict by
        name; None takes the items as such. finish makes of a call's result what is yielded. Both run on `workers`
        threads beside the one of inference, so they gain where they release the GIL, as NumPy, Pillow and PyTorch do.
        At most `depth` items (default 2 · workers + 2) are in memory.

        An error of an item is raised in the place of its result, and ends the stream. Raises UsageError for workers or
        depth below 1, and BadInput after close().
        """
        if workers < 1 or (depth is not None and depth < 1):
            raise UsageError(f"workers={workers}, depth={depth}: expected at least 1 of each")
        if self._closed:
            self._refuse()
        return stream(self._call_with, items, prepare, finish, workers, depth or 2 * workers + 2)

    def _call_with(self, given: Any) -> Any:
        if isinstance(given, Mapping):
            return self(**given)
        return self(*given) if isinstance(given, tuple) else self(given)

    def close(self) -> None:
        """Wait for submitted calls, then free the engine. Calling it again does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if self._submitted is not None:
            self._submitted.close()
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.close()

    def _refuse(self) -> NoReturn:
        raise BadInput(f"{self.package.path}: the session was closed; load the package again")

    def __repr__(self) -> str:
        state = "closed" if self._closed else self.backend.description
        return f"<Session of {self.package.path}: {describe_tensors(self.inputs, self.outputs)}; {state}>"

    def _repr_html_(self) -> str | None:
        return as_html("session", self)

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._closed

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
