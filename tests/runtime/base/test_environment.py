"""Missing libraries are named with the extra to install."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from rectexport.runtime.base import environment
from rectexport.runtime.base.environment import EXTRAS, missing, onnxruntime_conflict, require, version
from rectexport.runtime.errors import MissingDependency


def test_installed_libraries_are_imported() -> None:
    import onnxruntime

    assert require("onnxruntime") is onnxruntime
    assert require("json.decoder") is json.decoder


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("torch", "export"),
        ("onnx", "export"),
        ("onnxscript", "export"),
        ("onnx_graphsurgeon", "export"),
        ("safetensors.torch", "export"),
        ("onnxruntime", "cpu"),
        ("tensorrt", "gpu"),
        ("polygraphy", "gpu"),
        ("matplotlib.figure", "parity"),
        ("PIL.Image", "parity"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, module: str, extra: str) -> None:
    assert module.partition(".")[0] in EXTRAS
    monkeypatch.setitem(sys.modules, module, None)  # importing it raises, as if it were absent
    with pytest.raises(MissingDependency) as missing:
        require(module)
    message = str(missing.value)
    assert message.startswith(f"{module} cannot be imported here (")
    assert message.endswith(f"; install it with: pip install 'rectexport[{extra}]'")
    assert missing.value.exit_code == 5


QUIET = """
import json, os, sys
from rectexport.runtime.base.environment import require
require(sys.argv[1])
print(json.dumps([[name for name in sys.modules if name.startswith("openvino_telemetry")], os.listdir(sys.argv[2])]))
"""
#: Variables with which the engines themselves send nothing.
SILENT = ("CI", "GITHUB_ACTIONS", "TF_BUILD", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS")


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_engines_send_no_usage_data(engine: str, tmp_path: Path) -> None:
    """In a new process, as if nobody had chosen anything: no module that sends, and no identifier written."""
    pytest.importorskip(engine)
    environment = {key: value for key, value in os.environ.items() if key not in SILENT}
    done = subprocess.run(
        [sys.executable, "-c", QUIET, engine, str(tmp_path)],
        env={**environment, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [[], []]


def test_what_the_user_chose_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    require("onnxruntime")
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "0"


def test_missing_libraries_are_found_without_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment.importlib, "import_module", lambda name: pytest.fail("imported"))
    assert missing("onnxruntime") is None
    monkeypatch.setitem(EXTRAS, "not_there", "cpu")
    assert missing("not_there") == "not_there is not installed here; install it with: pip install 'rectexport[cpu]'"


def test_the_reason_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of an installed but broken library is kept."""

    def broken(name: str) -> None:
        raise ImportError("libcudart.so.12: cannot open shared object file")

    monkeypatch.setattr(environment.importlib, "import_module", broken)
    with pytest.raises(MissingDependency, match=r"^onnxruntime cannot .* \(libcudart\.so\.12: cannot open shared"):
        require("onnxruntime")


def test_other_errors_of_a_library_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise RuntimeError("driver too old")

    monkeypatch.setattr(environment.importlib, "import_module", broken)
    with pytest.raises(RuntimeError, match="driver too old"):
        require("tensorrt")


def test_versions_are_those_installed() -> None:
    assert version("numpy") == metadata.version("numpy")
    assert version("rectexport-is-not-called-so") is None


@pytest.mark.parametrize(
    ("installed", "clash"),
    [
        ({}, False),
        ({"onnxruntime": "1.30.0"}, False),
        ({"onnxruntime-gpu": "1.31.1"}, False),
        ({"onnxruntime": "1.30.0", "onnxruntime-gpu": "1.31.1"}, True),
    ],
)
def test_two_builds_of_onnxruntime_are_a_clash(
    monkeypatch: pytest.MonkeyPatch, installed: dict[str, str], clash: bool
) -> None:
    def find(name: str) -> str:
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(metadata, "version", find)
    said = onnxruntime_conflict()
    assert (said is not None) == clash
    if said:
        assert said.startswith("onnxruntime 1.30.0 and onnxruntime-gpu 1.31.1 are both installed")
        assert "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu" in said
