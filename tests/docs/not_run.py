"""Commands and programs of the documents that no test runs, and why."""

from __future__ import annotations

GPU = "needs an NVIDIA GPU or TensorRT"
NETWORK = "installs from the network"
DOCKER = "needs Docker"
RAY = "needs Ray, which tests/runtime/serving/ray covers"
OTHER = "runs on another machine than the one before it"
OF_ALL = "runs in the clone itself: all tests, or what docs/start.md and the tutorial of int8 do"
NATIVE = "needs a compiler and TensorRT's headers; make native covers it"
OF_GPU_KIT = "writes docs/gpu of the clone; tests/test_gpu_kit.py covers it"

#: (document, beginning of the command or program, reason). A test checks that each is found.
NOT_RUN: tuple[tuple[str, str, str], ...] = (
    ("README.md", "make demo", OF_ALL),
    ("README.md", "make test", OF_ALL),
    ("README.md", "pip install", NETWORK),
    ("docs/start.md", "pip install torch", NETWORK),
    ("docs/start.md", "pip install '.[export", NETWORK),
    ("docs/tutorials/tensorrt.md", "pip install", NETWORK),
    ("docs/tutorials/tensorrt.md", "rectexport build", GPU),
    ("docs/tutorials/tensorrt.md", "rectexport verify", GPU),
    ("docs/tutorials/tensorrt.md", "rectexport bench", GPU),
    ("docs/tutorials/tensorrt.md", 'import numpy as np\nimport rectexport\n\nwith rectexport.load("out/gpu"', GPU),
    ("docs/plugin.md", "cmake", NATIVE),
    ("docs/plugin.md", "ls ", NATIVE),
    ("docs/plugin.md", "TENSORRT_INCLUDE_DIR", NETWORK),
    ("docs/plugin.md", "import tensorrt", GPU),
    ("docs/scaling.md", "pip install", NETWORK),
    ("docs/scaling.md", "rectexport serve", RAY),
    ("docs/scaling.md", "rectexport ray-config", OTHER),
    ("docs/scaling.md", "export RAY", RAY),
    ("docs/scaling.md", "ray start", RAY),
    ("docs/serving.md", "pip install", NETWORK),
    ("docs/serving.md", "docker", DOCKER),
    ("docs/serving.md", "OTEL_", OTHER),
    ("docs/tensorrt.md", "rectexport net.pt --trt", GPU),
    ("docs/tensorrt.md", "rectexport build", GPU),
    ("docs/tensorrt.md", "sudo apt", OTHER),
    ("docs/tensorrt.md", "python3 -m venv", OTHER),
    ("docs/tensorrt.md", "env/bin", OTHER),
    ("docs/tensorrt.md", "scp", OTHER),
    ("docs/tensorrt.md", "/usr/src", GPU),
    ("docs/tensorrt.md", "pip install", NETWORK),
    ("docs/tensorrt.md", "rectexport net.pt --rtx", GPU),
    ("docs/tensorrt.md", "make gpu", GPU),
    ("docs/tensorrt.md", "GPU_DRY", OF_GPU_KIT),
)


def reason(document: str, text: str) -> str | None:
    """Why a step of a document is not run, or None."""
    return next((why for page, begin, why in NOT_RUN if page == document and text.startswith(begin)), None)
