"""ONNX Runtime on an NVIDIA GPU; a model that would partly run on the CPU is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, final

from rectexport.runtime.base.engine_errors import CLOSED, first_line, shown
from rectexport.runtime.base.environment import require
from rectexport.runtime.base.runner import Allocate, Array, BackendOptions, DeviceArray, TensorSpec
from rectexport.runtime.base.temporary import scratch_folder
from rectexport.runtime.engines.cuda import libraries as cuda_libraries
from rectexport.runtime.engines.cuda.bindings import CudaBindings
from rectexport.runtime.engines.cuda.graphs import NO_GRAPH, CudaGraphs, run_options
from rectexport.runtime.engines.cuda.libraries import PROVIDER
from rectexport.runtime.engines.cuda.placement import astray, read_profile
from rectexport.runtime.engines.onnxruntime_runner import spec_of
from rectexport.runtime.engines.warm_up import warm_up_shapes, zeros
from rectexport.runtime.errors import BadInput, MissingDependency
from rectexport.runtime.package.folder import Package

#: How many nodes an error names; the rest are counted.
NAMED = 5
T = TypeVar("T")


@final
class CudaRunner:
    """Runs a package's model file on ONNX Runtime's CUDA provider; float32 nodes compute in float32, not TF32.

    Opening makes one run with a profile to see where every node runs. Raises MissingDependency if there is no such GPU
    or the provider does not load, and BadInput if the model is refused or a node that does more than compute shapes
    runs on the CPU.
    """

    def __init__(self, package: Package, options: BackendOptions) -> None:
        reason = cuda_libraries.no_gpu(options.device)
        if reason:
            raise MissingDependency(f"backend cuda: {reason}")
        ort = require("onnxruntime")
        cuda_libraries.preload(ort)
        self._device = options.device
        self._description = f"ONNX Runtime {ort.__version__}, CUDA device {options.device}"
        with scratch_folder() as folder:
            self._session: Any = _open(ort, package, options, f"{folder}/profile")
            self._inputs = [spec_of(value) for value in self._session.get_inputs()]
            self._outputs = [spec_of(value) for value in self._session.get_outputs()]
            options.progress("one run with a profile, to see where each node runs")
            self._refuse_cpu_nodes(ort, package, options)
        self._engine: CudaBindings | CudaGraphs | None = (
            CudaGraphs(ort, self._session, self._outputs, self._device)
            if options.cuda_graphs
            else CudaBindings(self._session, self._outputs, self._device)
        )

    @property
    def description(self) -> str:
        return self._description

    @property
    def device(self) -> int:
        return self._device

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        return self._inputs

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        return self._outputs

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return self._checked(lambda engine: engine.run(feeds), feeds)

    def run_on_device(self, feeds: Mapping[str, DeviceArray], allocate: Allocate) -> None:
        self._checked(lambda engine: engine.run_on_device(feeds, allocate), feeds)

    def close(self) -> None:
        engine, self._engine = self._engine, None
        if isinstance(engine, CudaGraphs):
            engine.close()
        self._session = None

    def _checked(self, run: Callable[[CudaBindings | CudaGraphs], T], feeds: Mapping[str, Any]) -> T:
        engine = self._engine
        if engine is None:
            raise BadInput(CLOSED)
        try:
            return run(engine)
        except BadInput:
            raise
        except Exception as error:
            raise BadInput(f"{self._description} could not run with {shown(feeds)}: {first_line(error)}") from None

    def _refuse_cpu_nodes(self, ort: Any, package: Package, options: BackendOptions) -> None:
        shapes = next(warm_up_shapes(package.manifest), None)
        feeds = package.goldens()[0] if shapes is None else zeros(package.manifest, shapes)
        plain = run_options(ort, NO_GRAPH) if options.cuda_graphs else None
        try:
            CudaBindings(self._session, self._outputs, self._device, plain).run(feeds)
        except Exception as error:
            raise BadInput(f"{self._description} could not run with {shown(feeds)}: {first_line(error)}") from None
        nodes = astray(read_profile(Path(self._session.end_profiling())), PROVIDER)
        if nodes:
            named = ", ".join(f"{node.name} ({node.operator})" for node in nodes[:NAMED])
            more = f" and {len(nodes) - NAMED} more" if len(nodes) > NAMED else ""
            count = f"{len(nodes)} node{'s' * (len(nodes) != 1)}"
            raise BadInput(
                f"{package.model_for('cuda')}: {self._description}: {count} would run on the CPU: {named}{more}; "
                "the CUDA provider has no kernel for them: export with another target or precision, or load with "
                "backend='onnxruntime' for the CPU"
            )


def _open(ort: Any, package: Package, options: BackendOptions, profile: str) -> Any:
    """An onnxruntime.InferenceSession with the CUDA provider. Raises as CudaRunner does."""
    settings = ort.SessionOptions()
    settings.log_severity_level = 3
    settings.enable_profiling = True
    settings.profile_file_prefix = profile
    providers = [(PROVIDER, _provider_options(package, options)), "CPUExecutionProvider"]
    try:
        session = ort.InferenceSession(str(package.model_for("cuda")), settings, providers=providers, enable_fallback=0)
    except Exception as error:
        reason = cuda_libraries.provider_fault(ort)
        if reason:
            raise MissingDependency(_not_loaded(ort, reason)) from None
        name = f"{package.model_for('cuda')}: ONNX Runtime {ort.__version__}, CUDA"
        raise BadInput(f"{name}, refuses it: {first_line(error)}") from None
    session.disable_fallback()
    if PROVIDER not in session.get_providers():
        raise MissingDependency(_not_loaded(ort, cuda_libraries.provider_fault(ort) or "it gives no reason"))
    return session


def _not_loaded(ort: Any, reason: str) -> str:
    return (
        f"backend cuda: ONNX Runtime {ort.__version__} cannot load its CUDA provider and would use the CPU: {reason}; "
        "install the CUDA and cuDNN that it was built for: pip install 'onnxruntime-gpu[cuda,cudnn]'"
    )


def _provider_options(package: Package, options: BackendOptions) -> dict[str, str]:
    """Options of the CUDA provider.

    The search through all cuDNN algorithms is repeated at every new size, so it only pays for static sizes.
    """
    dynamic = any(isinstance(size, str) for entry in package.manifest.inputs for size in entry.shape)
    return {
        "device_id": str(options.device),
        "use_tf32": "0",
        "prefer_nhwc": str(int(options.prefer_nhwc)),
        "enable_cuda_graph": str(int(bool(options.cuda_graphs))),
        "cudnn_conv_algo_search": "HEURISTIC" if dynamic else "EXHAUSTIVE",
        "arena_extend_strategy": "kSameAsRequested" if dynamic else "kNextPowerOfTwo",
    }
