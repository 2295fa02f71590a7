"""Time what `rectexport tune` chooses for RF-ResNet-50 beside other ways to run it; writes docs/tuning.md.

    python -m benchmarks.tuning_rivals             prepare what is missing, then one race (25 minutes, idle machine)
    python -m benchmarks.tuning_rivals --quick     a small network for seconds; writes nothing but out/rivals-quick
    python -m benchmarks.tuning_rivals --report    measure nothing, write the section again

Beside ours: PyTorch eager; the file of torch.onnx.export on ONNX Runtime and on OpenVINO, each opened without any
settings; and what Olive makes of that file (benchmarks/olive_foreign.py, in the environment of --python). `tune` runs
twice, for float32 alone and with int8 allowed, calibrated on the same images as Olive's. Then all race in rounds over
new processes (rectexport.runtime.timing.stopwatch), so that ratios come from the same minutes. What was made and
measured is kept in out/rivals; remove it to begin again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import ROOT, THREADS, child, machine, table, write_section
from benchmarks.networks import EAGER, ENGINES, TORCH_WORKER
from rectexport.runtime.timing.intervals import ratio_interval
from rectexport.runtime.timing.process import Contestant
from rectexport.runtime.timing.stopwatch import Race, Timing, race

PLAIN = "torch.onnx.export"
DEFAULT_WORKER = "benchmarks.default_worker"
OLIVE = Path(__file__).with_name("olive_foreign.py")
#: Precision of a search -> what a deployment of ours is called.
OURS = {"fp32": "rectexport tune, float32", "fp32,int8": "rectexport tune, int8 allowed"}
#: The goal: times faster than PyTorch eager.
GOAL = 3.4
LAUNCHES = 6


@dataclass(frozen=True)
class Plan:
    """The network, the side of its images, how many of them calibrate and judge, and seconds.

    tune  of each search; race  of timing for each deployment
    """

    network: str
    side: int
    images: int
    tune: str
    race: float
    folder: Path


FULL = Plan("resnet50", 224, 128, "2m", 30.0, ROOT / "out" / "rivals")
QUICK = Plan("resnet20", 32, 32, "3s", 0.5, ROOT / "out" / "rivals-quick")


def main() -> None:
    """Prepare, race, write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=str(ROOT / ".venv-olive" / "bin" / "python"), help="Olive's interpreter")
    parser.add_argument("--quick", action="store_true", help="a small network; prints the section")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(CHILDREN[options.child[0]](*options.child[1:])))
        return
    plan = QUICK if options.quick else FULL
    plan.folder.mkdir(parents=True, exist_ok=True)
    kept = plan.folder / "result.json"
    if not options.report:
        kept.write_text(json.dumps(measured(plan, options.python), indent=1) + "\n", encoding="utf-8")
    text = section(json.loads(kept.read_text(encoding="utf-8")))
    if options.quick:
        print(text)
    else:
        write_section("tuning.md", "rivals", text)


def measured(plan: Plan, python: str) -> dict[str, Any]:
    """Everything that the section shows."""
    folder = plan.folder
    if not (folder / "shape.json").exists():
        told = child("tuning_rivals", "--child", "prepare", plan.network, str(plan.side), str(plan.images), str(folder))
        (folder / "shape.json").write_text(json.dumps(told["inputs"]))
    inputs = json.loads((folder / "shape.json").read_text())
    olive = optimized(folder, python)
    tuned = {name: searched(folder, precisions, plan.tune) for precisions, name in OURS.items()}
    noises = child("tuning_rivals", "--child", "noise", str(folder))
    entries = contestants(folder, inputs, olive, tuned)
    times = race(entries, Race(plan.race, launches=LAUNCHES), lambda launch: print(f"launch {launch}", flush=True))
    failed = {f"Olive, {name}": olive[name]["failed"] for name in ("float32", "int8") if "failed" in olive[name]}
    for name, entry in tuned.items():
        for variant, reason in entry["refused_variants"].items():
            failed[f"{name}, {variant}"] = reason.replace(f"{folder}/", "").partition(". Inputs and both outputs")[0]
    return {
        "network": plan.network,
        "side": plan.side,
        "date": date.today().isoformat(),
        "machine": machine(),
        "olive": f"Olive {olive['version']} with ONNX Runtime {olive['onnxruntime']}",
        "chosen": {name: entry["chosen"] for name, entry in tuned.items()},
        "noise": noises,
        "failed": failed,
        **figures(times),
    }


