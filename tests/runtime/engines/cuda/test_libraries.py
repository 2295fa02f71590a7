"""Missing parts of CUDA are named: the driver, the GPU, the provider, one of its libraries."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rectexport.runtime.engines.cuda import libraries as cuda_libraries
from rectexport.runtime.engines.cuda.libraries import no_gpu, no_provider, preload, provider_fault


def driver(count: int, code: int = 0) -> Any:
    """A libcuda with `count` GPUs."""

    def get_count(reference: Any) -> int:
        reference._obj.value = count
        return 0

    return SimpleNamespace(cuInit=lambda flags: code, cuDeviceGetCount=get_count)


@pytest.mark.parametrize(
    ("library", "device", "said"),
    [
        (driver(1), 0, None),
        (driver(2), 1, None),
        (driver(1), 1, "no GPU 1: the NVIDIA driver finds 1"),
        (driver(0), 0, "no GPU 0: the NVIDIA driver finds 0"),
        (driver(1, code=100), 0, "the NVIDIA driver finds no usable GPU (CUresult 100)"),
    ],
)
def test_driver_errors_are_reported(
    monkeypatch: pytest.MonkeyPatch, library: Any, device: int, said: str | None
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert no_gpu(device) == said


def test_a_missing_driver_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_libraries, "DRIVER", "libcuda-is-not-called-so.so.1")
    said = no_gpu()
    assert said is not None and said.startswith("no NVIDIA driver (libcuda-is-not-called-so.so.1")


def test_a_build_without_the_provider() -> None:
    ort = SimpleNamespace(__version__="1.2", get_available_providers=lambda: ["CPUExecutionProvider"])
    said = no_provider(ort)
    assert said is not None and said.startswith("this build of ONNX Runtime 1.2 has no CUDA provider; pip uninstall")
    ort.get_available_providers = lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert no_provider(ort) is None


def test_the_library_that_does_not_load_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ort = SimpleNamespace(__file__=str(tmp_path / "__init__.py"))
    said = provider_fault(ort)
    assert said is not None and "onnxruntime_providers_shared" in said  # it is not there at all
    loaded = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name, mode: loaded.append(Path(name).name))
    assert provider_fault(ort) is None
    assert [name.partition(".")[0].removeprefix("lib") for name in loaded] == [
        "onnxruntime_providers_shared",
        "onnxruntime_providers_cuda",
    ]


def test_loading_libraries_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    preload(SimpleNamespaceHash(preload_dlls=lambda: print("Failed to load libcudart.so.12")))
    preload(SimpleNamespaceHash())
    assert capsys.readouterr().out == ""


class SimpleNamespaceHash(SimpleNamespace):
    __hash__ = object.__hash__
