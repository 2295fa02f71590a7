"""Takes trained PyTorch CNNs to verified inference on ONNX Runtime, OpenVINO and TensorRT.

Importing this package imports nothing else: a public name is looked up in its module on first use,
so that a machine without PyTorch or ONNX can run what another machine has exported.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = [
    "Int8",
    "Package",
    "PassPipeline",
    "RectexportError",
    "Session",
    "compare",
    "evaluate",
    "export",
    "load",
    "load_model",
    "optimize",
    "profile",
    "register_adapter",
    "tune",
]

_HOME = {
    "export": "rectexport.exporter.api",
    "compare": "rectexport.exporter.compare",
    "Int8": "rectexport.exporter.base.options",
    "Package": "rectexport.runtime.api",
    "Session": "rectexport.runtime.api",
    "load": "rectexport.runtime.api",
    "evaluate": "rectexport.runtime.evaluation.evaluate",
    "load_model": "rectexport.exporter.api",
    "optimize": "rectexport.exporter.optimize",
    "profile": "rectexport.runtime.profiling.profile",
    "tune": "rectexport.exporter.tuning.tune",
    "PassPipeline": "rectexport.exporter.passes",
    "register_adapter": "rectexport.exporter.frontend.adapt",
    "RectexportError": "rectexport.runtime.errors",
}

if TYPE_CHECKING:
    from rectexport.exporter.api import export, load_model
    from rectexport.exporter.base.options import Int8
    from rectexport.exporter.compare import compare
    from rectexport.exporter.frontend.adapt import register_adapter
    from rectexport.exporter.optimize import optimize
    from rectexport.exporter.passes import PassPipeline
    from rectexport.exporter.tuning.tune import tune
    from rectexport.runtime.api import Package, Session, load
    from rectexport.runtime.errors import RectexportError
    from rectexport.runtime.evaluation.evaluate import evaluate
    from rectexport.runtime.profiling.profile import profile
else:

    def __getattr__(name):
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(_HOME[name]), name)
        return value

    def __dir__():
        return sorted({*globals(), *_HOME})
