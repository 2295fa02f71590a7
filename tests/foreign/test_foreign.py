"""Run a fixed sample of `make backend-models`."""

from __future__ import annotations

from itertools import chain, islice

import pytest

pytest.importorskip("onnxscript")

from tests.foreign.corpus import Foreign, node_models, stored_models
from tests.foreign.run import examine, optimized

#: Operators that occur in our patterns or beside them.
NEAR = ("conv", "pad", "concat", "relu", "mul", "batchnorm", "identity", "split", "neg", "cast")


#: Operators whose inputs cannot be drawn, or whose types are no tensors.
ODD = (
    "reshape",
    "sequence",
    "optional",
    "string",
    "loop",
    "scan",
    "if",
    "tile",
    "upsample",
    "resize",
    "hardmax",
    "random",
)


@pytest.fixture(scope="module")
def nodes() -> list[Foreign]:
    """Models of one operator each."""
    return [foreign for foreign in node_models() if "expanded" not in foreign.name]


def test_optimize_keeps_what_a_sample_of_onnx_models_computes(nodes: list[Foreign]) -> None:
    odd = [foreign for foreign in nodes if any(f"_{word}" in foreign.name for word in ODD)]
    sample = list(chain(islice(odd, 0, None, 4), islice(nodes, 0, None, 60)))
    left = {foreign.name: how for foreign in sample if (how := optimized(foreign)) is not None}
    assert 25 < len(left) <= 60
    assert not {name: how for name, how in left.items() if how not in ("unchanged", "equal")}


def test_a_sample_of_onnx_models(nodes: list[Foreign]) -> None:
    near = [foreign for foreign in nodes if any(word in foreign.name for word in NEAR)]
    small = [foreign for foreign in stored_models() if "light" not in foreign.name]
    sample = list(chain(islice(near, 0, None, 12), islice(nodes, 0, None, 120), islice(small, 0, None, 12)))
    assert len(sample) > 25
    reports = {foreign.name: examine(foreign) for foreign in sample}
    faults = [f"{name}: {fault}" for name, report in reports.items() for fault in report.faults]
    assert not faults, "\n".join(faults)
    assert sum(report.compared for report in reports.values()) > len(sample) // 2
