"""Building a TensorRT engine, for `rectexport MODEL --trt` and `rectexport build`: flags, progress, result."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from rectexport.cli.failure import check_interrupted
from rectexport.runtime.base.texts import printable
from rectexport.runtime.engines.tensorrt import versions
from rectexport.runtime.engines.tensorrt.building.building import Built, ensure_plan, model_of
from rectexport.runtime.engines.tensorrt.building.rtx import RtxBuilt, ensure_rtx_engine, parse_targets
from rectexport.runtime.engines.tensorrt.options import BuildOptions, parse_size
from rectexport.runtime.engines.tensorrt.profiles import Profile, describe, from_dict, make_profiles
from rectexport.runtime.engines.tensorrt.trtexec import load_command
from rectexport.runtime.errors import RectexportError, UsageError
from rectexport.runtime.package.folder import Package

if TYPE_CHECKING:
    from rectexport.runtime.engines.tensorrt.building.inspector import Layer
    from rectexport.runtime.engines.tensorrt.plans import Plan

PANEL = "TensorRT"
#: Flags that TensorRT for RTX has nothing for.
_TRT_ALONE = (
    "version_compatible",
    "hardware_compatibility",
    "strip_plan",
    "plugins",
    "layers",
    "dla_core",
    "allow_gpu_fallback",
)


def _option(*flags: str, **settings: Any) -> Any:
    return typer.Option(*flags, rich_help_panel=PANEL, **settings)


Trt = Annotated[bool, _option("--trt", help="Build a TensorRT engine for this machine.")]
Rtx = Annotated[
    bool,
    _option("--rtx", help="Build an engine of TensorRT for RTX, for kinds of RTX GPUs; no GPU is needed here."),
]
Capabilities = Annotated[
    list[str] | None,
    _option(
        "--compute-capability",
        metavar="X.Y",
        help="With --rtx: a kind of GPU, 7.5, 8.6, 8.9 or 12.0; repeatable. [default: all of them]",
    ),
]
Profiles = Annotated[
    list[str] | None,
    _option(
        "--profile",
        metavar="NAME:MIN..OPT..MAX",
        help="Shapes to build for, or one NAME:SHAPE; repeatable. [default: the package's whole range]",
    ),
]
Tf32 = Annotated[bool, _option("--tf32", help="Multiply float32 in TF32, with about 10 bits of precision.")]
Workspace = Annotated[
    str | None, _option("--workspace", metavar="SIZE", help="Limit of scratch memory, as in 4G or 512M.")
]
TimingCache = Annotated[
    Path | None,
    _option(
        "--timing-cache", metavar="FILE", help="File of kernel timings, read and written; later builds are faster."
    ),
]
VersionCompatible = Annotated[
    bool,
    _option(
        "--version-compatible", help="Build a plan that later TensorRT versions of the same major version also load."
    ),
]
Hardware = Annotated[
    str,
    _option(
        "--hardware-compatibility",
        metavar="LEVEL",
        help="none, ampere+ or same-compute-capability: runs on more GPUs, but slower.",
    ),
]
StripPlan = Annotated[
    bool,
    _option(
        "--strip-plan",
        help="Leave the weights out of the plan; they are loaded from model.onnx (TensorRT 10.1 and later).",
    ),
]
DlaCore = Annotated[
    int | None,
    _option(
        "--dla-core", metavar="N", min=0, help="Build for this accelerator (DLA) of a Jetson: float16 and fixed sizes."
    ),
]
GpuFallback = Annotated[
    bool, _option("--allow-gpu-fallback", help="With --dla-core: layers that the DLA lacks run on the GPU.")
]
Plugins = Annotated[
    list[Path] | None, _option("--plugins", metavar="LIB.so", help="Library of TensorRT plugins; repeatable.")
]
Layers = Annotated[
    Path | None,
    _option(
        "--layers", metavar="FILE", help="Write the engine's layers there, from TensorRT's engine inspector (JSON)."
    ),
]


@dataclass(frozen=True)
class EngineFlags:
    """The engine's flags as they were typed."""

    profiles: Sequence[str] = ()
    shapes: tuple[Sequence[str], Sequence[str], Sequence[str]] = ((), (), ())
    tf32: bool = False
    workspace: str | None = None
    timing_cache: Path | None = None
    version_compatible: bool = False
    hardware_compatibility: str = "none"
    strip_plan: bool = False
    dla_core: int | None = None
    allow_gpu_fallback: bool = False
    plugins: Sequence[Path] = ()
    layers: Path | None = None
    compute_capability: Sequence[str] = ()

    def check_unused(self) -> None:
        """Raise UsageError if a flag is not its default: without --trt it would have no effect."""
        for name, value in vars(self).items():
            if value != getattr(EngineFlags, name, None) and name != "shapes":
                flag = "profile" if name == "profiles" else name.replace("_", "-")
                raise UsageError(f"--{flag} is for an engine; add --trt or --rtx")

    def check_used(self, rtx: bool = False) -> RectexportError | None:
        """What this machine lacks for a build, found before the export. Raises UsageError if a value does not fit."""
        self._parsed(())
        self.check_kind(rtx)
        try:
            if rtx:
                versions.installed_rtx()
                versions.require_builder()
            else:
                versions.load()
        except RectexportError as error:
            return error
        return None

    def check_kind(self, rtx: bool) -> None:
        """Raise UsageError for a flag of the other kind of engine."""
        if self.compute_capability and not rtx:
            raise UsageError("--compute-capability is for --rtx: with --trt, the engine is for this machine's GPU")
        for name in _TRT_ALONE if rtx else ():
            if getattr(self, name) != getattr(EngineFlags, name):
                raise UsageError(f"--{name.replace('_', '-')} is for --trt: TensorRT for RTX lacks it")
        if rtx:
            parse_targets(self.compute_capability, "fp32", self.tf32)

    def command(self, folder: Path, kind: str = "--trt") -> str:
        """The command that builds this engine into a package."""
        words = ["rectexport", "build", str(folder), kind]
        named: dict[str, Sequence[object]] = dict(
            zip(("min-shapes", "opt-shapes", "max-shapes"), self.shapes, strict=True)
        )
        named |= {"profile": self.profiles, "plugins": self.plugins, "compute-capability": self.compute_capability}
        words += [word for name, values in named.items() for value in values for word in (f"--{name}", str(value))]
        for name, value in vars(self).items():
            if name in ("shapes", "profiles", "plugins", "compute_capability") or value == getattr(EngineFlags, name):
                continue
            words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
        return shlex.join(words)

    def options(self, package: Package) -> BuildOptions:
        """The parsed flags, for this package. Raises UsageError."""
        return self._parsed(make_profiles(package.manifest.inputs, self.profiles, *self.shapes))

    def _parsed(self, profiles: tuple[Profile, ...]) -> BuildOptions:
        return BuildOptions(
            profiles=profiles,
            tf32=self.tf32,
            workspace=None if self.workspace is None else parse_size(self.workspace),
            timing_cache=self.timing_cache,
            version_compatible=self.version_compatible,
            hardware_compatibility=self.hardware_compatibility,
            strip_plan=self.strip_plan,
            dla_core=self.dla_core,
            allow_gpu_fallback=self.allow_gpu_fallback,
            plugins=tuple(self.plugins),
        )


