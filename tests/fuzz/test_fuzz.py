"""A short run of every fuzz target, over what was saved from longer ones and over something new; `make fuzz`."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from tests.fuzz.targets import TARGETS

#: What a target needs besides.
NEEDS = {"http_request": "orjson", "grpc_request": "tritonclient.grpc"}
SAVED = Path(__file__).parent / "saved"


@pytest.mark.parametrize("name", TARGETS)
def test_something_new(name: str) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    TARGETS[name]()


@pytest.mark.parametrize("path", sorted(SAVED.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_saved(path: Path) -> None:
    if path.parent.name in NEEDS:
        pytest.importorskip(NEEDS[path.parent.name])
    TARGETS[path.parent.name].hypothesis.fuzz_one_input(path.read_bytes())  # type: ignore[attr-defined]
