"""A short run of every fuzz target, on inputs saved from longer runs (`make fuzz`) and on new ones."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from tests.fuzz.targets import TARGETS

#: Libraries that a target needs besides the usual ones.
NEEDS = {"http_request": "orjson", "grpc_request": "tritonclient.grpc"}
SAVED = Path(__file__).parent / "saved"


@pytest.mark.parametrize("name", TARGETS)
def test_new_inputs(name: str) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    TARGETS[name]()


@pytest.mark.parametrize("path", sorted(SAVED.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_saved_inputs(path: Path) -> None:
    if path.parent.name in NEEDS:
        pytest.importorskip(NEEDS[path.parent.name])
    TARGETS[path.parent.name].hypothesis.fuzz_one_input(path.read_bytes())  # type: ignore[attr-defined]
