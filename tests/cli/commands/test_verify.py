"""`rectexport verify`: exit codes, the last line, JSON; without PyTorch and ONNX."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime.tiny import disprove, dynamic_package


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return dynamic_package(tmp_path / "tiny").path


def spoil_goldens(package: Path) -> None:
    """Store outputs that no engine computes."""
    arrays = dict(np.load(package / "goldens.npz"))
    np.savez(package / "goldens.npz", **{**arrays, "output.y": arrays["output.y"] + 1})
    document = json.loads((package / "manifest.json").read_text())
    document["files"]["goldens.npz"] = hashlib.sha256((package / "goldens.npz").read_bytes()).hexdigest()
    (package / "manifest.json").write_text(json.dumps(document))


def edit(package: Path, **fields: Any) -> None:
    """Set fields of the manifest."""
    path = package / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_a_good_package_passes(command: Any, package: Path) -> None:
    ran = command("verify", package, "--backend", "onnxruntime")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert f"{package}: manifest valid, 4 files unchanged" in lines
    steps = [line for line in lines if line.endswith(" s") and not line.startswith("PASSED")]
    assert [line[:10].strip() for line in steps] == ["manifest", "files", "load", "warm up", "goldens"]
    assert "  warming up at x 2x1x8x8 (1 of 3)" in lines
    assert lines[-1].startswith("PASSED in ")
    assert lines[-1].endswith(f" s · again: rectexport verify {package} --backend onnxruntime")
    assert any(line.startswith("backend onnxruntime: ONNX Runtime ") for line in lines)


def test_engines_that_were_not_taken_are_listed_with_verbose_only(command: Any, package: Path) -> None:
    ran = command("verify", package)
    assert ran.code == 0 and "not tensorrt: " not in ran.out, ran.err
    ran = command("verify", package, "-v")
    assert ran.code == 0 and "  not tensorrt: " in ran.out, ran.err


def test_an_engine_that_disagrees_is_taken_only_if_that_is_allowed(command: Any, package: Path) -> None:
    pytest.importorskip("openvino")
    disprove(package, "openvino")
    with pytest.warns(RuntimeWarning, match="passed over"):
        assert json.loads(command("verify", package, "--json").out)["backend"]["name"] == "onnxruntime"
    document = json.loads(command("verify", package, "--allow-unproven", "--json").out)
    assert document["backend"]["name"] == "openvino"


def test_quiet_prints_the_last_line_only(command: Any, package: Path) -> None:
    words = ("verify", package, "--backend", "onnxruntime", "-q")
    ran = command(*words)
    assert ran.code == 0 and ran.out == f"{ran.last}\n" and ran.last.startswith("PASSED in ") and not ran.err
    spoil_goldens(package)
    error, verdict = command(*words).out.splitlines()
    assert error.startswith("error: y: relative L2 ") and verdict.startswith("FAILED after ")


def test_different_outputs_exit_with_3(command: Any, package: Path) -> None:
    spoil_goldens(package)
    ran = command("verify", package, "--backend", "onnxruntime")
    assert ran.code == 3
    assert (ran.out + ran.err).count("y: relative L2 ") == ran.out.count("error: y: relative L2 ") == 1
    assert ran.out.splitlines()[-1].startswith("FAILED after ")
    ran = command("verify", package, "--backend", "onnxruntime", "--json")
    document = json.loads(ran.out)
    assert ran.code == 3 and document["passed"] is False and document["failures"] and document["outputs"]["y"]
    assert ran.err.splitlines()[-1].startswith("FAILED after ")


def test_json_is_one_document(command: Any, package: Path) -> None:
    ran = command("verify", package, "--backend", "onnxruntime", "--json")
    document = json.loads(ran.out)
    assert ran.code == 0 and document["passed"] is True and document["seconds"] >= 0
    assert document["backend"]["description"].startswith("ONNX Runtime ")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--backend", "cuda", "--device", "10000"], 5, "backend cuda: "),
        (["--backend", "caffe"], 2, "unknown backend 'caffe', expected one of auto, tensorrt, cuda, openvino"),
        (["--backend", "torch"], 2, "backend torch runs a PyTorch module"),
    ],
)
def test_engines_that_cannot_run(command: Any, package: Path, words: list[str], code: int, said: str) -> None:
    ran = command("verify", package, *words)
    assert ran.code == code and f"error: {said}" in ran.err
    assert ran.err.splitlines()[-1].startswith("FAILED after ")


def test_a_changed_file_exits_with_1(command: Any, package: Path) -> None:
    (package / "model.onnx").write_bytes((package / "model.onnx").read_bytes()[:-1])
    ran = command("verify", package, "--json")
    assert ran.code == 1
    document = json.loads(ran.out)
    assert document["passed"] is False and "model.onnx: sha256 " in document["error"]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A private key; its public half is beside it, key.pub."""
    pytest.importorskip("cryptography")
    from rectexport.runtime.package.signing import generate_key

    generate_key(tmp_path / "key")
    return tmp_path / "key"


