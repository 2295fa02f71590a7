"""From the flags of `rectexport bench` to a benchmark: what is timed against what, on which inputs, how long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rectexport.exporter.base.options import LoadOptions
from rectexport.runtime.base.environment import require, usable_cores
from rectexport.runtime.base.files import sha256
from rectexport.runtime.base.runner import TensorSpec
from rectexport.runtime.base.shapes import parse_shape_flags
from rectexport.runtime.errors import UsageError
from rectexport.runtime.package.folder import Package
from rectexport.runtime.timing.bench import BenchOptions
from rectexport.runtime.timing.entrants import Entrant, Match, match, package_entrants, short_names
from rectexport.runtime.timing.inputs import check_same_inputs, timed_inputs
from rectexport.runtime.timing.intervals import LEAST_LAUNCHES
from rectexport.runtime.timing.stopwatch import Race

TORCH, TORCH_COMPILE = "torch", "torch-compile"
#: Backends beside which PyTorch runs on the GPU as well.
ON_GPU = frozenset({"cuda", "tensorrt"})
MOST_BATCH, MOST_LAUNCHES, MOST_SECONDS = 1 << 20, 1000, 86400.0
Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Flags:
    """The flags with their defaults. Only numbers are parsed. threads 0 takes every usable core."""

    package: Path
    vs: str | None = None
    plain_twin: bool = False
    source: Path | None = None
    load: LoadOptions = field(default_factory=LoadOptions)
    fail_if_slower: str | None = None
    backend: str = "onnxruntime"
    batch: str | None = None
    inputs: Sequence[str] = ()
    warm_up: float = 200.0
    duration: float = 5.0
    launches: int = 10
    percentile: str = "50,90,99"
    threads: int = 0
    device: int = 0
    allow_unproven: bool = False
    transfers: bool = True


@dataclass(frozen=True)
class BenchPlan:
    """A benchmark ready to run. notes: what was made for it; warnings: what may make its result misleading."""

    match: Match
    inputs: list[list[TensorSpec]]
    options: BenchOptions
    notes: list[str]
    warnings: list[str]


def make_plan(flags: Flags, workshop: Path) -> BenchPlan:
    """Settle everything before anything is timed. A plain twin is written into the folder `workshop`.

    Raises UsageError for flags that do not fit together, BadInput for packages that cannot be read or compared,
    MissingDependency where the libraries for a plain twin or PyTorch are missing.
    """
    options = _options(flags)
    package = _opened(flags.package)
    _check(flags, package)
    shapes = parse_shape_flags(flags.inputs, "--input")
    sizes = [None] if flags.batch is None else numbers(flags.batch, "--batch", int, 1, MOST_BATCH)
    inputs = [timed_inputs(package.manifest, size, shapes) for size in sizes]
    backends = [part.strip() for part in flags.backend.split(",")]
    told = {"threads": options.threads, "device": flags.device, "transfers": options.transfers}
    told["allow_unproven"] = flags.allow_unproven
    name, bases, notes, warnings = flags.package.resolve().name, list[Entrant](), list[str](), list[str]()
    if flags.plain_twin:
        twin, note = _plain_twin(package, workshop)
        bases, notes = package_entrants(twin, "plain twin", backends, told), [note]
    elif flags.source is not None:
        bases, warnings = [_torch(flags, backends, options)], _other_source(package, flags.source)
        if _recorded(package, "options").get("precision") == "fp16":
            notes = ["the package computes in float16, PyTorch in the model's own precision"]
    elif flags.vs is not None:
        other = _opened(Path(flags.vs))
        name, other_name = short_names(flags.package, other.path)
        check_same_inputs(package.manifest, other.manifest, name, other_name)
        for size in sizes:
            timed_inputs(other.manifest, size, shapes)  # refuses sizes that it does not take
        bases = package_entrants(other, other_name, backends, told)
    entrants = match(package_entrants(package, name, backends, told), bases)
    return BenchPlan(entrants, inputs, options, notes, warnings)


def numbers(text: str, flag: str, kind: type[Number], low: Number, high: Number) -> list[Number]:
    """Numbers between commas. Raises UsageError for anything else, repeated ones and those outside low..high."""
    found: list[Number] = []
    for part in text.split(","):
        try:
            value = kind(part)
        except ValueError:
            raise UsageError(f"{flag} {text!r}: expected numbers, as in {low},{high}") from None
        if not low <= value <= high:
            raise UsageError(f"{flag} {text!r}: expected numbers in {low}..{high}")
        if value in found:
            raise UsageError(f"{flag} {text!r}: {part.strip()} is given twice")
        found.append(value)
    return found


def percent(text: str, flag: str) -> float:
    """5% -> 0.05. Raises UsageError."""
    try:
        value = float(text.strip().removesuffix("%")) if text.strip().endswith("%") else -1.0
    except ValueError:
        value = -1.0
    if not 0 <= value < 1000:
        raise UsageError(f"{flag} {text!r}: expected a percentage, as in 5%")
    return value / 100


def _options(flags: Flags) -> BenchOptions:
    if not LEAST_LAUNCHES <= flags.launches <= MOST_LAUNCHES:
        raise UsageError(
            f"--launches {flags.launches}: expected {LEAST_LAUNCHES}..{MOST_LAUNCHES}; "
            f"fewer than {LEAST_LAUNCHES} give no 95 % interval"
        )
    for flag, seconds in (("--duration", flags.duration), ("--warm-up", flags.warm_up / 1e3)):
        if not 0 <= seconds <= MOST_SECONDS:
            raise UsageError(f"{flag}: expected at least 0 and at most a day")
    return BenchOptions(
        race=Race(flags.duration, flags.warm_up / 1e3, flags.launches),
        percentiles=tuple(numbers(flags.percentile, "--percentile", float, 0.0, 100.0)),
        fail_if_slower=None if flags.fail_if_slower is None else percent(flags.fail_if_slower, "--fail-if-slower"),
        threads=flags.threads or usable_cores(),
        transfers=flags.transfers,
    )


def _check(flags: Flags, package: Package) -> None:
    """Raise UsageError for flags that contradict each other."""
    if flags.plain_twin and flags.vs is not None:
        raise UsageError("--plain-twin and --vs: compare with one of them at a time")
    if flags.fail_if_slower is not None and not (flags.plain_twin or flags.vs):
        raise UsageError("--fail-if-slower needs something to compare with: add --vs or --plain-twin")
    against_torch = flags.vs in (TORCH, TORCH_COMPILE)
    if against_torch and flags.source is None:
        made_from = _recorded(package, "source").get("file")
        hint = f"; the package was made from a file named {made_from}" if made_from else ""
        raise UsageError(f"--vs {flags.vs}: name the PyTorch model with --source MODEL{hint}")
    if not against_torch and (flags.source is not None or flags.load != LoadOptions()):
        raise UsageError(
            "--source, --model, --arch, --trust-pickle and --rectify-model are for --vs torch and --vs torch-compile"
        )


def _opened(path: Path) -> Package:
    package = Package.open(path)
    package.verify_files()
    return package


def _plain_twin(package: Package, workshop: Path) -> tuple[Package, str]:
    for library in ("onnx", "onnx_graphsurgeon"):
        require(library)
    from rectexport.exporter.tools.plain_twin import write_plain_twin

    twin, description = write_plain_twin(package, workshop)
    return twin, f"plain twin: {description}"


def _torch(flags: Flags, backends: Sequence[str], options: BenchOptions) -> Entrant:
    assert flags.source is not None and flags.vs is not None
    from rectexport.exporter.frontend.model_file import check_model_file

    check_model_file(flags.source, flags.load.arch)
    require("torch")
    spec = {
        "source": str(flags.source),
        **asdict(flags.load),
        "compile": flags.vs == TORCH_COMPILE,
        "device": f"cuda:{flags.device}" if ON_GPU.intersection(backends) else "cpu",
        "threads": options.threads,
        "transfers": options.transfers,
    }
    return Entrant(flags.source.name, flags.vs, spec, "rectexport.exporter.tools.torch_worker")


def _other_source(package: Package, source: Path) -> list[str]:
    """A warning if the package was not made from this file."""
    entry = _recorded(package, "source")
    if not source.is_file() or sha256(source) == entry.get("sha256"):
        return []  # the loader reports a missing file
    made_from = f"{entry.get('file')}, sha256 {str(entry['sha256'])[:12]}…" if entry.get("sha256") else "no file"
    return [f"{source} is not the file that the package was made from ({made_from})"]


def _recorded(package: Package, field: str) -> Mapping[str, Any]:
    """A part of the manifest that the runtime does not check."""
    entry = package.manifest.data.get(field)
    return entry if isinstance(entry, dict) else {}
