"""Flags and arguments that several commands share, each declared once: a word means the same in every command.

A flag of one command alone is declared in that command's module.
"""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rectexport.runtime.base.texts import printable
from rectexport.runtime.errors import Option, UsageError

if TYPE_CHECKING:
    from rectexport.runtime.arrays.input_files import ImageScaling

#: Panels of the help pages.
MODEL, INPUTS, OUTPUT, ENGINE, SERVER, CHECKS, RUN = "Model", "Inputs", "Output", "Engine", "Server", "Checks", "Run"
REFERENCE = "Reference"


def _option(*flags: str, panel: str, **settings: Any) -> Any:
    return typer.Option(*flags, rich_help_panel=panel, **settings)


# What a command works on.

PackageFolder = Annotated[Path, typer.Argument(metavar="PACKAGE", help="Folder of a package.", show_default=False)]
Packages = Annotated[
    list[str],
    typer.Argument(
        metavar="PACKAGE",
        help="Packages, as PACKAGE, NAME=PACKAGE or NAME/VERSION=PACKAGE, or folders of a Triton repository.",
        show_default=False,
    ),
]
OnnxFile = Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="Any ONNX file.", show_default=False)]

# A PyTorch model, and how it is loaded.

Arch = Annotated[
    str | None,
    _option(
        "--arch",
        metavar="NAME",
        help="Architecture that the state_dict belongs to; `rectexport models` lists them.",
        panel=MODEL,
    ),
]
OwnModel = Annotated[
    str | None,
    _option(
        "--model",
        metavar="FILE.py:NAME",
        help="Your own network that the state_dict belongs to: a class or function, also as package.module:NAME. Its "
        "code runs.",
        panel=MODEL,
    ),
]
ModelArgs = Annotated[
    list[str] | None,
    _option(
        "--model-args",
        metavar="NAME=VALUE",
        help="Argument for --model, as in width=8 or blocks=(2,2); repeatable.",
        panel=MODEL,
    ),
]
Weights = Annotated[
    str | None,
    _option(
        "--weights",
        metavar="raw|ema|NAME",
        help="Which weights of a file that holds several: raw, ema (averaged ones), or the name of a set. [default: "
        "raw ones where there are any]",
        panel=MODEL,
    ),
]
Rectified = Annotated[
    bool | None,
    _option(
        "--rectified/--plain",
        help="With --arch: whether the weights were trained with rectified convolutions; the keys do not say. "
        "[default: as in the zoo, which is said]",
        show_default=False,
        panel=MODEL,
    ),
]
TrustPickle = Annotated[
    bool, _option("--trust-pickle", help="Unpickle MODEL, which runs code from the file.", panel=MODEL)
]
RectifyModel = Annotated[
    bool,
    _option("--rectify-model", help="Rectify every zero-padded convolution of MODEL; weights stay.", panel=MODEL),
]

# Shapes and values of inputs.

_SHAPE = "NAME:SHAPE"


def input_shapes(help: str) -> Any:
    """--input: the shape of an input."""
    return _option("--input", metavar=_SHAPE, help=help, panel=INPUTS)


InputShapes = Annotated[list[str] | None, input_shapes("Shape of an input, as in x:1x3x224x224; repeatable.")]
MinShapes = Annotated[
    list[str] | None,
    _option(
        "--min-shapes",
        "--minShapes",
        metavar=_SHAPE,
        help="Smallest shape. A dimension that differs from --max-shapes may vary.",
        panel=INPUTS,
    ),
]
OptShapes = Annotated[
    list[str] | None,
    _option(
        "--opt-shapes",
        "--optShapes",
        metavar=_SHAPE,
        help="Most common shape, which the engine is tuned for.",
        panel=INPUTS,
    ),
]
MaxShapes = Annotated[
    list[str] | None,
    _option("--max-shapes", "--maxShapes", metavar=_SHAPE, help="Largest shape.", panel=INPUTS),
]