def test_the_signer_is_printed(command: Any, package: Path, key: Path) -> None:
    assert command("sign", package, "--key", key).code == 0
    words = ("verify", package, "--backend", "onnxruntime")
    ran = command(*words, "--key", f"{key}.pub")
    assert ran.code == 0, ran.err
    assert f"signed by the holder of {key}.pub" in ran.out.splitlines()
    assert ran.out.splitlines()[-1].endswith(f" --key {key}.pub")
    document = json.loads(command(*words, "--key", f"{key}.pub", "--json").out)
    assert document["signature"] == {"key": f"{key}.pub", "valid": True}
    ran = command(*words)
    assert ran.code == 0 and "signed by" not in ran.out  # without --key the signature is not checked
    assert json.loads(command(*words, "--json").out)["signature"] is None


@pytest.mark.parametrize(
    ("signed", "change", "said"),
    [
        (False, lambda package: None, ": is not signed: manifest.sig is missing"),
        (True, lambda package: edit(package, created="later"), "/manifest.sig: not a signature of this manifest by "),
        (True, lambda package: edit(package, seconds="x"), "/manifest.sig: not a signature of this manifest by "),
        (True, lambda package: (package / "manifest.sig").write_bytes(bytes(64)), "/manifest.sig: not a signature"),
        (True, lambda package: (package / "model.onnx").write_bytes(b""), "/model.onnx: sha256 "),
        (True, lambda package: (package.parent / "key.pub").unlink(), "/key.pub: no such file"),
        (
            True,
            lambda package: (package.parent / "key").rename(package.parent / "key.pub"),
            "/key.pub: not an Ed25519 public key",
        ),
    ],
)
def test_an_invalid_signature_exits_with_1(
    command: Any, package: Path, key: Path, signed: bool, change: Any, said: str
) -> None:
    if signed:
        assert command("sign", package, "--key", key).code == 0
    change(package)
    ran = command("verify", package, "--key", f"{key}.pub", "--json")
    assert ran.code == 1 and said in ran.err and ran.err.count("error: ") == 1
    document = json.loads(ran.out)
    assert document["passed"] is False and document["kind"] == "BadInput" and "signature" not in document


def test_the_key_of_somebody_else(command: Any, package: Path, key: Path) -> None:
    assert command("sign", package, "--key", key).code == 0
    assert command("keygen", key.with_name("other")).code == 0
    ran = command("verify", package, "--key", key.with_name("other.pub"))
    assert ran.code == 1 and "or another key signed it" in ran.err


def test_cryptography_is_not_installed(command: Any, package: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    ran = command("verify", package, "--key", f"{key}.pub")
    assert ran.code == 5 and "pip install 'rectexport[sign]'" in ran.err


def test_control_characters_in_a_name_are_escaped(command: Any, package: Path) -> None:
    ran = command("verify", package.rename(package.with_name("\x1b[2J")), "--backend", "onnxruntime")
    assert ran.code == 0 and "\\x1b[2J: manifest valid" in ran.out and "\x1b" not in ran.out


def test_neither_torch_nor_onnx_is_needed(package: Path, tmp_path: Path) -> None:
    script = f"""
import sys
for name in ("torch", "onnx", "onnxscript", "onnx_graphsurgeon", "jsonschema", "openvino"):
    sys.modules[name] = None
from rectexport.cli.main import main
main(["verify", {str(package)!r}, "-v"])
"""
    ran = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "not openvino: openvino is not installed here" in ran.stdout
