"""The program of a timing process for a file on an engine as the engine's own documentation opens it: no settings.

Started as `python -m benchmarks.default_worker SPEC`; see rectexport.runtime.timing.worker. SPEC holds

    model, engine   an ONNX file; onnxruntime or openvino
    session         options of ONNX Runtime's session that another tool has chosen, as Olive names them
    inputs          as for every worker
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from rectexport.runtime.base.runner import Array
from rectexport.runtime.timing.models import HostModel
from rectexport.runtime.timing.worker import serve


@final
class DefaultRunner:
    """A file in its engine; the spec has its inputs."""

    inputs = outputs = ()

    def __init__(self, spec: Mapping[str, Any]) -> None:
        open_file = _openvino if spec["engine"] == "openvino" else _onnxruntime
        self.description, self._run = open_file(spec["model"], spec.get("session") or {})

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return self._run(feeds)

    def close(self) -> None:
        self._run = None


def session_options(asked: Mapping[str, Any]) -> Any:
    """ONNX Runtime's object for options as Olive names them; what is not asked stays at its default."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    kinds = {"execution_mode": ort.ExecutionMode, "graph_optimization_level": ort.GraphOptimizationLevel}
    for name, value in asked.items():
        if name == "extra_session_config":
            for key, text in (value or {}).items():
                options.add_session_config_entry(key, text)
        elif value is not None:
            setattr(options, name, kinds[name](value) if name in kinds else value)
    return options


def _onnxruntime(model: str, asked: Mapping[str, Any]) -> tuple[str, Any]:
    import onnxruntime as ort

    session = ort.InferenceSession(model, session_options(asked), providers=["CPUExecutionProvider"])
    return f"ONNX Runtime {ort.__version__}", lambda feeds: session.run(None, dict(feeds))


def _openvino(model: str, asked: Mapping[str, Any]) -> tuple[str, Any]:
    import openvino

    compiled = openvino.Core().compile_model(model, "CPU")
    return f"OpenVINO {openvino.__version__.partition('-')[0]}", lambda feeds: compiled(dict(feeds))


if __name__ == "__main__":
    serve(lambda spec: HostModel(DefaultRunner(spec)))
