"""Shows a profile on a terminal: shares, modules, layers, memory, and what differs from another package."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rectexport.cli.profile.limit import megabytes
from rectexport.runtime.base.shapes import format_shape
from rectexport.runtime.base.texts import printable
from rectexport.runtime.profiling.changes import Change
from rectexport.runtime.profiling.profile import LayerTime, Profile

#: Rows that are printed; --verbose and --json have all.
SHOWN = 15
_ROOT, _UNKNOWN = "(model)", "(unknown)"


def module_name(module: str) -> str:
    """A module's path for people."""
    return {".": _ROOT, "": _UNKNOWN}.get(module, module)


def show_profile(console: Console, profile: Profile, every: bool) -> None:
    """Print a profile; `every` prints all layers."""
    shapes = ", ".join(f"{name} {format_shape(shape)}" for name, shape in profile.shapes.items())
    _say(
        console,
        f"{profile.package} on {profile.description}, {shapes}: {profile.wall * 1e3:.3g} ms a run with profiling on, "
        f"mean of {profile.runs} runs; {profile.threads} threads",
    )
    _say(console, _shares(profile))
    console.print(_layers(profile, every))
    console.print(_modules(profile, every))
    if profile.peaks is not None:
        reached = f"{profile.peaks.operations / 1e9:.3g} GFLOP/s and {profile.peaks.traffic / 1e9:.3g} GB/s"
        _say(console, f"bound: against {reached}, measured here; overhead takes more than 4 times its bound")
    if profile.memory:
        phases = ", ".join(f"{phase} {megabytes(value)}" for phase, value in profile.memory.items())
        arena = f"; the engine's allocator holds {megabytes(profile.arena)}" if profile.arena is not None else ""
        stored = f", activations {megabytes(profile.activations)}" if profile.activations is not None else ""
        _say(console, f"peak resident memory: {phases}; weights {megabytes(profile.weights)}{stored}{arena}")


def _shares(profile: Profile) -> str:
    """Where the wall time is, in one sentence."""
    outside = ", ".join(f"{name} {seconds / profile.wall:.1%}" for name, seconds in profile.outside.items())
    untied = sum(layer.share for layer in profile.layers if not layer.tied)
    unknown = f", layers that no node is known for {untied:.1%}" if untied else ""
    return (
        f"{profile.attributed:.1%} of the time is tied to ONNX nodes, {profile.reorders:.1%} in reorders, "
        f"{profile.dispatch:.1%} between layers; the rest: {outside}{unknown}"
    )


def _layers(profile: Profile, every: bool) -> Table:
    ordered = sorted(profile.layers, key=lambda layer: -layer.seconds)
    shown = ordered if every else ordered[:SHOWN]
    left = f", the {SHOWN} longest of {len(ordered)}" if len(shown) < len(ordered) else ""
    table = Table(title=f"Layers of the engine{left}", title_justify="left")
    for heading in ("layer", "module", "pass"):
        table.add_column(heading, overflow="fold")
    for heading in ("ms", "share", "GFLOP/s", "bound"):
        table.add_column(heading, justify="right")
    for layer in shown:
        table.add_row(*(Text(printable(cell)) for cell in _cells(layer)))
    return table


def _cells(layer: LayerTime) -> list[str]:
    passes = "reorder" if layer.reorder else ", ".join(layer.passes)
    rate = f"{layer.operations / layer.kernel / 1e9:.3g}" if layer.operations and layer.kernel else ""
    timed = [f"{layer.seconds * 1e3:.3g}", f"{layer.share:.1%}", rate, layer.bound]
    return [layer.name, module_name(layer.module), passes, *timed]


def _modules(profile: Profile, every: bool) -> Table:
    rows = list(profile.by(lambda layer: layer.module).items())
    table = Table(title="By PyTorch module", title_justify="left")
    table.add_column("module", overflow="fold")
    for heading in ("ms", "share"):
        table.add_column(heading, justify="right")
    for module, seconds in rows if every else rows[:SHOWN]:
        table.add_row(Text(printable(module_name(module))), f"{seconds * 1e3:.3g}", f"{seconds / profile.wall:.1%}")
    return table


def show_changes(console: Console, rows: Sequence[Change], base: Profile, every: bool) -> None:
    """Print where the time went, by module."""
    table = Table(title=f"Against {printable(base.package)}, by module", title_justify="left")
    table.add_column("module", overflow="fold")
    for heading in ("ms", "against", "difference"):
        table.add_column(heading, justify="right")
    table.add_column("layers", overflow="fold")
    for row in rows if every else rows[:SHOWN]:
        numbers = (row.seconds, row.base, row.seconds - row.base)
        cells = [f"{numbers[0] * 1e3:.3g}", f"{numbers[1] * 1e3:.3g}", f"{numbers[2] * 1e3:+.3g}"]
        table.add_row(Text(printable(module_name(row.module))), *cells, Text(_layers_changed(row)))
    console.print(table)


def _layers_changed(row: Change) -> str:
    """2 → 1 fused, 3 → 1 reorders."""
    counts = [f"{len(row.base_layers)} → {len(row.layers)} {row.what}".strip()] if row.what else []
    if row.reorders != row.base_reorders:
        counts.append(f"{row.base_reorders} → {row.reorders} reorders")
    return ", ".join(counts)


def _say(console: Console, text: str) -> None:
    console.print(Text(printable(text)), soft_wrap=True)
