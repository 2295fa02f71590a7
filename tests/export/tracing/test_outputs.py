"""Outputs are called as forward calls them, and a session returns what forward returns."""

from __future__ import annotations

import dataclasses
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

import rectexport
from rectexport.exporter.tracing.outputs import program_outputs, register_dataclasses, result_outputs, tensor_outputs
from rectexport.runtime.errors import BadInput, UsageError
from tests.export.nets import image, seeded

Found = namedtuple("Found", "boxes scores")


@dataclasses.dataclass
class Result:
    logits: Tensor
    classes: int
    mask: Tensor | None = None


class Gives(nn.Module):
    def __init__(self, give: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.conv, self.give = nn.Conv2d(1, 2, 1), give

    def forward(self, x: Tensor) -> Any:
        return self.give(self.conv(x))


def program(give: Callable[[Tensor], Any], dynamic: bool = False) -> torch.export.ExportedProgram:
    shapes = ({0: Dim("rows", max=9)},) if dynamic else None
    return torch.export.export(seeded(Gives(give)), (image(2, 1, 3, 4),), dynamic_shapes=shapes)


@pytest.mark.parametrize(
    ("give", "names", "plain"),
    [
        (lambda y: y, ["output"], True),
        (lambda y: (y,), ["output"], True),
        (lambda y: (y, y + 1), ["output_0", "output_1"], True),
        (lambda y: [y, y + 1], ["output_0", "output_1"], False),
        (lambda y: {"depth": y}, ["depth"], False),
        (lambda y: (y, {"aux": [y + 1, y + 2]}), ["output_0", "output_1.aux.0", "output_1.aux.1"], False),
        (lambda y: ({"aux": y}, None), ["aux"], False),
        (lambda y: Found(y, [y + 1]), ["boxes", "scores.0"], False),
        (lambda y: {3: y, "a b|c": y + 1}, ["output_3", "a_b_c"], False),
        (lambda y: {"a.b": y, "a": {"b": y + 1}}, ["a.b", "a.b_"], False),
        (lambda y: {"x": y, "n": 3, "ok": True}, ["x_output"], False),
    ],
)
def test_names(give: Callable[[Tensor], Any], names: list[str], plain: bool) -> None:
    """The same from a program and from a result."""
    found = program_outputs("net", program(give), ["x"])
    assert list(found.names) == names
    assert (found.structure is None) is plain
    assert result_outputs("net", give(image(2, 2, 3, 4)), ["x"]) == found


def test_a_program_without_constants() -> None:
    whole = program(lambda y: {"y": y, "none": None, "rows": y.shape[0], "three": 3}, dynamic=True)
    flat = tensor_outputs(whole)
    first, rows = flat.module()(image(5, 1, 3, 4))
    torch.testing.assert_close(first, whole.module()(image(5, 1, 3, 4))["y"])
    assert (rows.dtype, rows.tolist()) == (torch.int64, 5)
    assert len(whole.graph_signature.user_outputs) == 4
    plain = program(lambda y: (y, y + 1))
    assert tensor_outputs(plain) is plain


def test_objects_of_other_kinds() -> None:
    with pytest.raises(BadInput, match="net: forward returns a object; return tensors in dicts, tuples"):
        register_dataclasses("net", {"a": [object()]})
    with pytest.raises(BadInput, match=r"net: forward returns a dict with the key \(1, 2\)"):
        result_outputs("net", {(1, 2): torch.zeros(1)}, ["x"])
    hidden = dataclasses.make_dataclass("Hidden", ["_x"])
    register_dataclasses("net", hidden(torch.zeros(1)))
    with pytest.raises(BadInput, match="a field _x; name it without an underscore"):
        result_outputs("net", hidden(torch.zeros(1)), ["x"])


class Many(nn.Module):
    """A dataclass in a dict, a constant, a size, and outputs named as inner tensors are."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, x: Tensor) -> dict[str, Any]:
        y = self.conv(x)
        return {"conv2d": y.relu(), "relu": Result(y * 2, 10), "rows": x.shape[0], "parts": (y + 1, [y - 1])}


NAMES = ["conv2d", "relu.logits", "rows", "parts.0", "parts.1.0"]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outputs") / "p"
    rows = {0: Dim("batch", min=1, max=6)}
    rectexport.export(seeded(Many()), (image(2, 1, 5, 6),), folder, ({**rows},))
    return folder


def test_a_session_returns_what_forward_returns(package: Path) -> None:
    x = image(4, 1, 5, 6, seed=3)
    wanted = seeded(Many())(x)
    with rectexport.load(package, backend="onnxruntime", threads=1) as session:
        assert [entry.name for entry in session.outputs] == NAMES
        named, got = session.run({"x": x.numpy()}), session(x=x.numpy())
        assert list(named) == NAMES
    assert list(got) == list(wanted)
    assert (got["relu"].classes, got["relu"].mask, int(got["rows"])) == (10, None, 4)
    np.testing.assert_allclose(got["relu"].logits, wanted["relu"].logits.detach(), atol=1e-5)
    np.testing.assert_allclose(got["conv2d"], wanted["conv2d"].detach(), atol=1e-5)
    np.testing.assert_allclose(got["parts"][1][0], wanted["parts"][1][0].detach(), atol=1e-5)


def test_constants_are_told(package: Path) -> None:
    log = (package / "export.log").read_text()
    assert "relu.mask is None: no output of the package" in log
    assert "relu.classes is 10" in log


def test_the_module_itself_gives_the_same_names(package: Path) -> None:
    x = image(3, 1, 5, 6)
    with rectexport.load(package, backend="torch", model=seeded(Many())) as session:
        found = session.run({"x": x.numpy()})
    np.testing.assert_allclose(found["parts.0"], seeded(Many())(x)["parts"][0].detach(), atol=1e-6)
    assert int(found["rows"]) == 3


def test_asked_names(tmp_path: Path) -> None:
    net, x = seeded(Gives(lambda y: {"a": y, "b": [y + 1]})), image(1, 1, 3, 4)
    rectexport.export(net, (x,), tmp_path / "p", output_names=["b", "add"])
    with rectexport.load(tmp_path / "p", backend="onnxruntime", threads=1) as session:
        assert [entry.name for entry in session.outputs] == ["b", "add"]
        got, wanted = session(x.numpy()), net(x)
    np.testing.assert_allclose(got["b"][0], wanted["b"][0].detach(), atol=1e-6)
    assert sorted(got) == ["a", "b"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["one"], r"output_names='one': 1 names, the model has 2 outputs: output_0, output_1"),
        (["one", "one"], r"output_names: 'one' is the name of another output"),
        (["one", "x"], r"output_names: 'x' is the name of an input"),
        (["one", " "], r"output_names: ' ' cannot be a name"),
    ],
)
def test_names_that_do_not_fit(names: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        rectexport.export(seeded(Gives(lambda y: (y, y + 1))), (image(1, 1, 3, 4),), tmp_path / "p", output_names=names)
    assert not (tmp_path / "p").exists()


class Boxes(NamedTuple):
    boxes: Tensor
    scores: Tensor


class Scripted(nn.Module):
    def forward(self, x: Tensor) -> Boxes:
        return Boxes(x * 2, x.relu())


def test_a_script_that_returns_a_named_tuple(tmp_path: Path) -> None:
    package = rectexport.export(torch.jit.script(Scripted()), (image(1, 1, 3, 4),), tmp_path / "p")
    assert [entry.name for entry in package.manifest.outputs] == ["boxes", "scores"]
    with rectexport.load(package.path, backend="onnxruntime", threads=1) as session:
        np.testing.assert_allclose(session(image(1, 1, 3, 4).numpy()).scores, image(1, 1, 3, 4).relu())
