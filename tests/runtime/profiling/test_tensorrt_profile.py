"""TensorRT's layers, on a made-up TensorRT that reports times and an inspector's document."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rectexport.runtime.engines.tensorrt.building.building import ensure_plan
from rectexport.runtime.engines.tensorrt.options import BuildOptions
from rectexport.runtime.engines.tensorrt.profiles import make_profiles
from rectexport.runtime.package.folder import Package
from rectexport.runtime.profiling.sampled import NEXT
from rectexport.runtime.profiling.tensorrt_profile import profile_tensorrt
from tests.runtime.engines.tensorrt.machines import Machine

pytest.importorskip("polygraphy")


def test_layers_have_the_nodes_of_the_inspector(machine: Machine, flexible: Path) -> None:
    package = Package.open(flexible)
    built = ensure_plan(flexible, BuildOptions(profiles=make_profiles(package.manifest.inputs)), machine.api())
    machine.trt.layer_times = {"Reformatting CopyNode for Input Tensor 0 to conv": 0.25, "conv + relu": 2.0, "m": 1.0}
    tensor = {"Name": "x", "Dimensions": [2, 1, 8, 8], "Format/Datatype": "Float"}
    layers = [
        {"Name": "conv + relu", "LayerType": "CaskConvolution", "Inputs": [tensor], "Outputs": [tensor]},
        {"Name": "m", "LayerType": "kgen", "Metadata": "[ONNX Layer: pool]\x1e[ONNX Layer: fc]"},
    ]
    machine.trt.inspector = json.dumps({"Layers": layers, "Bindings": []})
    x = np.ones((2, 1, 8, 8), np.float32)
    found = profile_tensorrt(built.package, [{"x": x}], warm_up=2, seconds=0.0)
    reformat, conv, mixed = found.layers
    assert found.runs == 3 and "transfers" in found.outside
    assert reformat.reorder == NEXT and reformat.seconds == pytest.approx(0.25e-3)
    assert conv.anchors == ("conv + relu", "conv", "relu") and conv.seconds == pytest.approx(2e-3)
    assert conv.inputs == conv.outputs == (128,)
    assert mixed.anchors[:2] == ("pool", "fc") and mixed.inputs is None
    assert not machine.gpu.memory