def prepare(network: str, side: str, images: str, folder: str) -> dict[str, Any]:
    """Write the checkpoint, the file of torch.onnx.export and images, half of which calibrate. Returns the inputs."""
    import torch

    from benchmarks.int8_yardsticks import pictures
    from benchmarks.networks import _export_plain
    from rectexport.models.checkpoint import save_checkpoint
    from rectexport.models.tools.seeded import seeded_model

    options: dict[str, Any] = {"conv": "rectified"}
    model = seeded_model(network, **options)
    parts, argument = pictures(network, int(side)), next(iter(signature(model.forward).parameters))
    example = torch.from_numpy(parts[0][:1].astype(np.float32))  # calibration compares its range with the images'
    save_checkpoint(f"{folder}/net.pt", network, options, model, example)
    _export_plain(model, example, f"{folder}/plain.onnx")
    for name, part in zip(("calibrate", "held-out"), parts, strict=True):
        chosen = part[: int(images)].astype(np.float32)
        np.savez(f"{folder}/{name}.npz", x=chosen)
        np.savez(f"{folder}/{name}-ours.npz", **{argument: chosen})  # type: ignore[arg-type]  # as a checkpoint's package names it
    return {"inputs": [["x", "float32", list(example.shape)]]}


def optimized(folder: Path, python: str) -> dict[str, Any]:
    """What Olive said of its two models."""
    kept = folder / "olive.json"
    if not kept.exists():
        words = [python, str(OLIVE), *(str(folder / name) for name in ("plain.onnx", "calibrate.npz", "olive"))]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(words)} failed:\n{done.stderr[-3000:]}")
        kept.write_text(done.stdout.strip().splitlines()[-1])
        print("Olive is done", flush=True)
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


def searched(folder: Path, precisions: str, seconds: str) -> dict[str, Any]:
    """The document of a search, which is made where it is not kept."""
    out = folder / f"tuned-{precisions.replace(',', '-')}"
    if not (out / "tuning.json").exists():
        threads = ",".join(map(str, sorted({1, THREADS})))
        words = ["tune", str(folder / "net.pt"), "-o", str(out), "--precisions", precisions, "--threads", threads]
        words += ["--time", seconds, "--backends", "openvino,onnxruntime"]
        words += ["--calibrate", str(folder / "calibrate-ours.npz")] if "int8" in precisions else []
        subprocess.run([sys.executable, "-m", "rectexport", *words], cwd=ROOT, check=True)
    found: dict[str, Any] = json.loads((out / "tuning.json").read_text(encoding="utf-8"))
    return {**found, "folder": str(out)}


def contestants(
    folder: Path, inputs: Sequence[Any], olive: Mapping[str, Any], tuned: Mapping[str, Mapping[str, Any]]
) -> list[Contestant]:
    """All deployments; ours last."""
    common = {"inputs": inputs}
    source = {**common, "source": str(folder / "net.pt"), "device": "cpu", "transfers": True, "compile": False}
    found = [Contestant(EAGER, {**source, "threads": THREADS}, TORCH_WORKER)]
    for engine, spelled in ENGINES.items():
        spec = {**common, "model": str(folder / "plain.onnx"), "engine": engine}
        found.append(Contestant(f"{PLAIN}, {spelled}", spec, DEFAULT_WORKER))
    for precision in ("float32", "int8"):
        if "model" in olive[precision]:
            spec = {key: olive[precision][key] for key in ("model", "session")}
            found.append(Contestant(f"Olive, {precision}", {**common, **spec, "engine": "onnxruntime"}, DEFAULT_WORKER))
    for name, document in tuned.items():
        load = document["load"]
        spec = {"package": document["folder"], "engine": load["backend"], "threads": load["threads"]}
        found.append(Contestant(name, spec))
    return found


