"""A sample of `make faults`: each kind of fault, at some moments of an export and an optimization."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator

import pytest

if sys.platform != "linux":
    pytest.skip("forks, limits and locks are Linux's here", allow_module_level=True)

pytest.importorskip("torch")

from tests.faults.run import Place, expected, faults, interrupt, prepare, two_at_once


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = prepare(tmp_path_factory.mktemp("faults"), torch=False)
    yield place
    place.warm.close()


@pytest.mark.parametrize("name", ["export", "optimize"])
def test_old_or_new_and_nothing_else(place: Place, name: str) -> None:
    new = expected(place, name)
    said = []
    for fault, existing in faults(place, name, 31, 2, random.Random(5)):
        said += [f"{fault}: {line}" for line in interrupt(place, name, fault, new, existing)]
    said += two_at_once(place, name, new)
    assert not said, "\n".join(said)
