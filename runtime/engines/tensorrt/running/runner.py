"""Runs a package's plan on TensorRT."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import numpy as np

from rectexport.runtime.base.runner import Array, BackendOptions, TensorSpec
from rectexport.runtime.base.shapes import Shape, format_shape
from rectexport.runtime.engines.tensorrt import cuda, profiles, versions
from rectexport.runtime.engines.tensorrt.building.building import default_options, ensure_plan, plugins_of
from rectexport.runtime.engines.tensorrt.building.rtx import engines_of
from rectexport.runtime.engines.tensorrt.plans import Plan, find_plan, this_machine
from rectexport.runtime.engines.tensorrt.running.engine import Engine
from rectexport.runtime.engines.tensorrt.running.lane import Lane, Shapes
from rectexport.runtime.engines.tensorrt.running.rtx import open_rtx_engine
from rectexport.runtime.engines.tensorrt.versions import Api
from rectexport.runtime.errors import BadInput, MissingDependency, UsageError
from rectexport.runtime.package.folder import Package

#: How many idle lanes are kept for shapes seen before; each holds its activations and its graph.
MAX_IDLE = 8


def open_runner(package: Package, options: BackendOptions | None = None, *, graphs: bool = True) -> TensorRTRunner:
    """Load the package's plan for this machine; with options.rebuild, build one if none fits.

    Where TensorRT is not installed, or the package has no plan for it, TensorRT for RTX takes its place if it is
    installed and the package has an engine for it. graphs=False, or cuda_graphs=False in the options, launches kernel
    by kernel instead of as a CUDA graph.

    Raises MissingDependency where no TensorRT is installed or no GPU is found, UsageError for a device other than 0,
    and BadInput that lists all mismatches when no plan fits and none may be built, or when a plan's hash is not the
    manifest's.
    """
    options = options or BackendOptions()
    graphs = graphs and options.cuda_graphs is not False
    if options.device:
        raise UsageError(
            f"TensorRT runs on the first visible GPU: set CUDA_VISIBLE_DEVICES={options.device} and use device=0"
        )
    api = versions.load_any()
    if api.rtx:
        return _open_rtx(package, api, options, graphs)
    plugins = plugins_of(package, tuple(Path(path) for path in options.plugins))
    try:
        plan = find_plan(package, this_machine(api), plugins)
    except BadInput as error:
        if not options.rebuild:
            return _open_rtx(package, _rtx_instead(package, error), options, graphs)
        wanted = replace(default_options(package), plugins=plugins)
        built = ensure_plan(package.path, wanted, api, report=options.progress)
        package, plan = built.package, built.plan
    engine, core = _load(package, plan, api, plugins), plan.dla_core
    where = cuda.driver().gpu if core is None else f"DLA core {core}"
    return TensorRTRunner(package, engine, f"TensorRT {api.text}, {where}", graphs=graphs and core is None)


def _load(package: Package, plan: Plan, api: Api, plugins: Sequence[Path]) -> Engine:
    options, name = plan.entry["options"], f"{package.path / plan.file}"
    engine = Engine(plan.read(package), api, name, plugins, options["version_compatible"], plan.dla_core)
    if options["strip_plan"]:
        engine.refit(package.model_for("tensorrt"))
    return engine


def _rtx_instead(package: Package, error: BadInput) -> Api:
    """TensorRT for RTX if it works here and the package has an engine for it. Raises the error otherwise."""
    if not engines_of(package):
        raise error
    try:
        return versions.load_rtx()
    except MissingDependency:
        raise error from None


def _open_rtx(package: Package, api: Api, options: BackendOptions, graphs: bool) -> TensorRTRunner:
    engine = open_rtx_engine(package, api, options)
    return TensorRTRunner(package, engine, f"TensorRT {api.text}, {cuda.driver().gpu}", graphs=graphs)


@final
class TensorRTRunner:
    """An engine and its lanes: one for each concurrent run, kept for the shapes that it was last bound to.

    graphs: launch an inference as one CUDA graph from the second run at a shape on.
    """

    def __init__(self, package: Package, engine: Engine, description: str, *, graphs: bool = True) -> None:
        self._engine: Engine | None = engine
        self._graphs = graphs
        self._idle: list[Lane] = []
        self._lock = threading.Lock()
        self._description = description
        manifest = package.manifest
        self._inputs = [TensorSpec(entry.name, entry.dtype, entry.shape) for entry in manifest.inputs]
        self._outputs = [TensorSpec(entry.name, entry.dtype, entry.shape) for entry in manifest.outputs]
        self._dtypes = {spec.name: np.dtype(spec.dtype) for spec in (*engine.inputs, *engine.outputs)}

    @property
    def description(self) -> str:
        return self._description

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        return self._inputs

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        return self._outputs

    @property
    def device(self) -> int:
        """The GPU's index: always the first that is visible."""
        return 0

    def make_profiler(self, report: Callable[[str, float], None]) -> Any:
        """An IProfiler that calls `report` with each layer's name and milliseconds."""
        base: Any = self._open().profiler_base

        class Profiler(base):
            def __init__(self) -> None:
                base.__init__(self)

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                report(layer_name, ms)

        return Profiler()

    def layers(self) -> str:
        """The engine inspector's JSON."""
        return self._open().inspect()

    def converted(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The arrays as a lane takes them: dense, in the engine's dtypes."""
        return {name: np.asarray(array, self._dtypes[name], order="C") for name, array in feeds.items()}

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        ready = self.converted(feeds)
        with self.lane({name: array.shape for name, array in ready.items()}) as lane:
            results = lane.run(ready)
        # TensorRT before 10 has no int64; convert to the model's dtypes.
        return {spec.name: results[spec.name].astype(spec.dtype, copy=False) for spec in self._outputs}

    def run_on_device(self, feeds: Mapping[str, Any], allocate: Callable[[str, Shape, str], Any]) -> None:
        """Infer once on arrays of this GPU, which have `pointer`, `shape` and `dtype`, without copies.

        Calls `allocate` (name, shape, dtype) for the array of every output. Raises BadInput for a dtype that is not
        the engine's.
        """
        for name, array in feeds.items():
            if np.dtype(array.dtype) != self._dtypes[name]:
                raise BadInput(f"input {name}: the engine takes {self._dtypes[name]} on the GPU, got {array.dtype}")
        kept: list[Any] = []

        def address(name: str, shape: Shape, dtype: str) -> int:
            kept.append(allocate(name, shape, dtype))
            return int(kept[-1].pointer)

        with self.lane({name: tuple(array.shape) for name, array in feeds.items()}) as lane:
            lane.run_in_place({name: array.pointer for name, array in feeds.items()}, address)

    @contextmanager
    def lane(self, shapes: Shapes) -> Iterator[Lane]:
        """A lane bound to these shapes, used only by this thread while the block runs; closed after an error.

        Raises BadInput for shapes that no profile contains.
        """
        engine = self._open()
        profile = profiles.choose(engine.profiles, shapes)
        if profile is None:
            asked = ", ".join(f"{name} {format_shape(shape)}" for name, shape in shapes.items())
            built = " or ".join(profiles.describe(entry) for entry in engine.profiles)
            raise BadInput(f"{asked}: the plan was built for {built}; build it again with --profile {_flag(shapes)}")
        with cuda.driver().active():
            lane = self._take(shapes) or Lane(engine, self._graphs)
            try:
                if lane.shapes != shapes:
                    lane.bind(profile, shapes)
                yield lane
            except BaseException:
                lane.close()
                raise
            self._give_back(lane)

    def _take(self, shapes: Shapes) -> Lane | None:
        """An idle lane: one with these shapes, else the longest idle one if MAX_IDLE are kept, else None."""
        with self._lock:
            for index in reversed(range(len(self._idle))):
                if self._idle[index].shapes == shapes:
                    return self._idle.pop(index)
            return self._idle.pop(0) if len(self._idle) >= MAX_IDLE else None

    def _give_back(self, lane: Lane) -> None:
        with self._lock:
            keep = self._engine is not None and len(self._idle) < MAX_IDLE
            if keep:
                self._idle.append(lane)
        if not keep:
            lane.close()

    def _open(self) -> Engine:
        if self._engine is None:
            raise BadInput("the model was closed; load it again")
        return self._engine

    def close(self) -> None:
        with self._lock:
            engine, self._engine = self._engine, None
            lanes, self._idle = self._idle, []
        if engine is not None:
            with cuda.driver().active():
                for lane in lanes:
                    lane.close()
            engine.close()


def _flag(shapes: Shapes) -> str:
    return ",".join(f"{name}:{format_shape(shape)}" for name, shape in shapes.items())
