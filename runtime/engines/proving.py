"""Find out whether an engine agrees with a package's source model: by proof, earlier comparison, or goldens."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rectexport.runtime.base.environment import version
from rectexport.runtime.base.files import replaced_file
from rectexport.runtime.base.metrics import compare, compare_regions
from rectexport.runtime.base.processor import Processor, processor
from rectexport.runtime.base.runner import Array, Runner
from rectexport.runtime.base.tolerance import Tolerance, bound_text
from rectexport.runtime.errors import BadInput, RectexportError
from rectexport.runtime.package.folder import GOLDENS, Package
from rectexport.runtime.package.proofs import AGREES, DIFFERS, REFUSES, Proof, Worst, read_proofs

#: A region may be this much farther off than the whole output: it has fewer elements, so rounding averages out less.
REGION_FACTOR = 10
#: How many verdicts the cache keeps; the oldest are dropped.
CACHED = 500
#: Named in messages about an engine that was not compared with the source model.
NO_GOLDENS = "the package has no goldens to compare it with"


@dataclass(frozen=True)
class Verdict:
    """Whether an engine agrees with the package's source model, and what says so.

    agrees is None where nothing could be compared. basis is "proof" (made at export), "goldens" (run now) or
    "cache" (run before on this machine).
    """

    agrees: bool | None
    reason: str
    basis: str


def engine_version(engine: str) -> str:
    """The installed version of "onnxruntime", "cuda" (ONNX Runtime's) or "openvino": "1.31.1", "2026.4.1"."""
    found = version("openvino") if engine == "openvino" else version("onnxruntime") or version("onnxruntime-gpu")
    return (found or "unknown").partition("-")[0]


def judge(
    expected: Mapping[str, Array], actual: Mapping[str, Array], tolerance: Tolerance, case: str
) -> tuple[str, Worst | None]:
    """Compare all outputs of one run. Returns why they do not agree (empty where they do) and the largest distance."""
    reason, worst = "", None
    for name, wanted in expected.items():
        got = actual.get(name)
        if got is None or got.shape != wanted.shape:
            shape = "missing" if got is None else f"shape {list(got.shape)}"
            reason = reason or f"output {name}: {shape}, expected {list(wanted.shape)} (case {case})"
            continue
        found, failure = _judge_output(name, wanted, got, tolerance, case)
        if worst is None or not found.relative_l2 <= worst.relative_l2:
            worst = found
        reason = reason or failure
    return reason, worst


def _judge_output(name: str, wanted: Array, got: Array, tolerance: Tolerance, case: str) -> tuple[Worst, str]:
    difference, regions = compare_regions(wanted, got) if wanted.ndim == 4 else (compare(wanted, got), {})
    distances = {"all": difference.relative_l2, **{key: value.relative_l2 for key, value in regions.items()}}
    region = max(distances, key=lambda key: np.nan_to_num(distances[key], nan=np.inf))
    worst = Worst(distances[region], name, region, case)
    failure = tolerance.failure(name, difference, wanted, got)
    bound = REGION_FACTOR * tolerance.relative_l2
    far = not worst.relative_l2 <= bound
    if failure is None and far and not tolerance.passes_as_zeros(wanted, got):
        failure = f"{name}: relative L2 {worst.relative_l2:.1e}, allowed {bound_text(bound)}"
    where = f" in region {region}" if region != "all" else ""
    return worst, f"output {failure}{where} (case {case})" if failure else ""


def prove_by_goldens(runner: Runner, package: Package) -> Verdict:
    """Run every golden case. An engine that cannot run one is taken as not agreeing."""
    if GOLDENS not in package.manifest.files:
        return Verdict(None, NO_GOLDENS, "goldens")
    tolerance = Tolerance.from_dict(package.manifest.tolerances)
    for label, (inputs, outputs) in package.golden_cases().items():
        try:
            reason, _ = judge(outputs, runner.run(inputs), tolerance, label)
        except RectexportError as error:
            reason = f"{error} (case {label})"
        if reason:
            return Verdict(False, reason, "goldens")
    return Verdict(True, "", "goldens")


def verdict_on(
    package: Package,
    engine: str,
    installed: str,
    runner: Runner,
    progress: Callable[[str], None],
    here: Processor | None = None,
) -> Verdict:
    """The proof that holds here, or what this machine found before, or the goldens, run now and remembered."""
    machine = here or processor()
    for proof in read_proofs(package.manifest.data):
        if proof.holds_for(engine, installed, machine):
            return Verdict(proof.verdict == AGREES, proof.reason, "proof")
    cache, key = VerdictCache(), _key(package, engine, installed, machine)
    found = cache.get(key)
    if found is not None:
        return found
    progress(f"comparing {engine} {installed} with the goldens: the package has no proof for it on this processor")
    verdict = prove_by_goldens(runner, package)
    if verdict.agrees is not None:
        cache.put(key, verdict)
    return verdict


def make_proof(
    engine: str, installed: str, precision: str, cases: int, worst: Worst | None, reason: str, refused: bool = False
) -> Proof:
    """A proof for this machine's processor."""
    verdict = REFUSES if refused else DIFFERS if reason else AGREES
    return Proof(engine, installed, precision, processor(), verdict, cases, worst, reason)


def _key(package: Package, engine: str, installed: str, machine: Processor) -> str:
    """What a verdict depends on: hashes of models, weights and goldens, tolerances, engine and processor."""
    files = {name: digest for name, digest in package.manifest.files.items() if _decides(name)}
    tolerances = package.manifest.tolerances
    return json.dumps([engine, installed, machine.as_dict(), files, tolerances], sort_keys=True)


def _decides(name: str) -> bool:
    return name == GOLDENS or name.startswith(("model.", "weights."))


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/rectexport, by default under ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "rectexport"


@dataclass(frozen=True)
class VerdictCache:
    """Verdicts of this machine by key, in one JSON file. A file that cannot be read or written is no error."""

    path: Path = field(default_factory=lambda: cache_folder() / "verdicts.json")

    def get(self, key: str) -> Verdict | None:
        """What was found under this key."""
        entry = self._read().get(key)
        try:
            return None if entry is None else Verdict(bool(entry["agrees"]), str(entry["reason"]), "cache")
        except (KeyError, TypeError):
            return None

    def put(self, key: str, verdict: Verdict) -> None:
        """Remember a verdict; the file is replaced whole, so that no reader sees half of it."""
        entries = {**self._read(), key: {"agrees": verdict.agrees, "reason": verdict.reason}}
        kept = dict(list(entries.items())[-CACHED:])
        with suppress(OSError, BadInput):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replaced_file(self.path) as temporary:
                temporary.write_text(json.dumps(kept, indent=1), encoding="utf-8")

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
