"""Runs commands inside this process, with a terminal of 80 columns, on a very small model."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.places import DIGITS


@dataclass(frozen=True)
class Ran:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """The last line that a user sees."""
        return (self.err or self.out).rstrip("\n").rpartition("\n")[2]


Command = Callable[..., Ran]


@pytest.fixture(scope="session")
def command() -> Command:
    """Runs `rectexport WORDS`."""
    from rectexport.cli.main import main

    def run(*words: object) -> Ran:
        out, err = io.StringIO(), io.StringIO()
        code: object = 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("COLUMNS", "80")
            patch.setenv("TERM", "dumb")
            for name in ("FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "GITHUB_ACTIONS", "PY_COLORS"):
                patch.delenv(name, raising=False)
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    main([str(word) for word in words])
                except SystemExit as ended:
                    code = ended.code or 0
        assert isinstance(code, int), code
        return Ran(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def digits() -> Path:
    """The checkpoint of the digits network: a real export, of some seconds."""
    return DIGITS


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file with one convolution and a dynamic batch; exported in a tenth of a second."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(0).standard_normal((4, 1, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight"], ["features"], pads=[1, 1, 1, 1], name="conv"),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"], name="pool"),
        helper.make_node("Flatten", ["pooled"], ["logits"], name="flatten"),
    ]
    values = [("x", ["batch", 1, 8, 8]), ("logits", ["batch", 4])]
    x, logits = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in values)
    graph = helper.make_graph(nodes, "tiny", [x], [logits], [numpy_helper.from_array(weight, "conv.weight")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = tmp_path_factory.mktemp("models") / "tiny.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
