"""Export public networks with borders of every kind; prints a table.

python -m benchmarks.borders CLONES [NAME…]

CLONES is a folder with a clone of each repository that benchmarks/borders/networks.py names; torchvision, timm and
einops must be installed. Each network is exported in a process of its own, for the targets onnxruntime and openvino,
with random weights: the export compares it with PyTorch in float64 on every installed engine. A network counts as
unharmed when both exports succeed and its borders were found.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.borders.networks import NETWORKS, forget_empty

TARGETS = ("onnxruntime", "openvino")
#: Seconds for one network.
LONGEST = 300


def main() -> None:
    """Export every network, or with --child one in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clones", type=Path)
    parser.add_argument("names", nargs="*", default=list(NETWORKS))
    parser.add_argument("--child", action="store_true")
    options = parser.parse_args()
    if options.child:
        print(json.dumps(attempt(options.clones, options.names[0])))
        return
    print("| network | repository | border | borders found | worst relative error | |\n|---|---|---|---|---|---|")
    for name in options.names:
        print(row(name, in_child(options.clones, name)), flush=True)


def in_child(clones: Path, name: str) -> dict[str, Any]:
    """The figures of one network, or its error."""
    command = [sys.executable, "-m", "benchmarks.borders", str(clones), name, "--child"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"took more than {LONGEST} s"}
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    found: dict[str, Any] = json.loads(lines[-1]) if done.returncode == 0 else {"error": lines[-1] if lines else "?"}
    return found


def row(name: str, figures: dict[str, Any]) -> str:
    """One line of the table."""
    network = NETWORKS[name]
    head = f"| {name} | {network.repository} | {network.border} |"
    if "error" in figures:
        return f"{head} | | {figures['error'][:120]} |"
    verdict = "unharmed" if figures["borders"] else "no border found"
    return f"{head} {figures['borders']} | {figures['worst']:.1e} | {verdict} |"


def attempt(clones: Path, name: str) -> dict[str, Any]:
    """Export one network for each target; returns how many borders were found and the worst error of an output."""
    import numpy as np
    import torch

    import rectexport
    from rectexport.exporter.frontend.onnx_file import read_onnx
    from rectexport.exporter.tools.doctor import diagnose

    network = NETWORKS[name]
    # A checkout's own folder models/ would stand in the way of the repositories' models.
    sys.path[:] = [entry for entry in sys.path if not Path(entry or ".", "rectexport").is_dir()]
    sys.path.insert(0, str((clones / network.clone / network.folder).resolve()))
    torch.manual_seed(0)
    module, inputs = network.build()
    forget_empty()
    module = module.eval()
    with torch.no_grad():
        expected = module(*inputs).numpy()
    worst, found = 0.0, 0
    for target in TARGETS:
        with TemporaryDirectory() as folder:
            rectexport.export(module, inputs, f"{folder}/package", target=target)
            model, _ = read_onnx(Path(folder, "package", "model.onnx"))
            found = diagnose(model).operators.get("BoundaryPad", 0)
            with rectexport.load(f"{folder}/package", backend=target) as session:
                answer = session(*(entry.numpy() for entry in inputs))
        answer = next(iter(answer.values())) if isinstance(answer, dict) else answer
        worst = max(worst, float(np.linalg.norm(np.asarray(answer) - expected) / np.linalg.norm(expected)))
    return {"borders": found, "worst": worst}


if __name__ == "__main__":
    main()
