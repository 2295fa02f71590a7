"""Verifies a package on the machine that runs it: manifest, files, and goldens on an engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rectexport.runtime.base.metrics import Difference, compare
from rectexport.runtime.base.runner import Array, BackendOptions, silent
from rectexport.runtime.base.tolerance import Tolerance
from rectexport.runtime.engines.backends import AUTO, Choice, choose_backend
from rectexport.runtime.engines.warm_up import warm_up
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.folder import GOLDENS, PLAN, Package
from rectexport.runtime.package.manifest import FILE_NAME, Manifest
from rectexport.runtime.package.schema import manifest_faults
from rectexport.runtime.package.signing import check_signature
from rectexport.runtime.session import Session

#: How many faults of a manifest an error names; the rest are counted.
NAMED = 5


@dataclass(frozen=True)
class Verification:
    """The result; `failures` lists the outputs that differ from their goldens by more than the tolerance.

    signed_by is the public key that the signature was checked with, None if none was given.
    """

    package: Path
    files: int
    backend: Choice
    tolerances: Mapping[str, float]
    outputs: Mapping[str, Difference] = field(default_factory=dict)
    failures: tuple[str, ...] = ()
    signed_by: Path | None = None

    @property
    def passed(self) -> bool:
        """Whether every output is within the tolerance of its golden."""
        return not self.failures

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "passed": self.passed,
            "package": str(self.package),
            "files": self.files,
            "signature": None if self.signed_by is None else {"key": str(self.signed_by), "valid": True},
            "backend": {
                "name": self.backend.name,
                "description": self.backend.description,
                "not_taken": dict(self.backend.not_taken),
            },
            "tolerances": dict(self.tolerances),
            "outputs": {name: difference.as_dict() for name, difference in self.outputs.items()},
            "failures": list(self.failures),
        }


def check_manifest(package: Package) -> None:
    """Raise BadInput that names the first NAMED places where the manifest violates its schema."""
    found = list(manifest_faults(package.manifest.data))
    if found:
        more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
        raise BadInput(f"{package.path / FILE_NAME}: {'; '.join(found[:NAMED])}{more}")


def check_files(package: Package) -> None:
    """Raise BadInput for a file that is missing, was changed, or is not listed in the manifest."""
    package.verify_files()
    for path in sorted(package.path.glob(f"*{PLAN}")):
        if path.name not in package.manifest.files:
            raise BadInput(f"{path}: not listed in the manifest: an interrupted build may have left it; remove it")


def verify(
    path: str | Path,
    backend: str = AUTO,
    options: BackendOptions | None = None,
    step: Callable[[str], None] = silent,
    key: Path | None = None,
) -> Verification:
    """Check the manifest against its schema, the files against their sha256, and the goldens on a backend.

    With a public key, also check the manifest's signature. The smallest and, if cheap, the largest shape are run too,
    so that a shape range that the engine does not take is found. step is called with each step's name as it begins.

    Outputs that differ from their goldens are in the result. Raises BadInput for a package that is damaged, not signed
    with the key, or refused by the engine; MissingDependency for a missing backend, or for missing cryptography.
    """
    step("manifest")
    package = Package.open(path)
    if key is not None:
        step("signature")
        check_signature(package, key)
    check_manifest(package)
    step("files")
    check_files(package)
    step("load")
    inputs, expected = _goldens(package)
    chosen = options or BackendOptions()
    runner, choice = choose_backend(package, backend, chosen, prove=False)
    with Session(package, runner, choice) as session:
        step("warm up")
        warm_up(runner, package.manifest, chosen.progress)
        step("goldens")
        actual = session.run(inputs)
    outputs, failures = _compare(package.manifest, expected, actual)
    files = len(package.manifest.files)
    return Verification(package.path, files, choice, package.manifest.tolerances, outputs, failures, key)


def _goldens(package: Package) -> tuple[dict[str, Array], dict[str, Array]]:
    inputs, expected = package.goldens()
    for kind, found, entries in (
        ("inputs", inputs, package.manifest.inputs),
        ("outputs", expected, package.manifest.outputs),
    ):
        names = sorted(entry.name for entry in entries)
        if sorted(found) != names:
            given = ", ".join(sorted(found)) or "none"
            raise BadInput(f"{package.path / GOLDENS}: has {kind} {given}; the manifest says {', '.join(names)}")
    return inputs, expected


def _compare(
    manifest: Manifest, expected: Mapping[str, Array], actual: Mapping[str, Array]
) -> tuple[dict[str, Difference], tuple[str, ...]]:
    tolerance = Tolerance.from_dict(manifest.tolerances)
    outputs: dict[str, Difference] = {}
    failures = []
    for entry in manifest.outputs:
        wanted, got = expected[entry.name], actual[entry.name]
        if wanted.shape != got.shape:
            failures.append(f"{entry.name}: shape {list(got.shape)}, expected {list(wanted.shape)}")
            continue
        outputs[entry.name] = compare(wanted, got)
        failure = tolerance.failure(entry.name, outputs[entry.name], wanted, got)
        if failure:
            failures.append(failure)
    return outputs, tuple(failures)
