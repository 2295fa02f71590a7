"""Build engines from the prepared packages and compare their outputs with the goldens.

python -m benchmarks.gpu.test [--folder build/gpu]

Needs only the runtime (Python 3.10 or later), and TensorRT or ONNX Runtime's CUDA provider; one that is missing is
skipped with the reason. Ends within nine minutes and prints the table last; exits with 1 if an output is wrong.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.gpu.plan import FOLDER, Deadline, Section, backend, finish, prepared, write_record
from rectexport.runtime.base.metrics import compare
from rectexport.runtime.base.runner import Runner
from rectexport.runtime.engines.tensorrt import versions
from rectexport.runtime.engines.tensorrt.building.acceptance import allowed
from rectexport.runtime.engines.tensorrt.building.building import ensure_plan, plugins_of
from rectexport.runtime.engines.tensorrt.options import BuildOptions
from rectexport.runtime.engines.tensorrt.profiles import make_profiles
from rectexport.runtime.engines.tensorrt.running.runner import open_runner
from rectexport.runtime.errors import RectexportError
from rectexport.runtime.package.folder import Package

TITLE = "Outputs compared with the goldens"
HEADINGS = ("package", "backend", "relative L2", "allowed", "convolutions in this precision", "build, s", "")


def main() -> None:
    """Test every package on every backend."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    section, deadline = Section(TITLE, HEADINGS), Deadline()
    found = prepared(options.folder)
    if isinstance(found, str):
        section.skip("packages", found)
    absent = versions.absence()
    if absent:
        section.skip("TensorRT", absent)
    provider = backend("cuda")
    reason = "not part of this build" if provider is None else provider.absent()
    if reason:
        section.skip("ONNX Runtime CUDA", reason)
    bad = 0
    with tempfile.TemporaryDirectory(prefix="rectexport-gpu-") as work:
        for entry in () if isinstance(found, str) else found["packages"]:
            if not absent:
                bad += _tensorrt(section, options.folder / entry["path"], entry, Path(work), deadline)
            if not reason:
                bad += _onnxruntime(section, options.folder / entry["path"], entry, provider, deadline)
    finish([section], lambda: write_record([section]))
    sys.exit(1 if bad else 0)


def _tensorrt(section: Section, folder: Path, entry: dict[str, Any], work: Path, deadline: Deadline) -> bool:
    """Build in a copy, run and compare; returns whether something is wrong."""
    if late := deadline.passed():
        section.skip(f"{entry['name']} on TensorRT", late)
        return False
    copy = Path(shutil.copytree(folder, work / entry["name"]))
    begin = time.monotonic()
    try:
        api, package = versions.load(), Package.open(copy)
        options = BuildOptions(
            make_profiles(package.manifest.inputs),
            timing_cache=work / "timing.cache",
            plugins=plugins_of(package, ()),
        )
        built = ensure_plan(copy, options, api)
        seconds = f"{time.monotonic() - begin:.1f}"
        share = built.share.describe() if built.share else ""
        return _judge(section, entry, built.package, open_runner(built.package), share, seconds)
    except RectexportError as error:
        section.rows.append((entry["name"], "TensorRT", "", "", "", "", f"FAILED: {error}"))
        return True
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def _onnxruntime(section: Section, folder: Path, entry: dict[str, Any], provider: Any, deadline: Deadline) -> bool:
    if late := deadline.passed():
        section.skip(f"{entry['name']} on ONNX Runtime CUDA", late)
        return False
    try:
        package = Package.open(folder)
        return _judge(section, entry, package, provider.open(package, _default_options()), "", "")
    except RectexportError as error:
        section.rows.append((entry["name"], "ONNX Runtime CUDA", "", "", "", "", f"FAILED: {error}"))
        return True


def _default_options() -> Any:
    return import_module("rectexport.runtime.base.runner").BackendOptions()


def _judge(section: Section, entry: dict[str, Any], package: Package, runner: Runner, share: str, seconds: str) -> bool:
    """Run the goldens three times; an engine with CUDA graphs uses one from the second run on."""
    feeds, wanted = package.goldens()
    bound = allowed(package, entry["precision"])
    try:
        worst = max(
            compare(wanted[name], value).relative_l2 for _ in range(3) for name, value in runner.run(feeds).items()
        )
    finally:
        runner.close()
    verdict = "passed" if worst <= bound else "FAILED"
    name = getattr(runner, "description", type(runner).__name__)
    section.rows.append((entry["name"], name, f"{worst:.1e}", f"{bound:.0e}", share, seconds, verdict))
    print(section.rows[-1], flush=True)
    return verdict != "passed"


if __name__ == "__main__":
    main()
