"""`rectexport optimize` on the command line."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import parser
from typer.testing import CliRunner

from rectexport.cli.commands.optimize import app

NET = """
<ir_version: 9, opset_import: ["" : 18]>
net (float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y)
<float[2, 2, 1, 1] a = {1, 2, 3, 4}, float[2, 2, 1, 1] b = {1, 0, 0, 1}> {
  h = Conv (x, a)
  y = Conv (h, b)
}
"""


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.onnx"
    onnx.save(parser.parse_model(NET), path)
    return path


def call(*arguments):
    return CliRunner().invoke(app, [str(entry) for entry in arguments])


def test_it_writes_the_model_and_explains_the_forms(source, tmp_path):
    out = tmp_path / "below" / "out.onnx"
    result = call(source, "-o", out, "--explain")
    assert result.exit_code == 0, result.output
    assert "linear_convs" in result.output and "→ merged" in result.output and "0.500" in result.output
    assert "PASSED in" in result.output.splitlines()[-1]
    assert [node.op_type for node in onnx.load(out).graph.node] == ["Conv"]
    assert [entry.name for entry in out.parent.iterdir()] == ["out.onnx"]


def test_passes_are_one_line_a_step_and_details_with_verbose(source, tmp_path):
    words = (source, "-o", tmp_path / "out.onnx")
    lines = call(*words).output.splitlines()
    steps = [line.split()[0] for line in lines if line.endswith(" s") and not line.startswith("PASSED")]
    assert steps == ["import", "load", "read", "raise", "lower", "write"]
    assert "  5 passes: nothing to rewrite" in lines and any("1 pair of convolutions merged" in line for line in lines)
    assert not any("fired" in line for line in lines)
    assert "  lower_linear_convs: fired 1" in call(*words, "--verbose").output.splitlines()
    quiet = call(*words, "--quiet").output.splitlines()
    assert len(quiet) == 1 and quiet[0].startswith("PASSED in ")


def test_json(source, tmp_path):
    result = call(source, "-o", tmp_path / "out.onnx", "--json", "--target", "portable")
    document = json.loads(result.stdout)
    assert document["passed"] and document["decisions"][0]["taken"] == "merged"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("missing.onnx",), 1, "no such file"),
        (("IN", "--target", "tpu"), 2, "expected one of"),
        (("IN", "--input", "z:1x2"), 2, "z"),
        (("IN", "--tune", "--target", "tensorrt"), 2, "cannot be timed here"),
    ],
)
def test_errors_leave_no_file(source, tmp_path, arguments, code, message):
    out = tmp_path / "out.onnx"
    result = call(*(source if entry == "IN" else entry for entry in arguments), "-o", out)
    assert result.exit_code == code, result.output
    assert message in result.output and "FAILED after" in result.output
    assert not out.exists() and not list(tmp_path.glob(".*"))


def test_a_file_that_is_no_onnx_model(tmp_path):
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"nothing")
    result = call(bad, "-o", tmp_path / "out.onnx", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["exit_code"] == 1
    assert call(bad, "-o", tmp_path).exit_code == 1


def test_inputs_that_cannot_be_drawn_come_from_a_file(tmp_path):
    body = "n = Neg (x) c = Concat <axis = 0> (x, n) d = Relu (c) y = Reshape (d, shape)"
    header = '<ir_version: 9, opset_import: ["" : 18]> net'
    text = f"{header} (float[3, 2] x, int64[2] shape) => (float[A, B] y) {{ {body} }}"
    source, out, inputs = tmp_path / "in.onnx", tmp_path / "out.onnx", tmp_path / "inputs.npz"
    onnx.save(parser.parse_model(text), source)
    np.savez(inputs, x=np.ones((3, 2), np.float32), shape=np.array([4, 3]))
    result = call(source, "-o", out, "--json")
    assert result.exit_code == 0 and out.read_bytes() == source.read_bytes()
    assert "its effect cannot be compared" in result.output
    result = call(source, "-o", out, "--inputs", inputs)
    assert result.exit_code == 0 and out.read_bytes() != source.read_bytes()
