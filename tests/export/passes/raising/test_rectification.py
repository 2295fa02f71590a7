"""Rectified convolution, found in every spelling that computes r, and in none that does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper, parser
from torch import Tensor, nn

from rectexport.exporter.graph.dialect import attributes
from rectexport.exporter.passes.raising import raise_model
from rectexport.plugins import reference
from tests.export.helper import build, outputs

BOTH = ("dynamo-18", "torchscript-17")
SHAPE = (2, 4, 9, 8)


class ConstantMap(nn.Conv2d):
    """y * r with r a buffer made for one size, and the bias inside or after."""

    def __init__(self, *args, mode="sum", after=False, separable=False, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        window = (self.kernel_size, self.stride, (*self.padding, *self.padding), self.dilation)
        r = reference.rectification_map(*SHAPE[2:], *window, mode)
        maps = (r[:, :1] / r[:1, :1] ** 0.5, r[:1] / r[:1, :1] ** 0.5) if separable else (r,)
        self.maps = [torch.tensor(entry, dtype=torch.float32)[None, None] for entry in maps]
        self.after = after

    def forward(self, x: Tensor) -> Tensor:
        inside = None if self.after else self.bias
        y = F.conv2d(x, self.weight, inside, self.stride, self.padding, self.dilation, self.groups)
        for entry in self.maps:
            y = y * entry
        return y + self.bias.view(1, -1, 1, 1) if self.after else y


class Partial(nn.Conv2d):
    """NVIDIA/partialconv's arithmetic without a mask argument, computed on every call."""

    def __init__(self, *args, multi_channel=False, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        shape = (self.out_channels, self.in_channels) if multi_channel else (1, 1)
        self.register_buffer("updater", torch.ones(*shape, *self.kernel_size))
        self.window = self.updater.shape[1] * self.updater.shape[2] * self.updater.shape[3]

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.ones(1, self.updater.shape[1], x.shape[2], x.shape[3])
        counts = F.conv2d(mask, self.updater, None, self.stride, self.padding, self.dilation)
        ratio, seen = self.window / (counts + 1e-8), counts.clamp(0, 1)
        ratio = ratio * seen
        raw = super().forward(x)
        if self.bias is None:
            return raw * ratio
        shift = self.bias.view(1, -1, 1, 1)
        return ((raw - shift) * ratio + shift) * seen


class OverOnes(nn.Conv2d):
    """Division by a convolution of ones (average) or by its mean (sum)."""

    def __init__(self, *args, pooled=False, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.pooled = pooled
        self.register_buffer("ones", torch.ones(1, 1, *self.kernel_size))

    def forward(self, x: Tensor) -> Tensor:
        ones = torch.ones_like(x[:1, :1])
        if self.pooled:
            share = F.avg_pool2d(ones, self.kernel_size, self.stride, self.padding, count_include_pad=True)
        else:
            share = F.conv2d(ones, self.ones, None, self.stride, self.padding, self.dilation)
        return super().forward(x) / share


def nodes(model: ModelProto, operator: str) -> list:
    return [node for node in model.graph.node if node.op_type == operator]


MODULES = {
    "map": (lambda: ConstantMap(4, 6, 3, padding=1, bias=False), 9, 1),
    "map, bias inside": (lambda: ConstantMap(4, 6, 3, padding=1), 9, 1),
    "map, bias after": (lambda: ConstantMap(4, 6, 3, 2, 1, after=True), 9, 1),
    "map, average": (lambda: ConstantMap(4, 6, (3, 5), 1, (1, 2), mode="average", after=True), 1, 1),
    "two separable maps": (lambda: ConstantMap(4, 6, 3, 2, 1, separable=True, after=True), 9, 1),
    "map, groups and dilation": (lambda: ConstantMap(4, 8, 3, 1, 2, 2, groups=4, after=True), 9, 1),
    "partial": (lambda: Partial(4, 6, 3, padding=1), 9, 1),
    "partial without bias": (lambda: Partial(4, 6, 7, 2, 3, bias=False), 49, 1),
    "partial, one mask a channel": (lambda: Partial(4, 6, 3, padding=1, multi_channel=True), 9, 1),
    "partial, empty windows": (lambda: Partial(4, 6, 1, padding=1), 1, 0),
    "over ones": (lambda: OverOnes(4, 6, 3, padding=1), 1, 1),
    "over ones, dilated": (lambda: OverOnes(4, 6, 3, 1, 2, 2), 1, 1),
    "over pooled ones": (lambda: OverOnes(4, 6, 3, 2, 1, pooled=True), 9, 1),
}
#: Empty windows are left out: torch's exporter drops the 1e-8, so the exported file divides zero by zero there.
DYNAMIC = [name for name in MODULES if name.startswith(("partial", "over")) and "empty" not in name]
GONE = ("BatchNormalization", "Mul", "Add", "Sub", "Div", "AveragePool", "Clip")
ALONE = {"Rectify": 1, "Conv": 1, **dict.fromkeys(GONE, 0)}


@pytest.mark.parametrize("name", MODULES)
def test_from_torch(name, to_onnx, check):
    torch.manual_seed(0)
    make, numerator, empty_bias = MODULES[name]
    raised = check(to_onnx(make(), torch.randn(SHAPE), case=name), ALONE)
    found = attributes(nodes(raised, "Rectify")[0])
    assert (found["numerator"], found["empty_bias"]) == (numerator, empty_bias)


@pytest.mark.parametrize("name", DYNAMIC)
@pytest.mark.parametrize("to_onnx", BOTH, indirect=True)
def test_dynamic_sizes(name, to_onnx, check):
    torch.manual_seed(0)
    model = to_onnx(MODULES[name][0](), torch.randn(SHAPE), dynamic=True)
    check(model, ALONE, shapes=[SHAPE, (1, 4, 5, 13)])


@pytest.mark.parametrize("name", ["map", "map, bias after", "two separable maps", "partial", "over pooled ones"])
@pytest.mark.parametrize("to_onnx", BOTH, indirect=True)
def test_after_a_simplifier(name, to_onnx, simplify, check):
    torch.manual_seed(0)
    check(simplify(to_onnx(MODULES[name][0](), torch.randn(SHAPE), case=name)), ALONE)


def test_a_batch_norm_behind_it_and_the_next_layer(to_onnx, check):
    torch.manual_seed(0)
    layers = (ConstantMap(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    module = nn.Sequential(*layers, ConstantMap(4, 6, 3, padding=1, after=True))
    check(to_onnx(module, torch.randn(SHAPE)), {"Rectify": 2, "Conv": 2, "BatchNormalization": 0})


def conv(body: str, r: np.ndarray, x=(1, 3, 6, 7), pads=(1, 1, 1, 1), outputs="float[N, C, H, W] z", **more):
    """A 3 x 3 convolution y of x and what a body makes of y and the map r; c is its bias, s one per channel."""
    random = np.random.default_rng(0)
    size = ", ".join(map(str, x))
    text = f"""<ir_version: 8, opset_import: ["": 18]> g (float[{size}] x) => ({outputs}) {{
      y = Conv<pads = [{", ".join(map(str, pads))}]>(x, w, c) {body} }}"""
    model = parser.parse_model(text)
    arrays = {"w": random.standard_normal((5, 3, 3, 3)), "c": np.zeros(5), "r": r, **more}
    arrays["s"] = random.standard_normal((5, 1, 1))
    arrays |= {f"c{index}": random.uniform(0.5, 1.5, 5) for index in range(1, 5)}
    for name, array in arrays.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(array, np.float32), name))
    return model


R = reference.rectification_map(6, 7, (3, 3), (1, 1), (1, 1, 1, 1))[None, None]


@pytest.mark.parametrize(
    "body",
    [
        "z = Mul(y, r)",
        "z = Mul(r, y)",
        "i = Identity(r) a = Mul(y, i) z = Add(s, a)",
        "o = Constant<value_float = 1.0>() i = Div(o, r) z = Div(y, i)",
        "k = Cast<to = 11>(r) l = Cast<to = 1>(k) z = Mul(y, l)",
        "h = Constant<value_ints = [6, 7]>() q = Reshape(r, h) z = Mul(y, q)",
        "h = Constant<value_ints = [1, 5, 6, 7]>() q = Expand(r, h) z = Mul(y, q)",
        "a = Add(y, s) b = Mul(a, r) z = Add(b, s)",
        "a = Sub(y, s) b = Mul(a, r) z = Sub(b, s)",
        "a = Mul(y, s) b = Mul(a, r) z = Add(b, s)",
        "a = Mul(y, r) b = Div(a, s) z = Add(b, s)",
        "a = BatchNormalization(y, c1, c2, c3, c4) z = Mul(a, r)",
        "a = Mul(y, r) z = BatchNormalization(a, c1, c2, c3, c4)",
        "a = BatchNormalization(y, c1, c2, c3, c4) b = Mul(a, r) z = BatchNormalization(b, c4, c3, c2, c1)",
    ],
)
def test_by_hand(body, check):
    check(conv(body, R), ALONE)


def test_padding_of_its_own(check):
    body = "p = Constant<value_ints = [0, 0, 1, 1, 0, 0, 1, 1]>() q = Pad(x, p) u = Conv(q, w) z = Mul(u, r)"
    model = conv(body, R)
    del model.graph.node[0]
    check(model, {**ALONE, "Pad": 0})


@pytest.mark.parametrize("rule", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_padding_by_rule(rule, check):
    pads = {"VALID": (0, 0, 0, 0)}.get(rule, (1, 1, 1, 1))
    r = reference.rectification_map(6, 7, (3, 3), (1, 1), pads)[None, None]
    model = conv("z = Mul(y, r)", r)
    del model.graph.node[0].attribute[:]
    model.graph.node[0].attribute.append(parser.parse_node(f'y = Conv<auto_pad = "{rule}">(x)').attribute[0])
    check(model, ALONE)


@pytest.mark.parametrize(("kind", "fires"), [("float16", True), ("float64", True), ("bfloat16", False)])
def test_other_types(kind, fires):
    number = getattr(TensorProto, {"float16": "FLOAT16", "float64": "DOUBLE", "bfloat16": "BFLOAT16"}[kind])
    weight = np.random.default_rng(0).standard_normal((5, 3, 3, 3))
    stored = [helper.make_tensor(name, number, a.shape, a.reshape(-1)) for name, a in (("w", weight), ("r", R))]
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4), helper.make_node("Mul", ["y", "r"], ["z"])]
    x, z = (helper.make_tensor_value_info(*entry) for entry in (("x", number, (1, 3, 6, 7)), ("z", number, [None] * 4)))
    graph = helper.make_graph(nodes, "g", [x], [z], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    raised, _ = raise_model(model)
    checker.check_model(raised, full_check=True)
    assert [node.op_type for node in raised.graph.node] == ["Conv", "Rectify" if fires else "Mul"]
    assert all(entry.data_type == number for entry in raised.graph.initializer)


def changed(row: int, column: int, factor: float) -> np.ndarray:
    r = R.copy()
    r[0, 0, row, column] *= factor
    return r


NEAR_MISSES = {
    "wrong at one corner": ("z = Mul(y, r)", changed(0, 0, 1.001), {}),
    "wrong at one pixel inside": ("z = Mul(y, r)", changed(3, 3, 1.00001), {}),
    "one everywhere": ("z = Mul(y, r)", np.ones_like(R), {}),
    "for other pads": ("z = Mul(y, r)", reference.rectification_map(6, 7, (5, 5), pads=(2, 2, 2, 2))[None, None], {}),
    "transposed": ("z = Mul(y, r)", R.swapaxes(2, 3)[:, :, :6, :6], {"x": (1, 3, 6, 6), "pads": (0, 1, 2, 1)}),
    "divided instead": ("z = Div(y, r)", R, {}),
    "the map over y": ("z = Div(r, y)", R, {}),
    "a plain scale": ("z = Mul(y, s)", R, {}),
    "y used twice": ("a = Mul(y, r) z = Add(a, y)", R, {}),
    "nothing behind": ("z = Relu(y)", R, {}),
    "y given out": ("z = Mul(y, r)", R, {"outputs": "float[N, C, H, W] z, float[N, C, H, W] y"}),
}
REASONS = {
    "wrong at one corner": "no function of the convolution's tap counts",
    "wrong at one pixel inside": "no function of the convolution's tap counts",
    "one everywhere": "no r of this convolution: 1 at 4 of 9 taps, r is 2.25",
    "divided instead": "no r of this convolution",
    "y used twice": "y is also used elsewhere",
    "y given out": "y is also used elsewhere",
}


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_must_not_fire(name, untouched):
    body, r, options = NEAR_MISSES[name]
    untouched(conv(body, r, **options), REASONS.get(name, ""))


def test_only_the_first_of_two_maps_is_taken(check):
    check(conv("a = Mul(y, r) z = Mul(a, r)", R), {"Rectify": 1, "Mul": 1})


def test_what_is_used_twice_after_the_map_stays(check):
    check(conv("a = Mul(y, r) b = Add(a, s) z = Add(a, b)", R), {"Rectify": 1, "Mul": 0, "Add": 2})


def test_a_map_beside_dynamic_sizes(untouched):
    model = conv("z = Mul(y, r)", R)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "H"
    untouched(model, "H, W are dynamic")


PARTIAL = """<ir_version: 8, opset_import: ["": 18]> g
  (float[N, 3, H, W] x, float[N, 3, H, V] o) => (float[N, 5, P, Q] z)
  <float[5, 3, 3, 3] w, float[1, 1, 3, 3] k, float[5, 3, 3, 3] w2> {{
  one = Constant<value_float = 1.0>() u = Constant<value_ints = [1, 1]>()
  h = Shape<start = 2, end = 4>({like}) s = Concat<axis = 0>(u, h) ones = Expand(one, s)
  v = Conv<pads = [{pads}]>(ones, k) y = Conv<pads = [1, 1, 1, 1]>(x, w) z = {last} }}"""


@pytest.mark.parametrize(
    ("change", "fires"),
    [
        ({}, True),
        ({"like": "o"}, False),
        ({"pads": "1, 1, 1, 0"}, False),
        ({"last": "Mul(y, v)"}, False),
        ({"last": "Div(v, y)"}, False),
    ],
)
def test_a_computed_count_must_be_that_of_the_convolution(change, fires, check, untouched):
    parts = {"like": "x", "pads": "1, 1, 1, 1", "last": "Div(y, v)", **change}
    model = parser.parse_model(PARTIAL.format(**parts))
    random = np.random.default_rng(0)
    for name, array in (("w", random.standard_normal((5, 3, 3, 3))), ("k", np.ones((1, 1, 3, 3)))):
        model.graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
    if fires:
        check(model, {"Rectify": 1, "Conv": 1, "Div": 0}, shapes=[(1, 3, 5, 6)])
    else:
        untouched(model)


def test_a_count_with_uneven_weights_is_refused(untouched):
    model = parser.parse_model(PARTIAL.format(like="x", pads="1, 1, 1, 1", last="Div(y, v)"))
    kernel = np.ones((1, 1, 3, 3), np.float32)
    kernel[0, 0, 1, 1] = 2
    weight = np.random.default_rng(0).standard_normal((5, 3, 3, 3)).astype(np.float32)
    model.graph.initializer.extend([numpy_helper.from_array(weight, "w"), numpy_helper.from_array(kernel, "k")])
    untouched(model)


def graph_model(body: str, signature: str, **arrays: np.ndarray) -> ModelProto:
    model = parser.parse_model(f'<ir_version: 9, opset_import: ["" : 18]> net {signature} {{ {body} }}')
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    return model


@pytest.mark.parametrize("channels", [1, 4])
def test_one_channel_that_is_spread_over_several_is_left_alone(channels):
    ones = torch.ones(1, 1, 3, 3)
    counts = F.conv2d(torch.ones(1, 1, 6, 6), ones, padding=1).numpy()
    arrays = {"w": np.ones((1, 2, 3, 3), np.float32), "r": np.repeat(9 / counts, channels, 1).astype(np.float32)}
    arrays["b"] = np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1)
    body = "y = Conv<pads = [1, 1, 1, 1]>(x, w) s = Mul(y, r) z = Add(s, b)"
    model = graph_model(body, "(float[1, 2, 6, 6] x) => (float[1, 4, 6, 6] z)", **arrays)
    raised, _ = raise_model(model)
    x = np.random.default_rng(0).standard_normal((1, 2, 6, 6)).astype(np.float32)
    before, after = (outputs(entry, {"x": x})[0] for entry in (model, raised))
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)
    assert "Add" in [entry.op_type for entry in raised.graph.node]


