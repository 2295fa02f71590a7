"""Some networks of the zoo, as `make rtx-zoo` tries all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.rtx.attempt import Network
from benchmarks.rtx.cases import Case
from benchmarks.rtx.outcomes import BUILT
from rectexport.runtime.engines.tensorrt.versions import Api


@pytest.mark.parametrize("name", ["digits", "resnet20", "convpool_cnn_c_crelu"])
def test_networks_of_the_zoo(api: Api, name: str, tmp_path: Path) -> None:
    network = Network(name, tmp_path)
    for case in (
        Case("static", "auto", "fp16"),
        Case("dynamic", "auto", "fp32"),
        Case("dynamic", "plugin", "fp16"),
        Case("dynamic", "auto", "int8+fp16"),
    ):
        result = network.attempt(case)
        assert result["outcome"] == BUILT, (case, result)
        assert result["build_s"] > 0 and result["peak_bytes"] > result["bytes"]
