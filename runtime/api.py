"""What `import rectexport` offers where a package is deployed."""

from __future__ import annotations

from pathlib import Path

from rectexport.runtime.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.package import Package
from rectexport.runtime.session import Session

__all__ = ["Package", "Session", "load"]


def load(path: str | Path, *, threads: int = 0) -> Session:
    """Open a package, check every file against its sha256, and make it ready on ONNX Runtime's CPU provider.

    threads 0 lets ONNX Runtime choose. Raises BadInput for a folder that is not a whole package and
    MissingDependency when onnxruntime is not installed.
    """
    package = Package.open(path)
    package.verify_files()
    return Session(package, OnnxRuntimeRunner(package.model_file, threads=threads))
