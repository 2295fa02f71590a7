"""What `import rectexport` offers where a package is deployed."""

from __future__ import annotations

from pathlib import Path

from rectexport.runtime.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.package import Package
from rectexport.runtime.session import Session
from rectexport.runtime.signing import check_signature

__all__ = ["Package", "Session", "load"]


def load(path: str | Path, *, threads: int = 0, require_signature: str | Path | None = None) -> Session:
    """Open a package, check every file against its sha256, and make it ready on ONNX Runtime's CPU provider.

    threads 0 lets ONNX Runtime choose. require_signature is a public key: the package must be signed with its
    private half (rectexport sign). Raises BadInput for a folder that is not a whole package, or not signed so, and
    MissingDependency when onnxruntime, or cryptography for the signature, is not installed.
    """
    package = Package.open(path)
    if require_signature is not None:
        check_signature(package, require_signature)
    package.verify_files()
    return Session(package, OnnxRuntimeRunner(package.model_file, threads=threads))
