"""Plugin libraries: loaded once in a process, and refused where they cannot run."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rectexport.runtime.engines.tensorrt.building.logger import LogMessages
from rectexport.runtime.engines.tensorrt.building.registry import CUDA_VERSION, load_plugins
from rectexport.runtime.errors import BadInput, MissingDependency
from tests.runtime.engines.tensorrt.machines import Machine


@pytest.fixture
def load(machine: Machine) -> Callable[..., None]:
    """Loads libraries as one session after another does."""

    def load(*paths: Path) -> None:
        with LogMessages(machine.api()) as said:
            assert machine.api().module.Builder(said.logger)
            load_plugins(paths, machine.api(), said)

    return load


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_library_is_loaded_once(load: Callable[..., None], tmp_path: Path) -> None:
    """The registry refuses a second load: of the parser and the engine, of two sessions, of a copy."""
    library, copy = write(tmp_path / "one.so", b"one"), write(tmp_path / "copy.so", b"one")
    (tmp_path / "link.so").symlink_to(library)
    for path in (library, library, copy, tmp_path / "link.so"):
        load(path)
    load(library, write(tmp_path / "two.so", b"two"), copy)


def test_a_refused_library_is_tried_again(machine: Machine, load: Callable[..., None], tmp_path: Path) -> None:
    library = write(tmp_path / "mine.so", b"mine")
    machine.trt.plugin_loads = False
    with pytest.raises(BadInput, match=r"mine\.so: TensorRT 10\.13\.3 cannot load .*: no reason given"):
        load(library)
    machine.trt.plugin_loads = True
    load(library)


def test_another_library_with_the_same_plugins(machine: Machine, load: Callable[..., None], tmp_path: Path) -> None:
    library = write(tmp_path / "mine.so", b"mine")
    machine.api().module.get_plugin_registry().load_library(str(library))  # not by us, so we do not know of it
    with pytest.raises(BadInput, match=r"another library with plugins of these names \(.*Rectify exists already"):
        load(library)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """A shared library that says it was built with a CUDA version."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("compiled")

    def compiled(cuda: int) -> Path:
        (folder / f"{cuda}.c").write_text(f"int {CUDA_VERSION}(void) {{ return {cuda}; }}")
        subprocess.run(["cc", "-shared", "-o", f"{cuda}.so", f"{cuda}.c"], cwd=folder, check=True)
        return folder / f"{cuda}.so"

    return compiled


def test_a_library_of_a_newer_cuda_is_refused(
    machine: Machine, load: Callable[..., None], compiled: Callable[[int], Path]
) -> None:
    machine.gpu.version = 12040
    load(compiled(12090))  # of the same major version, which the driver supports
    with pytest.raises(MissingDependency) as refused:
        load(compiled(13000))
    assert "13000.so: this plugin library was built with CUDA 13.0, but the NVIDIA driver supports CUDA 12.4" in str(
        refused.value
    )
    machine.gpu.version = 13000
    load(compiled(13000))  # the refused one is not left in the registry


def test_a_library_that_the_caller_has_loaded(
    machine: Machine, load: Callable[..., None], compiled: Callable[[int], Path]
) -> None:
    library = compiled(12000)
    kept: Any = ctypes.CDLL(str(library))
    machine.api().module.get_plugin_registry().load_library(str(library))
    load(library)
    assert kept
