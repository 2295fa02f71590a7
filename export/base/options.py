"""What an export or an optimization can be asked for, with every default; imports neither PyTorch nor ONNX.

A new option of `export` is a field here, a parameter of export/api.py and a flag of rectexport/cli/commands/export.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Literal, get_args

from rectexport.exporter.base.processing import Answer, ImageInput
from rectexport.runtime.base.shapes import Shape
from rectexport.runtime.errors import Option, UsageError
from rectexport.runtime.tuning.candidate import PLACEMENTS

#: Opsets that torch's exporter covers and the dialect's functions can be written in.
MIN_OPSET, MAX_OPSET, DEFAULT_OPSET = 18, 23, 18
#: Convolutions and pools have bfloat16 since this opset.
BFLOAT16_OPSET = 22
RectifyForm = Literal["auto", "fold", "graph", "plugin"]
RECTIFY_FORMS: tuple[str, ...] = get_args(RectifyForm)
DEFAULT_RECTIFY: RectifyForm = "auto"
TARGETS = ("onnxruntime", "openvino", "tensorrt", "portable")
DEFAULT_TARGET = "onnxruntime"
#: Most seconds that a trace may take; ordinary networks need a few, the largest a minute or two.
TRACE_TIMEOUT = 600.0
#: Stands for the engines that are installed on this machine.
AUTO = "auto"
#: The first target of a package that is among these gets model.onnx, which serves every engine without its own file.
_ORDER = ("portable", "onnxruntime", "openvino", "tensorrt")


#: Fewer images than this find ranges that are too narrow: 4 cost 11 dB, 16 cost 2 dB, 64 none.
LEAST_IMAGES = 16
#: How a tensor's range is taken from the calibration data.
CALIBRATION_METHODS = ("mse", "minmax", "entropy")


@dataclass(frozen=True)
class Int8:
    """How to quantize.

    calibrate     a folder of images, an .npz with one array for each input, or such arrays by name; a part is held out
                  to check the result, with `labels` for its accuracy
    method        one of CALIBRATION_METHODS
    images        most items to calibrate on
    labels        for a folder of images: see `rectexport.evaluate`
    mean, std     for images: the input is (pixel / 255 - mean) / std
    keep_float    patterns of the names of layers that stay in float, as in "*/head/*"
    min_snr       least signal-to-noise ratio of the outputs in dB; layers stay in float until it is reached
    float_budget  largest share of the multiplications that may stay in float for min_snr
    portable      7-bit weights, which give the same answers on processors with and without VNNI
    force         write the package also where int8 is not faster than float32 on this machine
    placement     one of PLACEMENTS, for rectified convolutions on ONNX Runtime: the form that suits their size, a pair
                  of Q/DQ nodes before and behind each, or strips

    Raises UsageError that names the parameter.
    """

    calibrate: Any
    method: str = "mse"
    images: int = 256
    labels: Any = None
    mean: Sequence[float] = (0.0,)
    std: Sequence[float] = (1.0,)
    keep_float: Sequence[str] = ()
    min_snr: float | None = None
    float_budget: float = 0.05
    portable: bool = False
    force: bool = False
    placement: str = "auto"

    def __post_init__(self) -> None:
        if self.placement not in PLACEMENTS:
            raise UsageError(Option("int8_placement", self.placement), f": expected one of {', '.join(PLACEMENTS)}")
        if self.method not in CALIBRATION_METHODS:
            expected = ", ".join(CALIBRATION_METHODS)
            raise UsageError(Option("calibration_method", self.method), f": expected one of {expected}")
        if self.images < LEAST_IMAGES:
            raise UsageError(Option("calibration_images", self.images), f": expected {LEAST_IMAGES} or more")
        if self.min_snr is not None and not isfinite(self.min_snr):
            raise UsageError(Option("min_snr", self.min_snr), ": expected a number of dB, as in 35")
        if not 0 <= self.float_budget <= 1:
            raise UsageError(Option("float_budget", self.float_budget), ": expected a share from 0 to 1, as in 5%")


@dataclass(frozen=True)
class ExportOptions:
    """How to export; the defaults suit most models.

    opset           None: 18, or 22 with bf16; see graph_opset
    rectify         one of RECTIFY_FORMS
    target          one of TARGETS, several of them joined by commas, or "auto": the engines installed here
    fp16, bf16      the graph's floats; inputs and outputs stay float32. fp16 with int8, for TensorRT: what is not int8
    atol, rtol      elementwise bounds by output name, "" for every output, besides the relative L2 bound
    guard           compare the model around every pass
    report          write report.html into the package
    dynamic_shapes  as torch.export.export takes it
    trace_timeout   most seconds that a trace may take
    output_names    names of the outputs in order; empty: the keys and fields that forward returns them under
    image_input     an 8-bit image in front of the model
    answer          what becomes of an output
    preprocess, postprocess  modules before and behind the model, in place of these two
    command         the words that export again, for reproduce.sh
    passes          a PassPipeline; None runs the default passes
    int8            how to quantize; None leaves the graph in floating point
    tensorrt_version  the version of TensorRT that target "tensorrt" is judged for, as in "10.3"; None for all

    Raises UsageError that names the parameter.
    """

    opset: int | None = None
    rectify: str = DEFAULT_RECTIFY
    target: str = DEFAULT_TARGET
    fp16: bool = False
    bf16: bool = False
    atol: Mapping[str, float] = field(default_factory=dict)
    rtol: Mapping[str, float] = field(default_factory=dict)
    guard: bool = True
    report: bool = False
    dynamic_shapes: Any = None
    trace_timeout: float = TRACE_TIMEOUT
    output_names: Sequence[str] = ()
    image_input: ImageInput | None = None
    answer: Answer | None = None
    preprocess: Any = None
    postprocess: Any = None
    command: Sequence[str] = ()
    passes: Any = None
    int8: Int8 | None = None
    tensorrt_version: str | None = None

    def __post_init__(self) -> None:
        if self.rectify not in RECTIFY_FORMS:
            raise UsageError(Option("rectify", self.rectify), f": expected one of {', '.join(RECTIFY_FORMS)}")
        check_targets(self.target)
        if self.tensorrt_version is not None and not {"tensorrt", AUTO} & set(self.targets):
            raise UsageError(Option("tensorrt_version"), ": is for ", Option("target", "tensorrt"))
        if not self.trace_timeout > 0:
            raise UsageError(Option("trace_timeout", self.trace_timeout), ": expected seconds, more than 0")
        if self.fp16 and self.bf16:
            raise UsageError(Option("fp16", True), " and ", Option("bf16", True), ": one precision at a time")
        if self.int8 is not None and self.bf16:
            raise UsageError(Option("int8"), " and ", Option("bf16", True), ": what is not int8 is float32, or float16")
        if self.int8 is not None and self.fp16 and self.target != "tensorrt":
            raise UsageError(
                Option("int8"),
                " and ",
                Option("fp16", True),
                ": only for ",
                Option("target", "tensorrt"),
                "; processors run what is not int8 faster in float32",
            )
        if self.int8 is not None and "portable" in self.target.split(","):
            raise UsageError(
                Option("target", self.target),
                ": each engine wants its Q/DQ nodes elsewhere, so int8 needs one; take ",
                Option("target", "auto"),
                ", or name engines",
            )
        for one, other in (("image_input", "preprocess"), ("answer", "postprocess")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                shown = "output" if one == "answer" else one
                raise UsageError(Option(shown), " and ", Option(other), ": one of the two")
        if not MIN_OPSET <= self.graph_opset <= MAX_OPSET:
            raise UsageError(
                Option("opset", self.opset), f": expected {MIN_OPSET}..{MAX_OPSET}, what torch's exporter covers"
            )

    @property
    def graph_opset(self) -> int:
        """The opset to export in."""
        default = BFLOAT16_OPSET if self.bf16 else DEFAULT_OPSET
        return default if self.opset is None else self.opset

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets, each once, the one that gets model.onnx first; ("auto",) where that was asked for."""
        asked = self.target.split(",")
        return (AUTO,) if asked == [AUTO] else tuple(name for name in _ORDER if name in asked)

    @property
    def precision(self) -> str:
        """fp32, fp16, bf16 or int8."""
        return "int8" if self.int8 is not None else "fp16" if self.fp16 else "bf16" if self.bf16 else "fp32"

    def recorded(self) -> dict[str, Any]:
        """The options that the manifest records."""
        return {
            "opset": self.graph_opset,
            "rectify": self.rectify,
            "target": self.target,
            "precision": self.precision,
            "guard": self.guard,
            **({"rest": "fp16"} if self.int8 is not None and self.fp16 else {}),
        }


