"""Steps with windows: convolutions, pools, padding, resizing."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.differential.drawn.draft import Draft, Unfit, Value


def convolution(draft: Draft, value: Value) -> list[str]:
    channels = value.shape[1]
    groups = draft.pick([group for group in (1, 1, 2, channels) if channels % group == 0])
    out = groups * draft.between(1, 3)
    kernel = [draft.between(1, 3), draft.between(1, 3)]
    weight = draft.weight(out, channels // groups, *kernel)
    bias = [draft.store(draft.normal(out))] if draft.chance() else []
    options = {**_geometry(draft, dilated=True), "group": groups}
    if draft.chance():
        options["kernel_shape"] = kernel
    return draft.add("Conv", [value.name, weight, *bias], **options)


def transposed(draft: Draft, value: Value) -> list[str]:
    channels = value.shape[1]
    groups = draft.pick([group for group in (1, 1, channels) if channels % group == 0])
    kernel, strides = [draft.between(1, 3), draft.between(1, 3)], [draft.between(1, 2), draft.between(1, 2)]
    weight = draft.weight(channels, channels if groups == 1 else 1, *kernel)
    options: dict[str, Any] = {"strides": strides, "group": groups}
    if draft.chance():
        options["pads"] = [draft.between(0, size - 1) for size in (*kernel, *kernel)]
    if draft.chance(0.3):
        options["output_padding"] = [draft.between(0, stride - 1) for stride in strides]
    if draft.chance(0.2):
        options["dilations"] = [2, 1]
    bias = [draft.store(draft.normal(channels))] if draft.chance() else []
    return draft.add("ConvTranspose", [value.name, weight, *bias], **options)


def pool(draft: Draft, value: Value) -> list[str]:
    operator = draft.pick(["MaxPool", "AveragePool", "AveragePool", "LpPool"])
    kernel = [draft.between(1, 3), draft.between(1, 3)]
    dilated = operator == "MaxPool" or (draft.opset >= 19 and operator == "AveragePool")
    options = {**_geometry(draft, dilated, kernel), "kernel_shape": kernel}
    if draft.chance() and "auto_pad" not in options and (operator != "LpPool" or draft.opset >= 18):
        options["ceil_mode"] = 1
    if operator == "AveragePool" and draft.chance():
        options["count_include_pad"] = 1
    if operator == "LpPool":
        options["p"] = draft.between(1, 3)
    return draft.add(operator, [value.name], **options)


def _geometry(draft: Draft, dilated: bool, kernel: list[int] | None = None) -> dict[str, Any]:
    """Strides, dilations and padding as an operator may have them."""
    options: dict[str, Any] = {}
    if draft.chance():
        options["strides"] = [draft.between(1, 3), draft.between(1, 2)]
    how = draft.pick(["none", "pads", "pads", "auto"])
    if how == "auto":
        options["auto_pad"] = draft.pick(["SAME_UPPER", "SAME_LOWER", "VALID"])
    elif dilated and draft.chance(0.3):
        options["dilations"] = [draft.between(1, 2), draft.between(1, 2)]
    if how == "pads":
        options["pads"] = [draft.between(0, size - 1) for size in (kernel or [3, 3]) * 2]
    return options


def global_pool(draft: Draft, value: Value) -> list[str]:
    return draft.add(draft.pick(["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"]), [value.name])


def pad(draft: Draft, value: Value) -> list[str]:
    mode = draft.pick(["constant", "reflect", "edge", *(["wrap"] if draft.opset >= 19 else [])])
    if mode == "constant" and draft.chance(0.3):
        amounts = [0, 0, draft.between(-1, 2), -1, 0, draft.between(0, 1), draft.between(-1, 1), 2]
    else:
        sides = [draft.between(0, 2) for _ in range(4)]
        amounts = [0, 0, *sides[:2], 0, 0, *sides[2:]]
    inputs = [value.name, draft.store(amounts, "int64")]
    if mode == "constant" and draft.chance():
        inputs.append(draft.store(value.example.dtype.type(draft.between(0, 3))))
    if draft.opset >= 18 and draft.chance(0.3):
        inputs[1] = draft.store([amounts[2], amounts[3], amounts[6], amounts[7]], "int64")
        inputs += ["", draft.store([2, 3], "int64")] if len(inputs) == 2 else [draft.store([2, 3], "int64")]
    return draft.add("Pad", inputs, mode=mode)


def resize(draft: Draft, value: Value) -> list[str]:
    mode = draft.pick(["nearest", "linear", "cubic"])
    options: dict[str, Any] = {"mode": mode}
    options["coordinate_transformation_mode"] = draft.pick(
        ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
        + (["half_pixel_symmetric"] if draft.opset >= 19 else [])
    )
    if mode == "nearest":
        options["nearest_mode"] = draft.pick(["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
    if mode == "cubic" and draft.chance(0.4):
        options["exclude_outside"] = 1
    if mode == "cubic" and draft.chance(0.4):
        options["cubic_coeff_a"] = -0.5
    if draft.opset >= 18 and mode != "nearest" and draft.chance(0.25):
        options["antialias"] = 1
    by_size = options["coordinate_transformation_mode"] in ("align_corners", "pytorch_half_pixel")
    if (draft.chance(0.7) or draft.open_sizes) and not by_size:  # for these, what ends in a fraction is left open
        scales = [draft.pick([0.5, 1.0, 1.5, 2.0, 3.0]), draft.pick([0.5, 1.0, 2.0, 2.5])]
        return draft.add("Resize", [value.name, "", draft.store([1, 1, *scales], "float32")], **options)
    if draft.open_sizes:
        raise Unfit
    sizes = [*value.shape[:2], draft.between(1, 12), draft.between(1, 12)]
    return draft.add("Resize", [value.name, "", "", draft.store(sizes, "int64")], **options)


def resize_to_other(draft: Draft, value: Value) -> list[str]:
    """The sizes of another tensor, computed: how decoders reach the size of a skip connection."""
    others = [other for other in draft.values if other.example.ndim == 4 and other.name != value.name]
    if not others:
        raise Unfit
    plane = draft.one("Slice", draft.one("Shape", draft.pick(others).name), *_stored(draft, [2], [4]))
    front = draft.one("Slice", draft.one("Shape", value.name), *_stored(draft, [0], [2]))
    sizes = draft.one("Concat", front, plane, axis=0)
    mode = draft.pick(["nearest", "linear"])
    if mode == "nearest":
        return draft.add(
            "Resize", [value.name, "", "", sizes], coordinate_transformation_mode="asymmetric", nearest_mode="floor"
        )
    return draft.add("Resize", [value.name, "", "", sizes], mode=mode)


def _stored(draft: Draft, *lists: list[int]) -> list[str]:
    return [draft.store(entries, "int64") for entries in lists]


def depth_to_space(draft: Draft, value: Value) -> list[str]:
    if draft.chance():
        return draft.add("SpaceToDepth", [value.name], blocksize=2)
    return draft.add("DepthToSpace", [value.name], blocksize=2, mode=draft.pick(["DCR", "CRD"]))


def sample(draft: Draft, value: Value) -> list[str]:
    """GridSample on a stored grid that reaches beyond the borders."""
    grid = draft.store(np.clip(draft.normal(value.shape[0], 4, 5, 2, scale=0.7), -1.4, 1.4))
    modes = ["linear", "nearest", "cubic"] if draft.opset >= 20 else ["bilinear", "nearest", "bicubic"]
    return draft.add(
        "GridSample",
        [value.name, grid],
        mode=draft.pick(modes),
        padding_mode=draft.pick(["zeros", "border", "reflection"]),
        align_corners=draft.between(0, 1),
    )
