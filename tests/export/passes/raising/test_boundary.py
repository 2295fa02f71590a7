"""Every spelling of a border becomes one BoundaryPad node; what is no border stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto
from torch import Tensor, nn

from rectexport.exporter.graph.dialect import BORDERS, attributes
from rectexport.exporter.graph.shapes import infer_shapes
from rectexport.exporter.passes.raising import boundary, raise_model
from rectexport.plugins import reference
from tests.export.helper import build, check_pass, normal, operators, outputs

Function = Callable[[Tensor], Tensor]


class Padded(nn.Module):
    """A convolution behind a function that pads."""

    def __init__(self, pad: Function) -> None:
        super().__init__()
        self.pad, self.conv = pad, nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.pad(x))


def slices(x: Tensor) -> Tensor:
    x = torch.cat([x[..., -1:], x, x[..., :1]], -1)
    return torch.cat([x[:, :, :1], x, x[:, :, -1:]], -2)


def periodic(x: Tensor) -> Tensor:
    """As PeriodicPad2d of weather models."""
    return F.pad(F.pad(x, (2, 2, 0, 0), mode="circular"), (0, 0, 1, 1))


def geo_cyclic(x: Tensor) -> Tensor:
    """As GeoCyclicPadding without a turn: circular, then the rows mirrored at the border."""
    x = torch.cat([x[:, :, :, -2:], x, x[:, :, :, :2]], 3)
    return torch.cat([x[:, :, :2].flip([2]), x, x[:, :, -2:].flip([2])], 2)


def poles(x: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    north, south = (torch.roll(rows, half, -1).flip([2]) for rows in (x[:, :, :2], x[:, :, -2:]))
    return F.pad(torch.cat([north, x, south], 2), (1, 1, 0, 0), mode="circular")


def pole_points(x: Tensor) -> Tensor:
    rolled = torch.roll(x, x.shape[-1] // 2, dims=-1)
    x = torch.cat([rolled[:, :, 1:2], x, rolled[:, :, -2:-1]], 2)
    return torch.cat([x[..., -1:], x, x[..., :1]], -1)


def one_side_at_a_time(x: Tensor) -> Tensor:
    x = torch.cat([x, x[..., :2]], -1)
    return torch.cat([x[..., -4:-2], x], -1)


def repeated(x: Tensor) -> Tensor:
    return torch.cat([x[:, :, :1].expand(-1, -1, 2, -1), x, x[:, :, -1:].repeat(1, 1, 2, 1)], 2)


#: How it is spelled, and the borders with their amounts (begins, then ends).
SPELLINGS: dict[str, tuple[Function, tuple[str, ...], tuple[int, ...]]] = {
    "F.pad circular": (lambda x: F.pad(x, (1, 1, 1, 1), mode="circular"), ("circular", "circular"), (1, 1, 1, 1)),
    "F.pad reflect": (lambda x: F.pad(x, (1, 2, 0, 1), mode="reflect"), ("reflect", "reflect"), (0, 1, 1, 2)),
    "F.pad replicate": (lambda x: F.pad(x, (0, 0, 2, 1), mode="replicate"), ("replicate", "zeros"), (2, 0, 1, 0)),
    "slices": (slices, ("replicate", "circular"), (1, 1, 1, 1)),
    "PeriodicPad2d": (periodic, ("zeros", "circular"), (0, 2, 0, 2)),
    "GeoCyclicPadding": (geo_cyclic, ("symmetric", "circular"), (2, 2, 2, 2)),
    "poles": (poles, ("poles", "circular"), (2, 1, 2, 1)),
    "pole points": (pole_points, ("pole_points", "circular"), (1, 1, 1, 1)),
    "one side at a time": (one_side_at_a_time, ("zeros", "circular"), (0, 2, 0, 2)),
    "repeated": (repeated, ("replicate", "zeros"), (2, 0, 2, 0)),
}
#: Those that open sizes leave alone: torch.onnx exports no torch.roll by an open size, and a circular border of
#: two may be wider than an open axis.
STATIC = ("poles", "pole points", "PeriodicPad2d")
CASES = [(name, dynamic) for dynamic in (False, True) for name in SPELLINGS if not dynamic or name not in STATIC]


def border_of(model: ModelProto) -> tuple[tuple[str, ...], tuple[int, ...]]:
    (node,) = (entry for entry in model.graph.node if entry.op_type == "BoundaryPad")
    values = attributes(node)
    return tuple(BORDERS[mode] for mode in values["modes"]), tuple(values["pads"])


def traced(module: nn.Module, dynamic: bool) -> ModelProto:
    sizes = {2: torch.export.Dim("h", min=5), 3: torch.export.Dim("w", min=5)}
    program = torch.onnx.export(
        module.eval(),
        (torch.randn(1, 3, 6, 8),),
        dynamo=True,
        dynamic_shapes=(sizes,) if dynamic else None,
        opset_version=20,
        input_names=["x"],
        verbose=False,
    )
    return infer_shapes(program.model_proto)


@pytest.mark.parametrize(("name", "dynamic"), CASES)
def test_each_spelling(name: str, dynamic: bool) -> None:
    pad, *expected = SPELLINGS[name]
    torch.manual_seed(0)
    model = traced(Padded(pad), dynamic)
    raised, _ = raise_model(model)
    assert list(border_of(raised)) == expected
    assert [entry.op_type for entry in raised.graph.node if entry.op_type not in ("BoundaryPad", "Conv")] == []
    for sizes in ((6, 8), (7, 5)) if dynamic else ((6, 8),):
        feeds = {"x": normal(1, 3, *sizes)}
        np.testing.assert_allclose(outputs(raised, feeds)[0], outputs(model, feeds)[0], atol=1e-6)


@pytest.mark.parametrize("mode", ["circular", "reflect", "replicate"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_padding_mode_of_torchs_own_layers(mode: str, rank: int) -> None:
    layer = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[rank](2, 3, 3, padding=1, padding_mode=mode).eval()
    x = torch.randn(1, 2, *(5, 6, 4)[:rank])
    program = torch.onnx.export(layer, (x,), dynamo=True, opset_version=20, verbose=False)
    raised, _ = raise_model(infer_shapes(program.model_proto))
    assert border_of(raised) == ((mode,) * rank, (1,) * 2 * rank)


BODIES = {
    "reflect": 'y = Pad<mode = "reflect">(x, pads)',
    "edge": 'y = Pad<mode = "edge">(x, pads)',
    "wrap": 'y = Pad<mode = "wrap">(x, pads)',
    "Gather": "y = Gather<axis = 3>(x, places)",
}
STORED = {"pads": np.array([0, 0, 1, 2, 0, 0, 1, 0]), "places": np.array([3, 0, 1, 2, 3, 0])}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_files_that_others_wrote(body: str) -> None:
    model = build("(float[2,3,4,4] x) => (float[a,b,c,d] y)", body, 19, **STORED)
    raised, _ = check_pass(boundary.run, model, {"x": normal(2, 3, 4, 4)})
    assert operators(raised) == ["BoundaryPad"]


@settings(max_examples=30, deadline=None)
@given(data=st.data(), seed=st.integers(0, 99))
def test_whatever_is_raised_reads_the_same(data: st.DataObject, seed: int) -> None:
    """Random joins of slices, most of which are no border."""
    part = st.sampled_from(["x", "x", "a", "b", "c", "d", "e"])
    parts = data.draw(st.lists(part, min_size=2, max_size=4))
    axis = data.draw(st.sampled_from([2, 3]))
    bounds = {name: data.draw(st.tuples(st.integers(-3, 3), st.integers(-3, 4))) for name in "abcd"}
    lines = [f"{name} = Slice(x, s{name}, e{name}, axis)" for name in "abcd"]
    lines += ["e = Slice(x, se, ee, axis, back)", f"y = Concat<axis = {axis}>({', '.join(parts)})"]
    stored = {"axis": np.array([axis]), "back": np.array([-1]), "se": np.array([1]), "ee": np.array([-9])}
    for name, (start, stop) in bounds.items():
        stored |= {f"s{name}": np.array([start]), f"e{name}": np.array([stop])}
    model = build("(float[1,2,5,6] x) => (float[a,b,c,d] y)", "\n".join(lines), **stored)
    raised, _ = boundary.run(model)
    feeds = {"x": normal(1, 2, 5, 6, seed=seed)}
    np.testing.assert_array_equal(outputs(raised, feeds)[0], outputs(model, feeds)[0])


NEAR_MISSES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "zeros alone": ("float[1,2,4,4]", "y = Pad(x, pads)", {}),
    "ones": ("float[1,2,4,4]", "y = Pad(x, pads, one)", {"one": np.ones((), np.float32)}),
    "channels": ("float[1,2,4,4]", 'y = Pad<mode = "edge">(x, wide)', {"wide": np.array([0, 1, 0, 0, 0, 0, 0, 0])}),
    "removed": ("float[1,2,4,4]", 'y = Pad<mode = "edge">(x, less)', {"less": np.array([0, 0, -1, 0, 0, 0, 0, 1])}),
    "whole numbers": ("int64[1,2,4,4]", 'y = Pad<mode = "edge">(x, pads)', {}),
    "too far around": ("float[1,2,4,4]", 'y = Pad<mode = "wrap">(x, far)', {"far": np.array([0, 0, 5, 0, 0, 0, 0, 0])}),
    "open and wide": ("float[1,2,H,4]", 'y = Pad<mode = "wrap">(x, two)', {"two": np.array([0, 0, 2, 0, 0, 0, 0, 0])}),
    "another place": ("float[1,2,4,4]", "y = Gather<axis = 3>(x, p)", {"p": np.array([2, 0, 1, 2, 3, 0])}),
    "a permutation": ("float[1,2,4,4]", "y = Gather<axis = 3>(x, p)", {"p": np.array([1, 0, 2, 3])}),
    "joined with itself": ("float[1,2,4,4]", "y = Concat<axis = 1>(x, x)", {}),
}


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_what_is_no_border_stays(name: str) -> None:
    kind, body, more = NEAR_MISSES[name]
    model = build(f"({kind} x) => ({kind.split('[')[0]}[a,b,c,d] y)", body, 19, **{**STORED, **more})
    raised, _ = boundary.run(model)
    assert raised is model


def test_a_reason_is_given() -> None:
    model = build("(float[1,2,4,4] x) => (float[a,b,c,d] y)", "y = Gather<axis = 3>(x, p)", p=np.array([2, 0, 1, 2, 3]))
    _, result = boundary.run(model)
    assert "no known kind" in result.refused[0].reason


def test_what_others_read_stays_between() -> None:
    """The inner padding is read twice: each of the two is raised, and they are not joined."""
    body = 'p = Pad<mode = "edge">(x, rows)\n q = Pad<mode = "wrap">(p, columns)\n r = Relu(p)'
    stored = {"rows": np.array([0, 0, 1, 0, 0, 0, 1, 0]), "columns": np.array([0, 0, 0, 1, 0, 0, 0, 1])}
    model = build("(float[1,2,4,4] x) => (float[a,b,c,d] q, float[e,f,g,h] r)", body, 19, **stored)
    raised, _ = check_pass(boundary.run, model, {"x": normal(1, 2, 4, 4)})
    assert sorted(operators(raised)) == ["BoundaryPad", "BoundaryPad", "Relu"]


@pytest.mark.parametrize("auto_pad", ["NOTSET", "SAME_UPPER"])
def test_zeros_go_into_the_convolution(auto_pad: str) -> None:
    body = (
        f'p = rectexport.BoundaryPad<modes = [0, 3], pads = [2, 1, 1, 1]>(x)\n y = Conv<auto_pad = "{auto_pad}">(p, w)'
    )
    model = build("(float[1,2,5,6] x) => (float[a,b,c,d] y)", body, w=normal(3, 2, 3, 3))
    raised, _ = boundary.run(model)
    feeds = {"x": normal(1, 2, 5, 6)}
    np.testing.assert_allclose(outputs(raised, feeds)[0], outputs(model, feeds)[0], atol=1e-6)
    conv = next(entry for entry in raised.graph.node if entry.op_type == "Conv")
    assert (attributes(conv).get("pads") == (2, 0, 1, 0)) == (auto_pad == "NOTSET")


def test_layers_of_ours_are_the_reference(check: Callable[..., ModelProto]) -> None:
    """A dialect node is left alone by a second run, whatever stands around it."""
    body = "p = rectexport.BoundaryPad<modes = [5, 1], pads = [1, 1, 1, 1]>(x)\n y = Relu(p)"
    model = infer_shapes(build("(float[1,2,4,6] x) => (float[a,b,c,d] y)", body))
    raised, _ = raise_model(model)
    assert raised is model
    x = normal(1, 2, 4, 6)
    expected = reference.boundary_pad(x, (1, 1, 1, 1), ("poles", "circular"))
    np.testing.assert_array_equal(outputs(model, {"x": x})[0], np.maximum(expected, 0).astype(np.float32))
