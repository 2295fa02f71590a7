"""Masked partial convolutions in graphs of others: every convention is found, and what only looks like one stays."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import ModelProto
from torch import Tensor, nn

from rectexport.exporter.graph.dialect import attributes
from rectexport.exporter.graph.shapes import infer_shapes
from rectexport.exporter.passes.masks import counts, narrow
from rectexport.exporter.passes.raising import masked, raise_model
from tests.export.helper import build, check_pass, normal, operators, outputs, relative_l2
from tests.export.masked_layers import Nvidia, ScaledBias, TwoConvs

WINDOW = "kernel_shape=[3,3], pads=[1,1,1,1]"
SEEN = "m = Cast<to=1>(b)"
#: u and the next mask of a mask [N, 1, H, W], and the layer behind them.
COUNT = f"{SEEN} u = Conv<{WINDOW}>(m, ones) n = Clip(u, zero, one)"
CONV = f"k = Mul(x, m) y = Conv<{WINDOW}>(k, w, bias)"
NVIDIA = f"""{COUNT} {CONV} e = Add(u, eps) q = Div(nine, e) r = Mul(q, n)
  c = Sub(y, column) s = Mul(c, r) t = Add(s, column) z = Mul(t, n)"""
VALUES: dict[str, Any] = {
    "w": normal(3, 2, 3, 3),
    "bias": normal(3, seed=1),
    "ones": np.ones((1, 1, 3, 3), np.float32),
    **{name: np.float32(value) for name, value in {"zero": 0, "one": 1, "nine": 9, "eps": 1e-8}.items()},
}
VALUES["column"] = VALUES["bias"].reshape(1, 3, 1, 1)


def feeds(channels: int = 1) -> list[dict[str, Any]]:
    drawn = np.random.default_rng(0)
    shares = (((5, 6), 0.1), ((7, 4), 0.5), ((5, 6), 0.0), ((5, 6), 1.0))
    return [{"x": normal(2, 2, *size), "b": drawn.random((2, channels, *size)) < share} for size, share in shares]


def model(body: str, channels: int = 1, given: str = "bool", **more: Any) -> ModelProto:
    read = {**VALUES, **more}
    signature = f"(float[N,2,H,W] x, {given}[N,{channels},H,W] b) => (float[N,3,H,W] z)"
    return build(signature, body, 18, **read)


def raised(body: str, channels: int = 1, **more: Any) -> tuple[ModelProto, dict[str, Any]]:
    """The raised model and the attributes of its MaskedRectify."""
    found, result = check_pass(masked.run, model(body, channels, **more), *feeds(channels))
    assert len(result.fired) == 1, result.refused
    (node,) = [node for node in found.graph.node if node.op_type == "MaskedRectify"]
    return found, {
        **attributes(node),
        "conv_bias": sum(len(n.input) > 2 for n in found.graph.node if n.op_type == "Conv"),
    }


MANY = {"ones": np.ones((3, 2, 3, 3), np.float32), "nine": np.float32(18)}
HOLES = f"""{SEEN} {CONV} u = Conv<{WINDOW}>(m, ones) h = Equal(u, zero) d = Where(h, one, u) c = Sub(y, column)
  s = Div(c, d) t = Add(s, column) z = Where(h, zero, t)"""


@pytest.mark.parametrize(
    ("body", "channels", "more", "numerator", "empty_bias", "inside"),
    [
        (NVIDIA, 1, {}, 9, 0, 0),
        (NVIDIA, 2, MANY, 18, 0, 0),
        (NVIDIA.replace("z = Mul(t, n)", "z = Identity(t)"), 1, {}, 9, 1, 0),
        (NVIDIA, 1, {"nine": np.float32(18)}, 18, 0, 0),
        (HOLES, 1, {}, 1, 0, 0),
        (HOLES, 2, {"ones": MANY["ones"]}, 1, 0, 0),
        (f"{COUNT} {CONV} a = Mul(y, nine) d = Clip(u, one) s = Div(a, d) z = Mul(s, n)", 1, {}, 9, 1, 1),
        (
            f"{SEEN} {CONV} v = AveragePool<{WINDOW}, count_include_pad=1>(m) h = Greater(v, zero) d = Where(h, v, one)"
            " c = Sub(y, column) s = Div(c, d) z = Where(h, s, zero)", 1, {}, 9, 1, 0,
        ),
        (
            f"{SEEN} {CONV} g = ReduceSum<keepdims=1>(m, axis) u = Conv<{WINDOW}>(g, ones) h = Equal(u, zero)"
            " d = Where(h, one, u) s = Div(y, d) z = Where(h, zero, s)",
            2, {"axis": np.array([1])}, 1, 1, 1,
        ),
    ],
    ids=["nvidia", "many channels", "bias in holes", "channels", "counts of 1", "of many", "inside", "pool", "sum"],
)  # fmt: skip
def test_each_spelling(
    body: str, channels: int, more: dict[str, Any], numerator: int, empty_bias: int, inside: int
) -> None:
    _, found = raised(body, channels, **more)
    wanted = {"numerator": numerator, "empty_bias": empty_bias, "conv_bias": inside}
    assert {name: found[name] for name in wanted} == wanted


def test_a_scale_behind_it_goes_into_the_weights() -> None:
    found, _ = raised(f"{NVIDIA.replace('z =', 'a =')} z = Mul(a, gain)", gain=normal(1, 3, 1, 1, seed=3))
    assert "Mul" in operators(found) and operators(found).count("Mul") == 1


FLOAT = NVIDIA.replace(SEEN, "m = Identity(b)")
NEAR: dict[str, tuple[str, dict[str, Any], str]] = {
    "a mask of numbers": (FLOAT, {"given": "float"}, "may hold other values than 0 and 1"),
    "another numerator": (NVIDIA, {"nine": np.float32(7)}, "scales by counts of a mask, but"),
    "another epsilon": (NVIDIA, {"eps": np.float32(1e-3)}, "scales by counts of a mask, but"),
    "weights that differ": (NVIDIA, {"ones": VALUES["ones"] + np.eye(3, dtype=np.float32)}, ""),
    "another window": (NVIDIA.replace(f"u = Conv<{WINDOW}>", "u = Conv<kernel_shape=[5,5], pads=[2,2,2,2]>"),
                       {"ones": np.ones((1, 1, 5, 5), np.float32)}, ""),
    "another mask": (NVIDIA.replace("k = Mul(x, m)", "o = Sub(one, m) k = Mul(x, o)"), {}, ""),
    "a squared count": (NVIDIA.replace("e = Add(u, eps)", "i = Mul(u, u) e = Add(i, eps)"), {}, "but the factor"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "more", "reason"), NEAR.values(), ids=NEAR)
def test_what_only_looks_like_one_stays(body: str, more: dict[str, Any], reason: str) -> None:
    given = model(body, **more)
    untouched, result = masked.run(given)
    assert untouched is given and not result.fired
    assert not reason or any(reason in entry.reason for entry in result.refused), result.refused


def test_a_run_that_others_read_ends_there() -> None:
    """The scaled values are an output too: what follows them stays as it is."""
    body = NVIDIA.replace("z = Mul(t, n)", "z = Add(s, t)")
    given = model(body)
    found, result = masked.run(given)
    assert len(result.fired) == 1 and operators(found).count("Add") == 2
    for feed in feeds():
        assert relative_l2(outputs(given, feed)[0], outputs(found, feed)[0]) <= 1e-6


class Net(nn.Module):
    """A small U-Net of layers of others: masks of one channel or many, resized and joined."""

    def __init__(self, kind: Any, many: bool, **options: Any) -> None:
        super().__init__()
        self.many = many
        self.down = kind(3, 4, 3, stride=2, padding=1, **options)
        self.up = kind(7, 3, 3, padding=1, **options)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        known = (mask > 0.5).float()
        if self.many:
            known = known.expand(-1, 3, -1, -1)
        y, seen = self.down(x, known)
        y, seen = (F.interpolate(entry, scale_factor=2.0) for entry in (y.relu(), seen))
        seen = torch.cat((seen, known), 1) if self.many else seen
        return self.up(torch.cat((y, x), 1), seen)[0]


KINDS = {
    "nvidia": (Nvidia, False, {}),
    "nvidia, many": (Nvidia, True, {"multi_channel": True}),
    "nvidia, no bias": (Nvidia, True, {"multi_channel": True, "bias": False}),
    "naoto0804": (TwoConvs, True, {}),
    "scaled bias": (ScaledBias, False, {}),
}


def exported(net: nn.Module, x: Tensor, mask: Tensor, dynamo: bool) -> ModelProto:
    """What torch writes. Its optimizer would drop the epsilon, so that the file answers NaN in holes."""
    names = ["x", "mask"]
    if dynamo:
        return torch.onnx.export(
            net, (x, mask), input_names=names, dynamo=True, optimize=False, verbose=False
        ).model_proto
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (x, mask), file, input_names=names, dynamo=False, opset_version=17)
    return onnx.load_from_string(file.getvalue())


@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.parametrize(("kind", "many", "options"), KINDS.values(), ids=KINDS)
def test_what_torch_writes_is_found(kind: Any, many: bool, options: dict[str, Any], dynamo: bool) -> None:
    torch.manual_seed(0)
    net, x = Net(kind, many, **options).eval(), torch.randn(2, 3, 8, 6)
    drawn = torch.rand(2, 1, 8, 6)
    given = exported(net, x, drawn, dynamo)
    found, _ = raise_model(given)
    names = operators(found)
    assert names.count("MaskedRectify") == names.count("MaskedCount") == 2 and names.count("Conv") == 2, names
    written, result = narrow.run(infer_shapes(found))
    assert len(result.fired) == (2 if many else 0)
    final, _ = counts.run(written)
    assert operators(final).count("Conv") == 4
    for mask in (drawn, torch.zeros_like(drawn), torch.ones_like(drawn)):
        with torch.no_grad():
            expected = net(x, mask).numpy()
        assert relative_l2(expected, outputs(final, {"x": x.numpy(), "mask": mask.numpy()})[0]) <= 1e-6


def test_a_file_whose_epsilon_was_dropped_is_refused_with_that_reason() -> None:
    """9 * min(u, 1) / u is NaN in holes, as the file's answers are."""
    body = NVIDIA.replace("e = Add(u, eps)", "e = Identity(u)")
    given = model(body)
    assert np.isnan(outputs(given, feeds()[2])[0]).any()
    _, result = masked.run(given)
    assert not result.fired and "torch.onnx.export with optimize=False" in result.refused[0].reason