ImageInput = Annotated[
    str | None,
    _option(
        "--image-input",
        metavar="NAME:OPTIONS",
        help="Take 8-bit images, as in x:uint8,nhwc,rgb with resize=256, crop=224, mean=0.5, std=0.25 behind it, "
        "joined by commas. Also nchw, bgr, gray, resize=HxW, interpolation=bicubic, raw (0..255 as it is).",
        show_default=False,
        panel=INPUTS,
    ),
]
Answer = Annotated[
    str | None,
    _option(
        "--output",
        metavar="[NAME:]ANSWER",
        help="Answer in place of logits: softmax, sigmoid, argmax, or topk=5 for the best classes.",
        show_default=False,
        panel=OUTPUT,
    ),
]


def input_files(help: str) -> Any:
    """--inputs: values of the inputs, arrays or images from files."""
    return _option("--inputs", metavar="FILE", help=help, show_default=False, panel=INPUTS)


Mean = Annotated[
    str,
    _option("--mean", metavar="M[,M,M]", help="For images: the input is (pixel / 255 - mean) / std.", panel=INPUTS),
]
Std = Annotated[str, _option("--std", metavar="S[,S,S]", help="For images, see --mean.", panel=INPUTS)]


def image_scaling(mean: str, std: str) -> ImageScaling:
    """--mean and --std. Raises UsageError unless they are finite numbers, and std not 0."""
    from rectexport.runtime.arrays.input_files import ImageScaling

    scaling = ImageScaling(_numbers(mean, "--mean"), _numbers(std, "--std"))
    if 0.0 in scaling.std:
        raise UsageError(f"--std {std!r}: expected numbers other than 0")
    return scaling