def build(console: Console, folder: Path, flags: EngineFlags, rebuild: bool = False) -> Built:
    """Put a plan for this machine into the package; a spinner shows progress."""
    package = Package.open(folder)
    options = flags.options(package)
    api = versions.load()
    begin = time.perf_counter()
    with spinner(console) as report:
        built = ensure_plan(folder, options, api, rebuild=rebuild, layers_file=flags.layers, report=report)
    check_interrupted()
    console.print(Text(f"{'engine':<10}{time.perf_counter() - begin:7.2f} s", style="bold"))
    return built


def build_rtx(console: Console, folder: Path, flags: EngineFlags, rebuild: bool = False) -> RtxBuilt:
    """Put an engine of TensorRT for RTX into the package; a spinner shows progress."""
    package = Package.open(folder)
    flags.check_kind(rtx=True)
    options, api = flags.options(package), versions.installed_rtx()
    targets = parse_targets(flags.compute_capability, model_of(package).precision, flags.tf32)
    begin = time.perf_counter()
    with spinner(console) as report:
        built = ensure_rtx_engine(folder, options, api, targets, rebuild=rebuild, report=report)
    check_interrupted()
    console.print(Text(f"{'engine':<10}{time.perf_counter() - begin:7.2f} s", style="bold"))
    return built


def build_exported(console: Console, folder: Path, flags: EngineFlags, rtx: bool = False) -> Built | RtxBuilt:
    """Build after an export. The package stays when the engine cannot be built."""
    try:
        return build_rtx(console, folder, flags) if rtx else build(console, folder, flags)
    except RectexportError as error:
        command = flags.command(folder, "--rtx" if rtx else "--trt")
        raise type(error)(*error.args, f". The package {folder} is complete, but has no plan: {command}") from None


