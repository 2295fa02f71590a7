"""Help, the list of models, slips of the keyboard and wrong paths are answered without PyTorch and without ONNX."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rectexport.cli.main import COMMANDS
from tests.runtime.tiny import dynamic_package

RUN = """
import sys
from rectexport.cli.main import main
try:
    main(sys.argv[1:])
finally:
    heavy = {"torch", "onnx", "onnxscript", "onnx_graphsurgeon", "onnxruntime", "openvino"}
    print("IMPORTED", *sorted(heavy & set(sys.modules)), file=sys.stderr)
"""


def run(folder: Path, *words: str) -> tuple[int, str, str, list[str]]:
    """Run a command in a process of its own: exit code, stdout, stderr, and the heavy libraries that it imported."""
    ran = subprocess.run([sys.executable, "-c", RUN, *words], cwd=folder, capture_output=True, text=True)
    said, _, imported = ran.stderr.rpartition("IMPORTED")
    return ran.returncode, ran.stdout, said, imported.split()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dynamic_package(tmp_path_factory.mktemp("fast") / "package").path


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["models"],
        *([command, "--help"] for command in sorted(COMMANDS)),
    ],
    ids=" ".join,
)
def test_help_and_the_list_of_models_import_no_heavy_library(words: list[str], tmp_path: Path) -> None:
    code, out, _, imported = run(tmp_path, *words)
    assert code == 0 and out
    assert imported == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["verfy", "package"], "did you mean rectexport verify?"),
        (["net.pt", "--optset", "20"], "No such option"),
        (["models", "show", "resnet5"], "did you mean 'resnet50'?"),
        (["models", "save", "resnet5", "net.pt"], "did you mean 'resnet50'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_misspelt_word_imports_no_heavy_library(words: list[str], message: str, tmp_path: Path) -> None:
    code, _, said, imported = run(tmp_path, *words)
    assert (code, imported) == (2, [])
    assert message in said


@pytest.mark.parametrize(
    "words",
    [
        ["net.pt"],
        ["export", "net.pt", "--dry-run"],
        ["optimize", "net.onnx", "-o", "out.onnx"],
        ["doctor", "net.onnx"],
        ["parity", "net"],
        ["bench", "net"],
        ["build", "net", "--trt"],
        ["verify", "net"],
        ["report", "net"],
        ["serve", "net", "--port", "0", "--grpc-port", "-1"],
        ["triton", "net", "repository"],
        ["triton", "net", "--check"],
        ["sign", "net", "--key", "key"],
        ["ray-config", "net"],
    ],
    ids=" ".join,
)
def test_a_missing_file_or_folder_imports_no_heavy_library(words: list[str], tmp_path: Path) -> None:
    code, _, said, imported = run(tmp_path, *words)
    assert (code, imported) == (1, []), said
    assert "net" in said and "no such" in said


def test_a_missing_reference_imports_no_exporter(package: Path, tmp_path: Path) -> None:
    """parity has opened its engine by then; PyTorch and ONNX are still not imported."""
    code, _, said, imported = run(tmp_path, "parity", str(package), "--against", "net.pt", "--backend", "onnxruntime")
    assert (code, imported) == (1, ["onnxruntime"]), said
    assert "net.pt: no such file" in said
    code, _, said, imported = run(tmp_path, "bench", str(package), "--vs", "torch", "--source", "net.pt")
    assert code == 1 and "torch" not in imported and "onnx" not in imported, said
    assert "net.pt: no such file" in said


def test_an_unknown_architecture_imports_no_heavy_library(tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(b"weights")
    code, _, said, imported = run(tmp_path, "net.pth", "--arch", "resnet5")
    assert (code, imported) == (1, [])
    assert "--arch resnet5: unknown; nearest: resnet50" in said