def _numbers(text: str, flag: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or not all(map(isfinite, numbers)):
        raise UsageError(f"{flag} {text!r}: expected one number, or one per channel separated by commas")
    return numbers


def labels(help: str) -> Any:
    """--labels: names of the classes, or the labels of images."""
    return _option("--labels", metavar="FILE", help=help, show_default=False, panel=INPUTS)


Labels = Annotated[
    Path | None,
    labels(
        "For images: a .csv of images and class numbers (or targets: images or .npy files), or a text file with the "
        "names of the class folders in the order of the outputs. [default: folders in alphabetical order]"
    ),
]


def against(help: str) -> Any:
    """--against: the reference that a package is compared with."""
    return _option("--against", metavar="MODEL", help=help, show_default=False, panel=REFERENCE)


# Engines.

TensorRTVersion = Annotated[
    str | None,
    _option(
        "--tensorrt-version",
        metavar="X.Y",
        help="Judge the model for this version of TensorRT alone, as in 8.6 or 10.3. [default: 8.6, 10 and 11]",
        show_default=False,
        panel=ENGINE,
    ),
]
BACKENDS = ("tensorrt", "cuda", "openvino", "onnxruntime")
DEFAULT_BACKEND = "auto"


def backend(help: str, metavar: str = "NAME") -> Any:
    """--backend: the engine that runs the package."""
    return _option("--backend", metavar=metavar, help=help, panel=ENGINE)


Backend = Annotated[str, backend(f"Engine: {', '.join(BACKENDS)}, or auto, the first of these that works here.")]
Backends = Annotated[str, backend(f"Engines: {', '.join(BACKENDS)}.", "NAME[,NAME]")]
AllowUnproven = Annotated[
    bool,
    _option(
        "--allow-unproven",
        help="Run an engine although its answers disagree with the source model's.",
        panel=ENGINE,
    ),
]
Device = Annotated[int, _option("--device", metavar="N", min=0, help="Index of the GPU.", panel=ENGINE)]
Threads = Annotated[
    int,
    _option("--threads", metavar="N", min=0, help="Threads of a CPU engine; 0 chooses by the cores.", panel=ENGINE),
]


def target(help: str = "", **settings: Any) -> Any:
    """--target: the engine that the graph is written for."""
    text = f"Engine to write the graph for: onnxruntime, openvino, tensorrt or portable.{help}"
    return _option("--target", metavar="NAME", help=text, panel=ENGINE, **settings)


def targets(help: str = "", **settings: Any) -> Any:
    """--target where a package may have several."""
    several = " Several joined by commas get a file each where they differ; auto: the engines installed here."
    return target(several + help, **settings)


NoGuard = Annotated[
    bool, _option("--no-guard", help="Do not compare the model's outputs around every pass.", panel=CHECKS)
]

# Serving.

DEFAULT_DELAY_US = 500
DEFAULT_REPLICAS = "2..8"
Host = Annotated[str, _option("--host", metavar="ADDRESS", help="Address to listen on.", panel=SERVER)]


def port(help: str, least: int) -> Any:
    """--port: where HTTP is served."""
    return _option("--port", metavar="N", min=least, max=65535, help=help, panel=SERVER)


TokenFile = Annotated[
    Path | None,
    _option("--token-file", metavar="FILE", help="File with the token that clients must send.", panel=SERVER),
]
Insecure = Annotated[bool, _option("--insecure", help="Serve beyond loopback without a token.", panel=SERVER)]
Instances = Annotated[int, _option("--instances", metavar="N", min=1, help="Workers for each model.", panel=SERVER)]
MaxBatch = Annotated[
    int | None,
    _option(
        "--max-batch",
        metavar="N",
        min=1,
        help="Most rows of one batch. [default: the package's, at most 64]",
        panel=SERVER,
    ),
]
MaxDelay = Annotated[
    int,
    _option(
        "--max-delay-us", metavar="N", min=0, help="Maximum batching delay, in microseconds; 0 for none.", panel=SERVER
    ),
]
_RAY = "Ray Serve"
Replicas = Annotated[str, _option("--replicas", metavar="N..N", help="Smallest and largest number.", panel=_RAY)]
NumCpus = Annotated[float, _option("--num-cpus", metavar="N", min=0, help="Cores that a replica reserves.", panel=_RAY)]
NumGpus = Annotated[float, _option("--num-gpus", metavar="N", min=0, help="GPUs that a replica reserves.", panel=_RAY)]

# Keys.


def key(help: str) -> Any:
    """--key: a file with an Ed25519 key."""
    return typer.Option("--key", metavar="FILE", help=help)


# The run itself.


def out(metavar: str, help: str, show_default: bool = False) -> Any:
    """-o, --out: the file or folder that the command writes."""
    return _option("-o", "--out", metavar=metavar, help=help, show_default=show_default, panel=OUTPUT)


Quiet = Annotated[bool, _option("-q", "--quiet", help="Print only errors and the last line.", panel=RUN)]
Verbose = Annotated[bool, _option("-v", "--verbose", help="Print details.", panel=RUN)]
AsJson = Annotated[
    bool, _option("--json", help="Print one JSON document on stdout, and the rest on stderr.", panel=RUN)
]

#: Command -> old spelling of a flag -> its spelling now. An entry stays for one version.
OLD_SPELLINGS: dict[str, dict[str, str]] = {
    "export": {"--load-inputs": "--inputs"},
    "parity": {"--shapes": "--input"},
}
#: The version that takes only the spellings of now.
ENDS_IN = "0.3"


def new_spellings(command: str, words: list[str]) -> tuple[list[str], list[str]]:
    """The words with old flags replaced, and a notice for each."""
    table = OLD_SPELLINGS.get(command, {})
    replaced, used = [], list[str]()
    end = words.index("--") if "--" in words else len(words)
    for word in words[:end]:
        flag, equals, value = word.partition("=")
        if flag in table:
            used.append(flag)
        replaced.append(f"{table.get(flag, flag)}{equals}{value}")
    notices = [f"{flag} is now {table[flag]}; the old spelling goes away in {ENDS_IN}" for flag in dict.fromkeys(used)]
    return [*replaced, *words[end:]], notices


#: Parameters of the Python API whose flag is not --name.
_FLAGS = {"shapes": "--input", "guard": "--no-guard"}


def as_flag(option: Option) -> str:
    """A parameter of the Python API as it is typed here: opset=5 is --opset 5."""
    flag = _FLAGS.get(option.name, f"--{option.name.replace('_', '-')}")
    value = option.value
    if value is None or isinstance(value, bool):
        return flag
    if isinstance(value, dict):
        value = ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in value.items())
    return f"{flag} {printable(str(value)):.200}"
