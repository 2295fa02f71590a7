"""The attempts at one network, in a process of their own: build it, export it, judge the package without its proofs.

python -m benchmarks.foreign.attempt PACKAGE NAME static|dynamic plain|rectified OUT.json [static … OUT.json …]
"""

from __future__ import annotations

import importlib
import json
import re
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.foreign.networks import NETWORKS, Network
from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import TRACE_TIMEOUT, ExportOptions, ShapeOptions
from rectexport.exporter.frontend.arguments import forward_names
from rectexport.exporter.frontend.source import Source
from rectexport.exporter.pipeline import run_export
from rectexport.exporter.tracing.time_limit import TooLong, limited
from rectexport.models.rectify import rectify
from rectexport.runtime.api import load
from rectexport.runtime.base.metrics import compare
from rectexport.runtime.base.temporary import scratch_folder
from rectexport.runtime.errors import RectexportError
from rectexport.runtime.package.folder import Package
from rectexport.runtime.package.proofs import AGREES, read_proofs

#: Relative L2 distance from PyTorch in float64 beyond which an answer is wrong.
WRONG = 1e-3
#: Flags that a refusal may give, and their fields in ShapeOptions.
FLAGS = {"--input": "input", "--min-shapes": "min", "--max-shapes": "max", "--multiple-of": "multiple"}
#: Submodules that an expression names and that importing its package does not bring.
SUBMODULES = ("monai.networks.nets", "kornia.models.dexined", "ultralytics")


def build(network: Network) -> nn.Module:
    """The network with seeded weights and statistics that are not all zero and one."""
    torch.manual_seed(0)
    names: dict[str, Any] = {network.package: importlib.import_module(network.package), "importlib": importlib}
    for name in SUBMODULES:
        if name.partition(".")[0] == network.package:
            importlib.import_module(name)
    module: nn.Module = eval(network.expression, names)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d) and part.running_mean is not None and part.running_var is not None:
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.8, 1.2)
    module.eval()
    return module


