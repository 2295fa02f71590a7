"""Run a fixed sample of `make backend-models`."""

from __future__ import annotations

from itertools import chain, islice

import pytest

pytest.importorskip("onnxscript")

from tests.foreign.corpus import node_models, stored_models
from tests.foreign.run import examine

#: Operators that occur in our patterns or beside them.
NEAR = ("conv", "pad", "concat", "relu", "mul", "batchnorm", "identity", "split", "neg", "cast")


def test_a_sample_of_onnx_models() -> None:
    nodes = [foreign for foreign in node_models() if "expanded" not in foreign.name]
    near = [foreign for foreign in nodes if any(word in foreign.name for word in NEAR)]
    small = [foreign for foreign in stored_models() if "light" not in foreign.name]
    sample = list(chain(islice(near, 0, None, 12), islice(nodes, 0, None, 120), islice(small, 0, None, 12)))
    assert len(sample) > 25
    reports = {foreign.name: examine(foreign) for foreign in sample}
    faults = [f"{name}: {fault}" for name, report in reports.items() for fault in report.faults]
    assert not faults, "\n".join(faults)
    assert sum(report.compared for report in reports.values()) > len(sample) // 2