def without_engine(error: RectexportError, folder: Path, flags: EngineFlags, rtx: bool = False) -> RectexportError:
    """The error after an export on a machine that cannot build the engine, with the command for one that can."""
    machine = "where TensorRT for RTX is installed" if rtx else "on the machine with the GPU"
    hint = f". The package {folder} is complete, but has no engine; {machine}: "
    return type(error)(*error.args, hint + flags.command(folder, "--rtx" if rtx else "--trt"))


@contextmanager
def spinner(console: Console) -> Iterator[Callable[[str], None]]:
    """A spinner with the elapsed time, removed at the end. Yields a function that sets the text beside it."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("engine", total=None)
        yield lambda text: progress.update(task, description=text)


def show_rtx(console: Console, built: RtxBuilt) -> None:
    """Print what the engine was built for, and whether it has run."""
    entry, path = built.entry, built.package.path / built.entry["file"]
    state = "built" if built.built else "already there"
    _say(console, f"{path} {state}: {entry['precision']}, {path.stat().st_size / 2**20:.1f} MiB")
    capabilities = ", ".join(entry["compute_capabilities"])
    _say(console, f"  for RTX GPUs of compute capability {capabilities}, TensorRT for RTX {entry['tensorrt_rtx']}")
    for index, profile in enumerate(entry["options"]["profiles"]):
        _say(console, f"  profile {index}: {describe(from_dict(profile))}")
    not_run = f"not compared with PyTorch: {entry['not_run']}"
    _say(console, f"  {_parity(entry['parity']) if entry['parity'] else not_run}")


def show_built(console: Console, built: Built | RtxBuilt) -> None:
    """Print what the plan was built for, the precision of its layers, and the trtexec commands for it."""
    if isinstance(built, RtxBuilt):
        show_rtx(console, built)
        return
    entry, path = built.plan.entry, built.package.path / built.plan.file
    state = "built" if built.layers is not None else "already there"
    _say(
        console,
        f"{path} {state}: {entry['precision']}, {path.stat().st_size / 2**20:.1f} MiB, {entry['layers']} layers",
    )
    _say(
        console,
        f"  for {entry['gpu']} ({entry['compute_capability']}), TensorRT {entry['tensorrt']}, CUDA {entry['cuda']}",
    )
    for index, profile in enumerate(built.plan.profiles):
        _say(console, f"  profile {index}: {describe(profile)}")
    if built.plan.dla_core is not None:
        rest = "; what it lacks runs on the GPU" if entry["options"]["allow_gpu_fallback"] else ""
        _say(console, f"  on DLA core {built.plan.dla_core}{rest}; --layers FILE lists the engine's layers")
    elif built.share is not None:
        _say(console, f"  {built.share.describe()}")
    _say(console, f"  {_parity(entry['parity'])}")
    if built.layers is not None and built.package.manifest.data.get("options", {}).get("rectify") == "plugin":
        _say(console, f"  {_rectification(built.layers)}")
    _say(console, f"  the same with trtexec: {entry['trtexec']}")
    _say(console, f"  to time it: {load_command(built.plan.file, built.plan.profiles[0], _files(built.plan))}")


def _parity(found: dict[str, float] | None) -> str:
    if found is None:
        return "not compared with PyTorch: no profile includes the shapes of the package's example"
    return f"relative L2 to PyTorch on the example: {found['relative_l2']:.1e}, allowed {found['allowed']:.0e}"


def _rectification(layers: Sequence[Layer]) -> str:
    """Whether the plugin that the package was exported for is in the engine."""
    count = sum("plugin" in layer.kind.lower() for layer in layers)
    if count:
        return f"{count} layers run in a plugin"
    return "no layer runs in a plugin: rectification is computed by its function body (--plugins LIB.so, TensorRT 10.7)"


def document(built: Built | RtxBuilt) -> dict[str, Any]:
    """The plan's entry in the manifest, and whether this command built it."""
    if isinstance(built, RtxBuilt):
        return {"built": built.built, **built.entry}
    return {"built": built.layers is not None, **built.plan.entry}


def _files(plan: Plan) -> list[str]:
    return [entry["file"] for entry in plan.entry["plugins"]]


def _say(console: Console, text: str) -> None:
    console.print(Text(printable(text)), soft_wrap=True)
