"""Some networks of the zoo, as `make rtx-zoo` tries all of them."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from benchmarks.rtx.attempt import BUILT, Network
from benchmarks.rtx.cases import Case
from rectexport.runtime.engines.tensorrt.versions import Api


@pytest.mark.parametrize("name", ["digits", "resnet20", "convpool_cnn_c_crelu"])
def test_networks_of_the_zoo(api: Api, name: str, tmp_path: Path) -> None:
    network = Network(name, tmp_path)
    for case in (Case("static", "auto", "fp16"), Case("dynamic", "auto", "fp32"), Case("dynamic", "plugin", "fp16")):
        result = network.attempt(case)
        assert result["outcome"] == BUILT, (case, result)


def test_a_map_takes_few_layers(api: Api, tmp_path: Path) -> None:
    """Where H and W are dynamic: eleven for each map; the four rectified layers share three."""
    network = Network("digits", tmp_path)
    counts = {}
    for shapes in ("static", "dynamic"):
        assert network.attempt(Case(shapes, "auto", "fp32"))["outcome"] == BUILT
        builder = api.module.Builder(api.module.Logger())
        graph = builder.create_network(0)
        parser = api.module.OnnxParser(graph, api.module.Logger())
        assert parser.parse_from_file(str(tmp_path / "model.onnx"))
        counts[shapes] = graph.num_layers
    maps = sum(node.op_type == "ConstantOfShape" for node in onnx.load(tmp_path / "model.onnx").graph.node)
    assert maps == 3 and counts["dynamic"] - counts["static"] <= 11 * maps
