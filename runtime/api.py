"""The deployment API: `rectexport.load`, `Package` and `Session`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rectexport.runtime.base.environment import usable_cores
from rectexport.runtime.base.logs import logged
from rectexport.runtime.base.runner import BackendOptions, silent
from rectexport.runtime.batching.calls import MAX_BATCH, MAX_DELAY, WORKERS, Joining
from rectexport.runtime.engines.backends import AUTO, choose_backend
from rectexport.runtime.engines.warm_up import warm_up as run_warm_up
from rectexport.runtime.errors import UsageError
from rectexport.runtime.layouts import AUTO_LAYOUT
from rectexport.runtime.package.folder import Package
from rectexport.runtime.package.signing import check_signature
from rectexport.runtime.session import Session

__all__ = ["Package", "Session", "load"]


def load(
    path: str | Path,
    backend: str = AUTO,
    *,
    device: int = 0,
    threads: int = 0,
    streams: int = 0,
    check_finite: bool = False,
    warm_up: bool = True,
    progress: Callable[[str], None] = silent,
    prefer_nhwc: bool = False,
    cuda_graphs: bool | None = None,
    layout: str = AUTO_LAYOUT,
    rebuild: bool = False,
    plugins: Sequence[str | Path] = (),
    model: Any = None,
    allow_unproven: bool = False,
    require_signature: str | Path | None = None,
    max_batch: int = MAX_BATCH,
    max_delay: float = MAX_DELAY,
) -> Session:
    """Open a package, check every file against its sha256, and load it into an inference engine.

    path         folder of the package
    backend      "tensorrt", "cuda", "openvino", "onnxruntime", or "auto": the first of these that is available;
                 session.backend says which, and why the ones before it were not taken. "torch" runs `model` instead
                 of the file
    device       index of the GPU, for cuda and tensorrt
    threads      threads of the CPU engines; 0 lets the engine choose
    streams      for openvino: how many calls run at the same time, each with its share of the threads; 0 for one
    check_finite raise NotFinite when an output holds NaN or infinity
    warm_up      run the usual, the smallest and, if cheap, the largest shape, so that the first call is not slower
    progress     called with a line of text before each step; the logger "rectexport" has the lines at INFO
    prefer_nhwc  for cuda; see docs/runtime.md
    cuda_graphs  for tensorrt and cuda; None: TensorRT has them, cuda does not; see docs/runtime.md
    layout       for onnxruntime: "plain" keeps tensors in NCHW where ONNX Runtime would take a blocked layout
    rebuild      for tensorrt: build a plan if the package has none that fits this machine; see docs/tensorrt.md
    plugins      for tensorrt: plugin libraries besides the package's own
    model        for backend="torch": the module to run, in eval mode
    allow_unproven  run an engine although its answers disagree with the source model's
    require_signature  path of a public key: the package must be signed with its private key (rectexport sign)
    max_batch    most rows of submitted calls that share one run, where rows are independent; 1: no call shares one
    max_delay    seconds that a submitted call may wait for others to share a run with, while calls keep arriving

    Raises BadInput for a folder that is not a complete package, a missing or wrong signature, or a model that the
    engine refuses; UsageError for an unknown backend or layout, a max_batch below 1 or a max_delay below 0;
    MissingDependency if this machine lacks the backend, or cryptography when a signature is required.
    """
    if max_batch < 1 or max_delay < 0:
        raise UsageError(f"max_batch={max_batch}, max_delay={max_delay}: expected at least 1, and at least 0 seconds")
    progress = logged(progress)
    package = Package.open(path)
    if require_signature is not None:
        check_signature(package, require_signature)
    progress(f"checking {len(package.manifest.files)} files")
    package.verify_files()
    options = BackendOptions(
        device=device,
        threads=threads,
        streams=streams,
        prefer_nhwc=prefer_nhwc,
        cuda_graphs=cuda_graphs,
        layout=layout,
        rebuild=rebuild,
        plugins=plugins,
        model=model,
        allow_unproven=allow_unproven,
        progress=progress,
    )
    runner, choice = choose_backend(package, backend, options)
    progress(f"opened on {choice.description}")
    try:
        if warm_up:
            run_warm_up(runner, package.manifest, progress)
    except BaseException:
        runner.close()
        raise
    joining = Joining(max_batch, max_delay, _runs_at_once(threads, streams)) if max_batch > 1 else None
    return Session(package, runner, choice, check_finite=check_finite, joining=joining)


def _runs_at_once(threads: int, streams: int) -> int:
    """How many joined runs an engine should have at the same time: as many as its threads leave cores for."""
    if streams or not threads:
        return max(streams, 1)
    return max(1, min(usable_cores() // threads, WORKERS))