def shapes_of(network: Network, name: str, sizes: str) -> ShapeOptions:
    """The example's shape; for dynamic sizes a range from the example to half as much again, and a batch of 1 to 3."""
    side, far = network.size, network.size + max(network.size // 2 // network.step, 1) * network.step
    if sizes == "static":
        return ShapeOptions(input=[f"{name}:1x{network.channels}x{side}x{side}"])
    low, usual, high = (f"{name}:{n}x{network.channels}x{s}x{s}" for n, s in ((1, side), (2, side), (3, far)))
    step = [f"{name}:1x1x{network.step}x{network.step}"] if network.step > 1 else []
    return ShapeOptions(min=[low], opt=[usual], max=[high], multiple=step)


def images(network: Network, sizes: str) -> list[Tensor]:
    """Images that the export did not see, within the range."""
    shapes = [(1, network.size, network.size)]
    if sizes == "dynamic":
        far = network.size + max(network.size // 2 // network.step, 1) * network.step
        shapes += [(3, network.size, far), (2, far, network.size + network.step * (far > network.size + network.step))]
    made = torch.Generator().manual_seed(99)
    return [2 * torch.randn(n, network.channels, h, w, generator=made) for n, h, w in shapes]


def judge(package: Package, module: nn.Module, network: Network, sizes: str) -> dict[str, float]:
    """How far each engine with a proof is from PyTorch in float64, on images of our own."""
    agreeing = [proof.engine for proof in read_proofs(package.manifest.data) if proof.verdict == AGREES]
    wanted = [flat(module.double()(image.double())) for image in images(network, sizes)]
    found = {}
    for engine in agreeing:
        with load(package.path, backend=engine) as session:
            names = [entry.name for entry in session.outputs]
            worst = 0.0
            for image, expected in zip(images(network, sizes), wanted, strict=True):
                answers = session.run({session.inputs[0].name: image.numpy()})
                pairs = zip(names, expected, strict=True)
                distances = [compare(right, answers[name]).relative_l2 for name, right in pairs if right.size]
                worst = max([worst, *(d if np.isfinite(d) else np.inf for d in distances)])
        found[engine] = worst
    return found


def flat(outputs: Any) -> list[Any]:
    """All tensors that a model returned."""
    leaves, _ = torch.utils._pytree.tree_flatten(outputs)
    return [leaf.detach().numpy() for leaf in leaves if isinstance(leaf, Tensor)]


def traceable(network: Network, sizes: str) -> bool:
    """Whether torch.export alone takes the network at these sizes within the limit that an export has.

    Its asserts are put off to run time.
    """
    dims: Any = None
    if sizes == "dynamic":
        side, far = network.size, 2 * network.size
        axes = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
        if network.step > 1:
            steps = (network.step * torch.export.Dim(f"n{axis}", min=side // network.step, max=far) for axis in (2, 3))
            axes = {0: torch.export.Dim.DYNAMIC, **dict(zip((2, 3), steps, strict=True))}
        dims = (axes,)
    try:
        image = torch.randn(2, network.channels, network.size, network.size)
        arguments = {"dynamic_shapes": dims, "strict": False, "prefer_deferred_runtime_asserts_over_guards": True}
        with limited(TRACE_TIMEOUT):
            torch.export.export(build(network), (image,), **arguments)
    except (Exception, TooLong):
        return False
    return True


def follow(message: str, source: Source, folder: Path) -> bool | None:
    """Whether the flags that a refusal gives work as they are written; None where it gives none."""
    flags: dict[str, Any] = {field: [] for field in FLAGS.values()}
    for flag, value in re.findall(r"(--[a-z-]+) (\S+:[\dx]+)", message):
        flags[FLAGS[flag]].append(value)
    if not any(flags.values()):
        return None
    try:
        run_export(source, ShapeOptions(**flags), folder / "followed", ExportOptions(), Log())
    except RectexportError:
        return False
    return True


def attempt(network: Network, sizes: str, form: str) -> dict[str, Any]:
    """What came out, as plain values."""
    module, count = build(network), 0
    if form == "rectified":
        count = len(rectify(module).changed)
        module.eval()
    (name,) = forward_names(module, 1)
    begin = time.perf_counter()
    result: dict[str, Any] = {"rectified": count}
    with scratch_folder() as folder:
        try:
            source = Source("module", module, network.name, input_names=[name])
            done = run_export(source, shapes_of(network, name, sizes), folder / "package", ExportOptions(), Log())
        except RectexportError as error:
            seconds = time.perf_counter() - begin
            trace = traceable(network, sizes) if form == "plain" else None
            message = error.spelled(str)
            followed = follow(message, source, folder)
            found = {"outcome": "refused", "message": message, "followed": followed, "traceable": trace}
            return {**result, **found, "seconds": seconds}
        result["seconds"] = time.perf_counter() - begin
        worst = [proof.worst for proof in read_proofs(done.package.manifest.data) if proof.worst is not None]
        far = max(worst, key=lambda entry: entry.relative_l2, default=None)
        result["worst"] = None if far is None else far.as_dict()
        result["verdicts"] = {proof.engine: proof.verdict for proof in read_proofs(done.package.manifest.data)}
        with torch.no_grad():
            result["distances"] = judge(done.package, module, network, sizes)
    wrong = any(not distance <= WRONG for distance in result["distances"].values())
    return {**result, "outcome": "wrong" if wrong else "exported", "traceable": True}


def main(package: str, name: str, *attempts: str) -> None:
    """Run the attempts, each as sizes, form and file, and write each result as it ends."""
    warnings.filterwarnings("ignore")
    network = next(entry for entry in NETWORKS if (entry.package, entry.name) == (package, name))
    for sizes, form, out in zip(attempts[::3], attempts[1::3], attempts[2::3], strict=True):
        try:
            result = attempt(network, sizes, form)
        except Exception as error:  # what should have been a refusal
            result = {"outcome": "crashed", "message": f"{type(error).__name__}: {error}"}
        Path(out).write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
