"""The installed TensorRT, and each reason why it cannot be used."""

from __future__ import annotations

import ctypes
import sys
from types import ModuleType

import pytest

from rectexport.runtime.engines.tensorrt import cuda, versions
from rectexport.runtime.errors import MissingDependency
from tests.runtime.engines.tensorrt.fake_cuda import FakeCuda
from tests.runtime.engines.tensorrt.machines import Machine


def test_a_complete_machine_lacks_nothing(every_version: Machine) -> None:
    assert versions.absence() is None


def test_plans_need_tensorrt_itself_and_polygraphy(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("polygraphy")
    assert versions.no_plans() is None
    with monkeypatch.context() as change:
        change.setitem(sys.modules, "polygraphy", None)
        assert "polygraphy" in str(versions.no_plans())
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", rtx())
    assert versions.absence() is None and str(versions.no_plans()).startswith("TensorRT cannot be imported here (")


def rtx() -> ModuleType:
    module = ModuleType("tensorrt_rtx")
    module.__version__ = "1.7.1"  # type: ignore[attr-defined]
    return module


def test_a_missing_tensorrt_is_reported(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    reason = versions.absence()
    assert reason is not None and reason.startswith("TensorRT cannot be imported here (")
    assert "pip install 'rectexport[gpu]'" in reason and "--system-site-packages" in reason


def test_a_tensorrt_that_is_too_old_is_refused(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("tensorrt")
    module.__version__ = "8.5.3.1"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    assert versions.absence() is not None and "TensorRT 8.5.3.1 is too old: 8.6, 10.x and 11.x" in str(
        versions.absence()
    )


def test_a_missing_driver_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    cuda.driver.cache_clear()
    with pytest.raises(MissingDependency, match=r"no NVIDIA driver: libcuda.so.1 cannot be loaded; .* --gpus all"):
        cuda.driver()


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (100, "no GPU: the NVIDIA driver is installed but finds none; check CUDA_VISIBLE_DEVICES"),
        (803, "the NVIDIA driver is too old for the CUDA libraries that are installed beside it"),
        (999, "the NVIDIA driver does not start"),
    ],
)
def test_a_driver_that_does_not_start(status: int, reason: str) -> None:
    fake = FakeCuda()
    fake.status = status
    with pytest.raises(MissingDependency) as refused:
        cuda.Driver(fake)
    assert str(refused.value).startswith(reason) and refused.value.exit_code == 5


def test_a_driver_older_than_the_wheel(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "version", lambda name: "10.13.3" if name == "tensorrt-cu13" else None)
    assert versions.absence() == (
        "the NVIDIA driver is too old: it supports CUDA 12.8, but TensorRT 10.13.3 is built for CUDA 13; "
        "update the driver, or pip install 'tensorrt-cu12'"
    )
    machine.gpu.version = 13000
    assert versions.absence() is None


@pytest.mark.parametrize(
    ("version", "typed", "flags", "plugin_first", "progress", "bfloat16", "levels"),
    [
        ("8.6.1", False, 1, False, False, False, (True, False)),
        ("10.3.0", True, 2, False, True, True, (True, False)),
        ("10.13.3", True, 2, True, True, True, (True, True)),
        ("11.1.0", True, 1, True, True, True, (True, True)),
    ],
)
def test_what_each_version_can_do(
    machine: Machine,
    version: str,
    typed: bool,
    flags: int,
    plugin_first: bool,
    progress: bool,
    bfloat16: bool,
    levels: tuple[bool, bool],
) -> None:
    machine.install(version)
    api = versions.load()
    assert (api.text, api.strongly_typed, api.network_flags()) == (version, typed, flags)
    assert (api.plugin_first, api.progress, api.bfloat16) == (plugin_first, progress, bfloat16)
    assert tuple(api.hardware(level) is not None for level in ("ampere+", "same-compute-capability")) == levels
    assert (api.builder_flag("FP16") is not None) == (not version.startswith("11"))


def test_tensorrt_for_rtx_has_the_interface_of_11(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    module = machine.install("11.1.0")
    module.__version__ = "1.7.1.116"
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", module)
    api = versions.installed_rtx()
    assert (api.text, api.version, api.rtx) == ("for RTX 1.7.1", (1, 7, 1), True)
    assert api.strongly_typed and api.local_functions and api.plugin_first
    module.__version__ = "1.4.0"
    with pytest.raises(MissingDependency, match=r"TensorRT for RTX 1\.4\.0 is too old: 1\.5 or newer is supported"):
        versions.installed_rtx()


def test_a_missing_tensorrt_for_rtx_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(MissingDependency, match=r"TensorRT for RTX cannot be imported here .*rectexport\[rtx\]"):
        versions.installed_rtx()