@pytest.mark.parametrize(("size", "pad", "stride"), [(1, 1, 2), (2, 3, 5), (1, 4, 9)])
def test_windows_that_all_lie_in_the_padding_are_left_alone(size, pad, stride):
    out = (size + 2 * pad - 1) // stride + 1
    counts = F.conv2d(torch.ones(1, 1, size, size), torch.ones(1, 1, 1, 1), None, stride, pad)
    assert not counts.any()
    body = f"y = Conv<strides = [{stride}, {stride}], pads = [{pad}, {pad}, {pad}, {pad}]>(x, w) z = Mul(y, r)"
    arrays = {"w": np.ones((4, 4, 1, 1), np.float32), "r": np.ones((1, 1, out, out), np.float32)}
    model = graph_model(body, f"(float[1, 4, {size}, {size}] x) => (float[1, 4, {out}, {out}] z)", **arrays)
    raised, results = raise_model(model)
    assert raised is model
    reasons = [entry.reason for result in results for entry in result.refused]
    assert "every window lies in the padding alone" in reasons


@pytest.mark.parametrize("size", [(6,), (4, 5, 6)])
def test_along_one_and_three_axes(size, check, untouched):
    """A constant map, and a division by a convolution of ones; not a map of another size's border."""
    count = len(size)
    names = ", ".join(map(str, size))
    pads = str([1] * 2 * count)
    weight = np.random.default_rng(0).standard_normal((3, 2, *[3] * count)).astype(np.float32)
    r = reference.rectification_factors(size, (3,) * count, pads=(1,) * 2 * count)[None, None].astype(np.float32)
    signature = f"(float[2, 2, {names}] x) => (float[{', '.join('ABCDE'[: count + 2])}] z)"
    constants = {"w": weight, "r": r, "k": np.ones((1, 1, *[3] * count), np.float32), "c": np.float32(3**count)}
    constants |= {"o": np.ones((1, 1, *size), np.float32)}
    ratio = f"v = Conv<pads={pads}>(o, k) q = Div(c, v) z = Mul(y, q)"
    for body in ("z = Mul(y, r)", ratio):
        model = build(signature, f"y = Conv<pads={pads}>(x, w) {body}", 18, **constants)
        raised = check(model, {f"Rectify{count}d": 1, "Conv": 1, "Mul": 0, "Div": 0})
        assert attributes(nodes(raised, f"Rectify{count}d")[0])["numerator"] == 3**count
    r[(0, 0, *[0] * count)] += 0.01
    model = build(signature, f"y = Conv<pads={pads}>(x, w) z = Mul(y, r)", 18, **{**constants, "r": r})
    untouched(model, "no function of the convolution's tap counts")
