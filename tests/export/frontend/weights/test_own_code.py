"""The user's own code: imported, called, and named by its line where it fails."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rectexport.exporter.frontend.weights.own_code import build_own, parse_arguments
from rectexport.runtime.errors import BadInput, RectexportError, UsageError

NETS = """
from torch import nn
from parts import WIDTH

class Net(nn.Sequential):
    def __init__(self, width=WIDTH, *, act="relu"):
        if width < 1:
            raise ValueError("width must be positive")
        super().__init__(nn.Conv2d(1, width, 3), nn.ReLU() if act == "relu" else nn.Tanh())

    def train(self, mode=True):
        super().train(mode)

class Needs(nn.Module):
    def __init__(self, depth):
        super().__init__()

def build(width):
    return nn.DataParallel(Net(width))

def nothing():
    return 3

ready = Net(5)
number = 4
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the user's code, which is the current one; what was imported is forgotten."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mynets.py").write_text(NETS)
    (tmp_path / "parts.py").write_text("WIDTH = 3\n")
    folder = tmp_path / "pack" / "inner"
    folder.mkdir(parents=True)
    (tmp_path / "pack" / "__init__.py").touch()
    (folder / "__init__.py").touch()
    (folder / "relative.py").write_text("from ..sizes import SIZE\nfrom torch import nn\n\nnet = nn.Linear(SIZE, 1)\n")
    (tmp_path / "pack" / "sizes.py").write_text("SIZE = 7\n")
    before, path = set(sys.modules), list(sys.path)
    yield tmp_path
    assert sys.path == path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


def width(named: Any, *arguments: str) -> int:
    made = build_own(named, arguments)
    assert not made.training
    return int(next(made.parameters()).shape[0])


def test_a_class_a_function_or_a_module(nets: Path) -> None:
    assert width("mynets.py:Net") == 3
    assert width("mynets.py:Net", "width=8", "act=tanh") == 8
    assert width("mynets:build", "4") == 4, "unwrapped, by the module's name"
    assert width(f"{nets}/mynets.py:ready") == 5
    assert width("pack/inner/relative.py:net") == 1, "imports of its own package work"
    assert width("pack.inner.relative:net") == 1
    assert width("torch.nn:Linear", "2,6") == 6
    assert isinstance(build_own(nn.Linear, {"in_features": 1, "out_features": 2}), nn.Linear)


def test_a_file_named_as_a_library_is_still_the_file(nets: Path) -> None:
    (nets / "json.py").write_text("from torch import nn\nnet = nn.Linear(1, 9)\n")
    assert width("json.py:net") == 9


@pytest.mark.parametrize(
    ("named", "arguments", "message"),
    [
        ("mynets.py:Net", ("width=0",), r"mynets\.py, line 8: ValueError: width must be positive"),
        ("mynets.py:Needs", (), r"Needs takes \(depth\); give arguments with model_args='width=8'"),
        ("mynets.py:Net", ("wide=1",), r"Net takes \(width=3, \*, act='relu'\)"),
        ("mynets.py:nothing", (), "gave a int, expected a torch.nn.Module"),
        ("mynets.py:number", (), "is a int, expected a class or function"),
        ("mynets.py:Nett", (), r"mynets\.py has no Nett; it defines Net, Needs"),
        ("mynets.py", (), "name the class or function too, .*; it defines Net, Needs"),
        ("mynets.py:ready", ("width=1",), "is a module already, which takes no model_args"),
        ("none.py:Net", (), "none.py: no such file in"),
        ("nowhere.at.all:Net", (), "no module nowhere in this folder or installed"),
        (":Net", (), "expected a file or a module"),
        ("broken.py:Net", (), r"cannot be imported: broken\.py, line 2: ZeroDivisionError"),
        ("unwritten.py:Net", (), r"cannot be imported: unwritten\.py, line 3: SyntaxError: '\(' was never closed"),
        (
            "needs.py:Net",
            (),
            r"cannot be imported: needs\.py, line 1: ModuleNotFoundError: No module named 'absent_lib'",
        ),
        ("quits.py:Net", (), r"cannot be imported: quits\.py, line 1: SystemExit"),
    ],
)
def test_what_is_wrong_is_named(nets: Path, named: str, arguments: tuple[str, ...], message: str) -> None:
    (nets / "broken.py").write_text("import torch\nx = 1 / 0\n")
    (nets / "unwritten.py").write_text("import torch\n\nx = (1\n")
    (nets / "needs.py").write_text("import absent_lib\n")
    (nets / "quits.py").write_text("raise SystemExit(1)\n")
    with pytest.raises(RectexportError, match=message) as caught:
        build_own(named, arguments)
    assert str(caught.value).startswith(f"model={named!r}") and "\n" not in str(caught.value)


def test_the_settings_of_the_file_are_a_hint(nets: Path) -> None:
    with pytest.raises(BadInput, match=r"Needs takes \(depth\); the file's hyper_parameters are depth=3; give"):
        build_own("mynets.py:Needs", (), "; the file's hyper_parameters are depth=3")


def test_half_precision_becomes_float32() -> None:
    assert build_own(lambda: nn.Linear(1, 1).half()).weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["width=8"], {"width": 8}),
        (["blocks=(2,2)", "act=relu"], {"blocks": (2, 2), "act": "relu"}),
        (["width=8,act=relu,deep=True,none=None"], {"width": 8, "act": "relu", "deep": True, "none": None}),
        (["path=a/b.c", "text='x y'", "scale=-1e-3"], {"path": "a/b.c", "text": "x y", "scale": -1e-3}),
        (["options={'a': [1]}"], {"options": {"a": [1]}}),
    ],
)
def test_arguments_as_they_are_typed(words: list[str], expected: dict[str, Any]) -> None:
    assert parse_arguments(words) == ((), expected)


@pytest.mark.parametrize("words", [["=3"], ["width="], ["a b"], ["**x"], ["width=1", "width=2"], ["f("]])
def test_arguments_that_do_not_parse(words: list[str]) -> None:
    with pytest.raises(UsageError, match="model_args="):
        parse_arguments(words)


def test_arguments_are_not_run(tmp_path: Path) -> None:
    word = f"x=open('{tmp_path}/canary', 'w')"
    assert parse_arguments([word])[1] == {"x": word[2:]}
    assert not (tmp_path / "canary").exists()