def noise(folder: str) -> dict[str, float]:
    """Decibels of the int8 deployments' answers against the plain file's, on images that did not calibrate."""
    import onnxruntime as ort

    import rectexport
    from benchmarks.default_worker import session_options

    place, images = Path(folder), np.load(f"{folder}/held-out.npz")["x"]

    def run(model: str, session: Mapping[str, Any]) -> list[Any]:
        opened = ort.InferenceSession(model, session_options(session), providers=["CPUExecutionProvider"])
        return [opened.run(None, {"x": images[i : i + 1]})[0] for i in range(len(images))]

    wanted, found = run(str(place / "plain.onnx"), {}), {}
    olive = json.loads((place / "olive.json").read_text())
    for precision in ("float32", "int8"):
        if "model" in olive[precision]:
            found[f"Olive, {precision}"] = decibels(wanted, run(olive[precision]["model"], olive[precision]["session"]))
    for precisions, name in OURS.items():
        tuned = searched(place, precisions, "")
        with rectexport.load(tuned["folder"], **tuned["load"]) as session:
            answers = [next(iter(session.run({session.inputs[0].name: image[None]}).values())) for image in images]
        found[name] = decibels(wanted, answers)
    return found


def decibels(wanted: Sequence[Any], answers: Sequence[Any]) -> float:
    """Signal to noise of several outputs; 200 where there is no noise."""
    power = sum(float(np.square(value, dtype=np.float64).sum()) for value in wanted)
    off = sum(float(np.square(np.subtract(a, b, dtype=np.float64)).sum()) for a, b in zip(wanted, answers, strict=True))
    return 200.0 if not off else float(10 * np.log10(power / off))


CHILDREN: dict[str, Any] = {"prepare": prepare, "noise": noise}


def figures(times: Mapping[str, Timing]) -> dict[str, Any]:
    """By deployment: milliseconds of a call, PyTorch's time over its own, and ours over its own, each with 95 %."""
    ours = [name for name in OURS.values() if name in times]
    return {
        "ms": {name: _spread(timing) for name, timing in times.items()},
        "faster": {name: _interval(times[EAGER], timing) for name, timing in times.items()},
        "ours": {own: {name: _interval(times[own], timing) for name, timing in times.items()} for own in ours},
    }


def _spread(timing: Timing) -> list[float]:
    """The centre of the launches' medians in milliseconds, and its interval."""
    launches = timing.by_launch()
    found = ratio_interval(launches, [[1e-3] * len(launch) for launch in launches])
    return [found.ratio, found.low, found.high]


def _interval(timing: Timing, base: Timing) -> list[float]:
    found = timing.interval(base) if timing is not base else None
    return [1.0, 1.0, 1.0] if found is None else [found.ratio, found.low, found.high]


def section(result: Mapping[str, Any]) -> str:
    """The Markdown section."""
    ours = result["ours"]
    headings = ["deployment", "ms", "SNR dB", f"{EAGER} / it", *(f"{name} / it" for name in ours)]
    rows = [
        [
            name,
            _shown(found, 1),
            f"{result['noise'][name]:.1f}" if name in result["noise"] else "–",
            _shown(result["faster"][name]) if name != EAGER else "1",
            *(_shown(ratios[name]) if name != own else "1" for own, ratios in ours.items()),
        ]
        for name, found in result["ms"].items()
    ]
    choices = "\n".join(f"- {name}: {chosen}" for name, chosen in result["chosen"].items())
    failures = "".join(f"\n- {name}: did not run: {why}" for name, why in result["failed"].items())
    side = result["side"]
    return f"""{result["network"]}, rectified, batch 1, {side}×{side}; {result["date"]}.

{goals(result)}

{table(headings, rows)}

{choices}{failures}

{result["machine"]} {result["olive"]}."""


def goals(result: Mapping[str, Any]) -> str:
    """Whether both goals are met: the factor over eager, and no deployment that is faster for certain."""
    texts = []
    for name, ratios in result["ours"].items():
        value, low, high = result["faster"][name]
        rivals = {rival: pair for rival, pair in ratios.items() if rival not in result["ours"]}
        if name == OURS["fp32"]:  # int8 is no rival of float32
            rivals.pop("Olive, int8", None)
        faster = [f"{rival} ({_shown(pair)})" for rival, pair in rivals.items() if pair[1] > 1]
        verdict = "the goal is met" if low >= GOAL else "open" if high >= GOAL else "the goal is missed"
        slower = f"slower than {', '.join(faster)}" if faster else "slower than none of the others"
        texts.append(
            f"{name} is {value:.2f} times as fast as {EAGER} (95 % {low:.2f} – {high:.2f}; at least {GOAL}: "
            f"{verdict}), {slower}."
        )
    return " ".join(texts)


def _shown(found: Sequence[float], digits: int = 2) -> str:
    value, low, high = found
    return f"{value:.{digits}f} ({low:.{digits}f} – {high:.{digits}f})"


if __name__ == "__main__":
    main()