@dataclass(frozen=True)
class LoadOptions:
    """What a model file itself does not contain.

    arch            name of the zoo's network that a state_dict belongs to
    trust_pickle    unpickle the file, and load archives that could run code
    rectify_model   replace every zero-padded convolution by a rectified one
    model           the user's own network that a state_dict belongs to: as mynets.py:UNet or package.module:build, or
                    the class, function or module itself
    model_args      arguments for it: a mapping, or words as they are typed, "width=8"
    weights         which weights of a file that has several: "raw", "ema", or the name of a set; None prefers raw ones
    rectified       with arch: whether the weights are those of the rectified or of the plain network; None assumes the
                    zoo's
    """

    arch: str | None = None
    trust_pickle: bool = False
    rectify_model: bool = False
    model: Any = None
    model_args: Sequence[str] | Mapping[str, Any] = ()
    weights: str | None = None
    rectified: bool | None = None

    def __post_init__(self) -> None:
        if self.model is not None and self.arch is not None:
            raise UsageError(Option("arch", self.arch), " and ", Option("model"), ": give one of them")
        if self.model_args and self.model is None:
            raise UsageError(Option("model_args"), ": are for ", Option("model"))
        if self.rectified is not None and self.arch is None:
            flag = "rectified" if self.rectified else "plain"
            raise UsageError(
                Option(flag), ": says what the weights of ", Option("arch"), " are; any network is rectified by ",
                Option("rectify_model"),
            )  # fmt: skip


