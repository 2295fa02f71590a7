"""Collects TensorRT's log messages and turns them into errors."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from functools import cache
from typing import Any, final

from rectexport.runtime.engines.tensorrt.versions import Api
from rectexport.runtime.errors import BadInput, DeviceError, MissingDependency, RectexportError

#: How many of the last messages are kept.
_KEPT = 50
_MEMORY = re.compile(
    r"out ?of ?memory|insufficient memory|OutOfMemory|cudaErrorMemoryAllocation|CUDA.* failure.*: 2\b", re.I
)
#: cudaErrorInsufficientDriver.
_DRIVER = re.compile(r"CUDA initialization failure with error: 35|insufficient for CUDA runtime", re.I)
_NO_DEVICE = re.compile(r"CUDA initialization failure with error: 100|no CUDA-capable device", re.I)
#: The first line of a parser's error, "Invalid Node - conv_3": the node is named by the error's other fields.
_NODE_LINE = re.compile(r"Invalid Node - ")
_CONSEQUENCE = re.compile(r"\[checkMacros\.cpp::catchCudaError")
_WORKSPACE = re.compile(r"could not find any implementation|insufficient workspace", re.I)


@final
class LogMessages:
    """TensorRT's errors and warnings from creation until stop()."""

    def __init__(self, api: Api) -> None:
        self.logger = _logger(api.module)
        self.errors: deque[str] = deque(maxlen=_KEPT)
        self.warnings: deque[str] = deque(maxlen=_KEPT)
        self.logger.listeners.append(self)

    def stop(self) -> None:
        """Stop collecting messages."""
        if self in self.logger.listeners:
            self.logger.listeners.remove(self)

    def __enter__(self) -> LogMessages:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@cache
def _logger(trt: Any) -> Any:
    """The only logger of this process: TensorRT uses the first one that it is given for everything. Prints nothing."""

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.listeners: list[LogMessages] = []

        def log(self, severity: Any, message: str) -> None:
            kinds = trt.ILogger.Severity
            for listener in tuple(self.listeners):
                if severity in (kinds.INTERNAL_ERROR, kinds.ERROR):
                    listener.errors.append(message)
                elif severity == kinds.WARNING:
                    listener.warnings.append(message)

    return Logger()


def explain(what: str, api: Api, messages: Iterable[str]) -> RectexportError:
    """The error for a failed step: with a remedy for known causes, otherwise TensorRT's own message."""
    lines = [line for entry in messages for line in entry.splitlines()]
    text = "\n".join([line for line in lines if not _CONSEQUENCE.match(line)] or lines)
    said = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no reason given")[:400]
    version = f"TensorRT {api.text}"
    if _DRIVER.search(text):
        return MissingDependency(
            f"the NVIDIA driver is too old for {version}; update it (nvidia-smi shows its version)"
        )
    if _NO_DEVICE.search(text):
        return MissingDependency(f"no GPU: {version} finds none; check CUDA_VISIBLE_DEVICES and nvidia-smi")
    if _MEMORY.search(text):
        return DeviceError(
            f"{what}: out of GPU memory ({said}); free the GPU, set a smaller workspace limit, or lower the largest "
            "shapes of the profiles"
        )
    if _WORKSPACE.search(text):
        return DeviceError(
            f"{what}: {version} found no way to run a layer ({said}); raise --workspace, or leave it out to allow "
            "all of the GPU's memory"
        )
    return BadInput(f"{what}: {version} refuses: {said}")


def parser_error(path: object, api: Api, parser: Any, messages: Iterable[str]) -> RectexportError:
    """The error for an ONNX file that the parser refuses: the node, the reason, and what to do."""
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    if not errors:
        return explain(f"{path}", api, messages)
    error = errors[0]
    node = _text(error, "node_name") or f"number {_text(error, 'node')}"
    operator = _text(error, "node_operator")
    which = f"node {node} ({operator})" if operator else f"node {node}"
    reason = _cause(_text(error, "desc") or str(error))
    return BadInput(
        f"{path}, {which}: TensorRT {api.text} does not support it: {reason}. Export with another opset or "
        "rectify form, replace the operator, or run this package on ONNX Runtime"
    )


def _cause(description: str) -> str:
    """What a parser's error says: its lines without the node, which comes first, and without consequences.

    Without a GPU, a failed check of shapes adds a line that the driver is too old, which is not the cause.
    """
    lines = [line.strip() for line in description.splitlines() if line.strip()]
    telling = [line for line in lines if not _NODE_LINE.match(line) and not _CONSEQUENCE.match(line)]
    return " ".join(telling or lines or ["no reason given"])[:400]


def _text(error: Any, name: str) -> str:
    """A property that newer parsers have; empty if this one lacks it."""
    value = getattr(error, name, None)
    return str(value()) if value is not None else ""
