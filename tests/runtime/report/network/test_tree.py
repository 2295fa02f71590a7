"""The map of a network: modules, times, distances, links, and what is joined or counted."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from rectexport.runtime.profiling.origins import Graph, Node
from rectexport.runtime.report.documents import Parity, Profiled, ProfiledLayer
from rectexport.runtime.report.network.tree import Leaf, Module, NetworkMap, network_map
from rectexport.runtime.report.reading import read_parity
from rectexport.runtime.report.scale import Scale
from tests.runtime.report.conftest import parity_document

GRAPH = Graph(
    (
        Node("n0", "Conv", (), ("tensor_0",), "stem.0"),
        Node("n1", "Mul", (), ("tensor_1.scaled",), "stem.1", "rectify_fold"),
        Node("n2", "Add", (), ("tensor_1",), "stem.1", "rectify_fold"),
        Node("n3", "Conv", (), ("tensor_2",), "body.deep.only.conv"),
        Node("n4", "Relu", (), ("tensor_3",), "body.deep.only.act"),
        Node("n5", "Gemm", (), ("logits",), "."),
    )
)
SCALE = Scale(-8, -6, 1e-4)


@pytest.fixture
def parity(tmp_path: Path) -> Parity:
    (tmp_path / "parity.json").write_text(json.dumps(parity_document()))
    return read_parity(tmp_path / "parity.json")


def layer(name: str, module: str, ms: float, *nodes: str) -> ProfiledLayer:
    return ProfiledLayer(name, module, (), nodes, ms, 0.1, "", False)


PROFILE = Profiled(
    "onnxruntime",
    "an engine",
    1,
    9.0,
    1.0,
    (
        layer("conv", "stem.0", 3.0, "n0"),
        layer("fused", "body.deep.only.act", 4.0, "n3", "n4"),
        layer("reorder", "stem.1", 1.0),
        layer("broken", "stem.1", float("nan"), "n1"),
    ),
    {},
    {},
)


def mapped(parity: Parity, profile: Profiled | None = PROFILE) -> NetworkMap:
    anchors = {"tensor_1": "drawing", "rectify_fold": "pass"}
    found = network_map(GRAPH, parity, profile, anchors, SCALE)
    assert found is not None
    return found


def part(module: Module, name: str) -> Module:
    return next(entry for entry in module.parts if entry.name == name)


def test_modules_hold_their_nodes_in_the_order_of_the_model(parity: Parity) -> None:
    root = mapped(parity).root
    assert [entry.name if isinstance(entry, Module) else entry.op for entry in root.content] == [
        "stem",
        "body.deep.only",
        "Gemm",
    ]
    assert [leaf.op for leaf in part(part(root, "stem"), "1").leaves] == ["Mul", "Add"]
    assert root.count == len(GRAPH.nodes) and part(root, "body.deep.only").operators == "Conv, Relu"


def test_a_chain_of_modules_is_one_row_with_the_path_of_the_last(parity: Parity) -> None:
    joined = part(mapped(parity).root, "body.deep.only")
    assert joined.path == "body.deep.only" and [entry.name for entry in joined.parts] == ["conv", "act"]


def test_times_add_up_and_count_once(parity: Parity) -> None:
    found = mapped(parity)
    assert found.total == found.root.ms == 8.0
    assert part(found.root, "stem").ms == 4.0 and part(found.root, "body.deep.only").ms == 4.0
    assert part(part(found.root, "body.deep.only"), "act").leaves[0].ms == 4.0  # of its module, not of the first
    assert found.share(4.0) == 50 and found.share(None) == 0
    assert found.time_colour(4.0) == "t7" and found.time_colour(1.0) == "t4" and found.time_colour(None) == ""


def test_distances_are_the_worst_of_all_shapes_and_regions(parity: Parity) -> None:
    root = mapped(parity).root
    layers = [entry for case in parity.cases for entry in case.layers if entry.tensor == "tensor_1"]
    wanted = max(entry.regions["corner"].relative_l2 for entry in layers)
    assert part(part(root, "stem"), "1").distance == wanted
    assert part(root, "stem").distance == wanted
    output = root.leaves[0]
    assert output.distance == max(case.outputs["logits"].relative_l2 for case in parity.cases)
    assert mapped(parity).distance_colour(1.0) == "over" and mapped(parity).distance_colour(None) == ""


def test_a_node_leads_to_the_drawing_of_its_rewrite(parity: Parity) -> None:
    first, second = part(part(mapped(parity).root, "stem"), "1").leaves
    assert (first.made_by, first.anchor) == ("rectify_fold", "drawing") and second.anchor == "drawing"
    other = network_map(GRAPH, parity, None, {"rectify_fold": "pass"}, None)
    assert other is not None and part(part(other.root, "stem"), "1").rewrites == [("rectify_fold", "pass")]
    assert isinstance(other.root.content[-1], Leaf) and other.root.content[-1].anchor == ""


def test_without_a_profile_there_are_no_times(parity: Parity) -> None:
    found = mapped(parity, None)
    assert found.total == 0 and found.times is None and found.time_colour(1.0) == ""


def test_a_package_without_origins_has_no_map(parity: Parity) -> None:
    assert network_map(Graph(), parity, None, {}, None) is None


def test_many_and_deep_modules_take_little_time(parity: Parity) -> None:
    nodes = [Node(f"n{index}", "Conv", (), (f"t{index}",), f"m.{index}") for index in range(50_000)]
    nodes.append(Node("last", "Conv", (), ("last",), "d." * 5_000))
    begin = time.process_time()
    found = network_map(Graph(tuple(nodes)), parity, None, {}, None)
    assert found is not None and found.root.count == len(nodes)
    assert time.process_time() - begin < 5