@dataclass(frozen=True)
class ShapeOptions:
    """Shapes of the inputs as they are typed, NAME:SHAPE, unparsed; `load` is an .npz of example inputs by name.

    multiple    what the sizes of each axis must be multiples of
    """

    input: Sequence[str] = ()
    min: Sequence[str] = ()
    opt: Sequence[str] = ()
    max: Sequence[str] = ()
    load: Path | None = None
    multiple: Sequence[str] = ()


@dataclass(frozen=True)
class OptimizeOptions:
    """How to optimize.

    shapes gives the sizes of inputs that the model leaves open, by input name; passes is a PassPipeline, None runs the
    default passes. feeds are the inputs by name that the guard compares on; None draws random ones.
    """

    target: str = DEFAULT_TARGET
    tune: bool = False
    guard: bool = True
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    passes: Any = None
    feeds: Any = None


def check_target(target: str) -> None:
    """Raises UsageError for a target that is not known."""
    if target not in TARGETS:
        raise UsageError(Option("target", target), f": expected one of {', '.join(TARGETS)}")


def check_targets(targets: str) -> None:
    """Raises UsageError unless it is "auto", a known target, or several known targets joined by commas."""
    if targets == AUTO:
        return
    for name in targets.split(","):
        if name not in TARGETS:
            several = "; several are joined by commas, and auto stands for the engines installed here"
            raise UsageError(Option("target", targets), f": expected one of {', '.join(TARGETS)}{several}")
