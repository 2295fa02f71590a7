"""Time every exact form of every operator; writes docs/benchmarks.md, its plots, and the cost tables.

    python -m benchmarks.forms                  docs/benchmarks.md and its plots, in under 15 minutes
    python -m benchmarks.forms --write-costs    also the cost tables from which `rectexport` chooses forms
    python -m benchmarks.forms --int8 --write-costs  the table for int8 alone, on ONNX Runtime, in under 15 minutes
    python -m benchmarks.forms --operators rectify --engines onnxruntime --seconds 240 --write-costs
                                                some operators alone; all other figures stay, on the page too
    python -m benchmarks.forms --quick          two small shapes, to check that everything works

Run it on an otherwise idle machine. Each model has a process of its own, and the models of one row are timed in
interleaved rounds; see rectexport.runtime.timing.stopwatch.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks import nets, report
from benchmarks.cases import KINDS, Case, grid, serialized
from benchmarks.int8_speed import quantized
from rectexport.exporter.passes.lowering.machinery.costs import INT8, TABLES, load_costs
from rectexport.exporter.passes.lowering.machinery.form import AS_WRITTEN
from rectexport.runtime.timing import stopwatch
from rectexport.runtime.timing.machine import machine

ROOT = Path(__file__).resolve().parent.parent
ENGINES = ("onnxruntime", "openvino")
#: Seconds for the whole run, and the share of it for the two whole networks.
SECONDS, NET_SHARE = 800.0, 0.12


def main() -> None:
    """Measure, then write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two small shapes")
    parser.add_argument("--write-costs", action="store_true", help="replace the committed cost tables")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time for the whole run (default %(default)s)")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder of the report (default docs)")
    parser.add_argument("--int8", action="store_true", help="time the forms in int8, on ONNX Runtime; writes no page")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    known = sorted({kind.operator for kind in KINDS})
    parser.add_argument("--operators", nargs="+", choices=known, default=known, help="operators to time (default all)")
    options = parser.parse_args()
    if options.report:
        kept = json.loads((options.out / "benchmarks.json").read_text(encoding="utf-8"))
        report.write(kept, {engine: load_costs(engine) for engine in options.engines}, options.out)
        return
    seconds = 40.0 if options.quick else options.seconds
    cases = [case for case in grid(options.quick) if case.kind.operator in options.operators]
    if options.int8:
        results = measure_forms(cases, ["onnxruntime"], seconds, int8=True)
        print(json.dumps(results, indent=1))
        if options.write_costs:
            write_costs("onnxruntime", results, INT8)
        return
    results = measure_forms(cases, options.engines, seconds * (1 - NET_SHARE))
    if options.write_costs:
        for engine in options.engines:
            write_costs(engine, results)
    size, blocks = (64, (1, 1, 1, 1)) if options.quick else (224, (3, 4, 6, 3))
    whole = [
        measure_net(engine, size, blocks, seconds * NET_SHARE / len(options.engines)) for engine in options.engines
    ]
    document: dict[str, Any] = {"machine": machine(), "date": date.today().isoformat(), "forms": results, "nets": whole}
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "benchmarks.json"
    if path.is_file() and not options.quick:
        document = merged(json.loads(path.read_text(encoding="utf-8")), document)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    shown = [engine for engine in ENGINES if any(row["engine"] == engine for row in document["forms"])]
    report.write(document, {engine: load_costs(engine) for engine in shown}, options.out)


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The new results, and the old ones of what was not measured now.

    Raises SystemExit where these are of another machine.
    """
    measured = {(row["engine"], row["operator"]) for row in new["forms"]}
    forms = [row for row in old["forms"] if (row["engine"], row["operator"]) not in measured]
    engines = {row["engine"] for row in new["nets"]}
    nets = [row for row in old["nets"] if row["engine"] not in engines]
    if (forms or nets) and old["machine"] != new["machine"]:
        raise SystemExit(
            f"the other figures are of another machine, {old['machine']}: measure all operators and engines"
        )
    order = sorted(nets + new["nets"], key=lambda row: ENGINES.index(row["engine"]))
    return {**new, "forms": forms + new["forms"], "nets": order}


def measure_forms(cases: list[Case], engines: list[str], seconds: float, int8: bool = False) -> list[dict[str, Any]]:
    """Milliseconds, ratio to the form as written, and noise of every form in every case."""
    results: list[dict[str, Any]] = []
    pairs = [(case, engine) for case in cases for engine in engines if case.kind.forms_for(engine)]
    end = time.perf_counter() + seconds
    for done, (case, engine) in enumerate(pairs):
        written = case.models(engine)
        models = serialized({name: quantized(model, engine) for name, model in written.items()} if int8 else written)
        share = max(end - time.perf_counter(), 0.0) / (len(pairs) - done)
        times = stopwatch.measure(models, engine, seconds=share)
        results.append(
            {
                "engine": engine,
                **case.key,
                "layers": case.chain.layers,
                "cost_key": case.cost_key,
                "forms": _figures(times),
                **({"variant": case.kind.variant} if case.kind.variant else {}),
            }
        )
        _progress((done + 1) / len(pairs), f"{case.kind.title} {case.key} {engine}")
    return results


def measure_net(engine: str, size: int, blocks: tuple[int, ...], seconds: float) -> dict[str, Any]:
    """The figures of RF-ResNet-50 in every form, with ratios to its plain twin."""
    (forms,) = {kind.forms_for(engine) for kind in KINDS if kind.operator == "rectify"}
    models = serialized(nets.resnet50(size, 1, load_costs(engine), blocks, forms))
    times = stopwatch.measure(models, engine, seconds=seconds, burst=0.1)
    return {"engine": engine, "size": size, "forms": _figures(times, nets.PLAIN)}


def _figures(times: dict[str, stopwatch.Timing], base: str = AS_WRITTEN) -> dict[str, dict[str, float]]:
    figures = {}
    for name, timing in times.items():
        compared = timing.against(times[base])
        values = {"ms": timing.median * 1e3, "ratio": compared.ratio, "noise": compared.noise}
        figures[name] = {key: round(value, 4) for key, value in values.items()}
    return figures


def write_costs(engine: str, results: list[dict[str, Any]], precision: str = "float32") -> None:
    """Write a cost table, the engine's or int8's: the upper ends of the intervals, so that no form wins by noise.

    Entries of operators that are not in `results` stay.
    """
    entries = []
    for row in results:
        if row["engine"] != engine:
            continue
        for form, figures in row["forms"].items():
            if form not in (AS_WRITTEN, "floor"):
                entries.append(
                    {**row["cost_key"], "form": form, "ratio": round(figures["ratio"] + figures["noise"], 3)}
                )
    known, path = machine(), TABLES / f"{INT8 if precision == INT8 else engine}.json"
    measured = {entry["operator"] for entry in entries}
    if path.is_file():
        old = json.loads(path.read_text(encoding="utf-8"))["entries"]
        entries = [entry for entry in old if entry["operator"] not in measured] + entries
    described = f"{known['processor']}, {known['cores']} cores, {engine} {known[engine]}, {precision}"
    lines = ",\n  ".join(json.dumps(entry) for entry in entries)
    head = json.dumps({"description": described, "measured": date.today().isoformat(), **known})
    text = f'{{\n "machine": {head},\n "entries": [\n  {lines}\n ]\n}}\n'
    path.write_text(text, encoding="utf-8")


def _progress(share: float, text: str) -> None:
    filled = round(24 * share)
    print(f"[{'#' * filled}{'.' * (24 - filled)}] {share:4.0%} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
