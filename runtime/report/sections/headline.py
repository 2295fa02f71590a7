"""The figures at the top of the page: what a reader wants to know first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rectexport.runtime.report import text
from rectexport.runtime.report.documents import Evaluated, Latency, Measured, Parity, Rewrites
from rectexport.runtime.report.plots.heat import severity
from rectexport.runtime.report.sections.quantized import Quantized

#: What backends that are PyTorch itself start with: torch, torch-compile.
PYTORCH = "torch"


@dataclass(frozen=True)
class Tile:
    """One figure: what it is, the figure, and what it was measured on."""

    name: str
    figure: str
    told: str


def tiles(
    data: Mapping[str, Any],
    size: str,
    parity: Parity,
    rewrites: Rewrites | None,
    latency: Latency | None,
    evaluated: Evaluated | None,
    int8: Quantized | None,
) -> list[Tile]:
    """Latency against PyTorch, size, accuracy or agreement, distance, nodes; what was not measured is left out."""
    parameters = text.compact(rewrites.parameters) if rewrites and rewrites.parameters is not None else ""
    precision = {"fp32": "float32", "fp16": "float16"}.get(str(data["options"].get("precision")), "")
    whole = " ".join(part for part in (precision if int8 is None else "int8", "weights") if part)
    weights = f"{parameters} parameters, {precision if int8 is None else 'int8'}" if parameters else whole
    found = [*_latency(latency), Tile("model size", size, weights)]
    found += _accuracy(parity, evaluated, int8)
    outputs = [distance.relative_l2 for case in parity.cases for distance in case.outputs.values()]
    if outputs:
        worst = max(outputs, key=severity)
        allowed = text.bound(parity.tolerances.get("relative_l2"))
        found.append(Tile("farthest from PyTorch", text.number(worst), f"relative L2 of an output; {allowed} allowed"))
    if rewrites:
        before, after = sum(rewrites.before.values()), sum(rewrites.after.values())
        found.append(Tile("nodes", f"{before} → {after}", "as traced, as packaged"))
    return found


def _latency(latency: Latency | None) -> list[Tile]:
    """The ratio to PyTorch's time where it was measured, and the time of a call."""
    if latency is None or not latency.contestants:
        return []
    first = latency.contestants[0]
    found = []
    against = [entry for entry in latency.comparisons if entry.base_backend.startswith(PYTORCH)]
    if against:
        entry = against[0]
        # PyTorch's time in ours, so that the larger figure is the better one.
        low, high = (1 / value if value > 0 else 0.0 for value in (entry.high, entry.low))
        ratio = 1 / entry.ratio if entry.ratio > 0 else 0.0
        told = f"{low:,.1f} to {high:,.1f} with 95 % confidence; {text.short(entry.backend, 20)}, batch {entry.batch}"
        found.append(Tile("speed against PyTorch", f"{ratio:,.1f} ×" if ratio >= 10 else f"{ratio:.2f} ×", told))
    told = f"median on {text.short(first.backend, 24)}, batch {first.batch}"
    return [*found, Tile("latency", text.milliseconds(first.median), told)]


def _accuracy(parity: Parity, evaluated: Evaluated | None, int8: Quantized | None) -> list[Tile]:
    if evaluated is not None and evaluated.engines:
        return _evaluated(evaluated, evaluated.engines[0])
    engines = [engine for target in int8.targets for engine in target.engines] if int8 else []
    known = [engine for engine in engines if engine.accuracy is not None]
    if known and known[0].accuracy is not None:
        told = f"{text.short(known[0].engine, 20)} in int8; {known[0].accuracy[0]:.2f} % in float"
        return [Tile("accuracy", f"{known[0].accuracy[1]:.2f} %", told)]
    classes = [d.top1 for case in parity.cases for d in case.outputs.values() if d.top1 is not None]
    told = "same class as PyTorch, on the inputs compared"
    return [Tile("agreement", f"{100 * min(classes):.4g} %", told)] if classes else []


def _evaluated(evaluated: Evaluated, engine: Measured) -> list[Tile]:
    unit = "%" if evaluated.unit == "points" else evaluated.unit
    items = f"{evaluated.items:,} items"
    if engine.value is None:
        if engine.agreement is None:
            return []
        return [Tile("agreement", f"{100 * engine.agreement:.2f} %", f"same class as the reference, {items}")]
    told = f"{text.short(evaluated.metric, 20)} on {items}"
    if engine.difference is not None:
        value, low, high = engine.difference
        told += f"; {value:+.2f} from the reference"
        told += "" if low is None or high is None else f" ({low:+.2f} to {high:+.2f})"
    return [Tile("accuracy", f"{engine.value:.2f} {unit}".strip(), told)]
