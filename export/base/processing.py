"""The texts of --image-input and --output: an image at the front of a model, an answer at its back.

    image:uint8,nhwc,rgb,resize=256,crop=224,mean=0.485,0.456,0.406,std=0.229,0.224,0.225
    topk=5      logits:softmax

Imports neither PyTorch nor ONNX, so that mistakes show at once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rectexport.runtime.errors import Option, UsageError

DTYPE = "uint8"
LAYOUTS = ("nhwc", "nchw")
CHANNELS = {"rgb": 3, "bgr": 3, "gray": 1}
FILTERS = ("bilinear", "bicubic")
#: Largest value of a pixel.
WHITE = 255
MAX_SIDE = 1 << 14
ANSWERS = ("softmax", "sigmoid", "argmax", "topk")
_IMAGE = "NAME:uint8,nhwc,rgb,resize=256,crop=224,mean=…,std=…"


@dataclass(frozen=True)
class ImageInput:
    """How an 8-bit image becomes what the model takes, [N, C, H, W]: resize, crop, (pixel / scale - mean) / std.

    name           the package's input
    layout         nhwc or nchw
    channels       their order in the image: rgb, bgr (turned into rgb), or gray, one channel
    resize         () for none, (S,) for the shorter side as torchvision's Resize, (H, W) for both
    crop           () for none, (H, W) from the centre as torchvision's CenterCrop
    interpolation  bilinear or bicubic, with antialias, not rounded to whole pixels
    scale          255, or 1 for pixels as they are
    mean, std      one value, or one for each channel in the model's order
    """

    name: str
    layout: str = "nhwc"
    channels: str = "rgb"
    resize: tuple[int, ...] = ()
    crop: tuple[int, ...] = ()
    interpolation: str = "bilinear"
    scale: float = WHITE
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    @property
    def depth(self) -> int:
        """Number of channels."""
        return CHANNELS[self.channels]

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of a batch's axes."""
        return (
            ("batch", "height", "width", "channels")
            if self.layout == "nhwc"
            else ("batch", "channels", "height", "width")
        )

    def shape(self, rows: int, height: int, width: int) -> tuple[int, ...]:
        """The shape of a batch of images of this size."""
        planes = (rows, height, width, self.depth), (rows, self.depth, height, width)
        return planes[LAYOUTS.index(self.layout)]

    def recorded(self) -> dict[str, Any]:
        """The entry `preprocessing` of a manifest."""
        return {
            "input": self.name,
            "dtype": DTYPE,
            **{key: _plain(v) for key, v in asdict(self).items() if key != "name"},
        }

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> ImageInput:
        """From a manifest's entry."""
        fields: dict[str, Any] = {
            key: tuple(v) if isinstance(v, list) else v for key, v in entry.items() if key not in ("input", "dtype")
        }
        return cls(entry["input"], **fields)


@dataclass(frozen=True)
class Answer:
    """What becomes of an output: softmax, sigmoid, argmax or topk with `k` classes; output is None for the only one."""

    kind: str
    k: int = 0
    output: str | None = None

    def recorded(self) -> dict[str, Any]:
        """The entry `postprocessing` of a manifest."""
        return {"kind": self.kind, "output": self.output} | ({"k": self.k} if self.kind == "topk" else {})

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Answer:
        """From a manifest's entry."""
        return cls(entry["kind"], entry.get("k", 0), entry.get("output"))


def parse_image_input(text: str) -> ImageInput:
    """Raises UsageError that shows what is accepted."""
    name, colon, rest = text.partition(":")
    if not colon or not name.strip() or "=" in name or "," in name:
        raise _refusal(text, f"expected {_IMAGE}")
    words: list[str] = []
    values: dict[str, list[str]] = {}
    for part in (entry.strip() for entry in rest.split(",")):
        key, equals, value = part.partition("=")
        if equals:
            if key in values:
                raise _refusal(text, f"{key} is given twice")
            values[key] = [value]
        elif values and re.fullmatch(r"[-+.\d][\d.eE+-]*", part):
            values[list(values)[-1]].append(part)
        else:
            words.append(part)
    return _image(text, name.strip(), words, values)


def parse_answer(text: str) -> Answer:
    """Raises UsageError that shows what is accepted."""
    output, colon, rest = text.rpartition(":")
    kind, equals, count = rest.strip().partition("=")
    wrong = kind not in ANSWERS or bool(equals) != (kind == "topk") or (colon and not output.strip())
    if wrong or (equals and not re.fullmatch(r"[1-9]\d{0,5}", count)):
        raise UsageError(Option("output", text), ": expected softmax, sigmoid, argmax or topk=5, or NAME:softmax")
    return Answer(kind, int(count or 0), output.strip() or None)


def _image(text: str, name: str, words: list[str], values: dict[str, list[str]]) -> ImageInput:
    known = {DTYPE: "dtype", "raw": "scale"} | dict.fromkeys(LAYOUTS, "layout") | dict.fromkeys(CHANNELS, "channels")
    chosen: dict[str, str] = {}
    for word in words:
        if word not in known:
            raise _refusal(text, f"unknown {word!r:.100}; expected {', '.join(known)}, resize=, crop=, mean=, std=")
        if known[word] in chosen:
            raise _refusal(text, f"{chosen[known[word]]} and {word} contradict each other")
        chosen[known[word]] = word
    if unknown := sorted(values.keys() - {"resize", "crop", "interpolation", "mean", "std"}):
        raise _refusal(text, f"unknown {unknown[0]!r:.100}; expected resize, crop, interpolation, mean, std")
    filters = values.get("interpolation", ["bilinear"])
    if len(filters) != 1 or filters[0] not in FILTERS:
        raise _refusal(text, f"interpolation: expected {' or '.join(FILTERS)}")
    crop = _sides(text, "crop", values)
    channels = chosen.get("channels", "rgb")
    return ImageInput(
        name,
        chosen.get("layout", "nhwc"),
        channels,
        _sides(text, "resize", values),
        crop * 2 if len(crop) == 1 else crop,
        filters[0],
        1 if "scale" in chosen else WHITE,
        _numbers(text, "mean", values, channels, 0.0),
        _numbers(text, "std", values, channels, 1.0),
    )


def _sides(text: str, key: str, values: dict[str, list[str]]) -> tuple[int, ...]:
    if key not in values:
        return ()
    parts = values[key][0].split("x") if len(values[key]) == 1 else ["?"]
    if len(parts) > 2 or not all(re.fullmatch(r"[1-9]\d{0,5}", part) and int(part) <= MAX_SIDE for part in parts):
        raise _refusal(text, f"{key}: expected a side, as in {key}=256, or HxW, as in {key}=240x320, up to {MAX_SIDE}")
    return tuple(map(int, parts))


def _numbers(text: str, key: str, values: dict[str, list[str]], channels: str, default: float) -> tuple[float, ...]:
    if key not in values:
        return (default,)
    try:
        found = tuple(map(float, values[key]))
    except ValueError:
        found = ()
    usable = all(math.isfinite(value) and (key == "mean" or value > 0) for value in found)
    if not usable or len(found) not in (1, CHANNELS[channels]):
        positive = "" if key == "mean" else "positive "
        raise _refusal(text, f"{key}: expected one {positive}number, or {CHANNELS[channels]} for {channels}")
    return found


def _refusal(text: str, why: str) -> UsageError:
    return UsageError(Option("image_input", text), f": {why}")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
