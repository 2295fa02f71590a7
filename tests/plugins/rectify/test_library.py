"""Load the built library into TensorRT's registry; needs its lean runtime (tensorrt-lean-cu13), but no GPU.

The library is the one that RECTEXPORT_PLUGIN names, or that of `make native`, or that of the installed package.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.engines.tensorrt.plugins import LIBRARY, plugin_library
from tests.places import ROOT

BUILT = ROOT / "build" / "native" / "plugins" / "rectify" / LIBRARY
NODE = {
    "kernel_shape": [3, 3],
    "strides": [1, 1],
    "pads": [1, 1, 1, 1],
    "dilations": [1, 1],
    "numerator": [9],
    "empty_bias": [1],
    "biased": [0],
}


@pytest.fixture(scope="module")
def trt() -> Any:
    for name in ("tensorrt", "tensorrt_lean"):
        try:
            module = import_module(name)
        except ImportError:
            continue
        if hasattr(module, "IPluginV3"):
            return module
    pytest.skip("no TensorRT from 10 on is installed here")


@pytest.fixture
def creators(trt: Any) -> Iterator[Any]:
    """Looks creators up by namespace, while the library is loaded."""
    named = os.environ.get("RECTEXPORT_PLUGIN") or (BUILT if BUILT.is_file() else None)
    library = plugin_library(named)
    if library is None:
        pytest.skip("the plugin is not built: TENSORRT_INCLUDE_DIR=... make native")
    registry = trt.get_plugin_registry()
    handle = registry.load_library(str(library))
    yield lambda namespace: registry.get_creator("Rectify", "1", namespace)
    registry.deregister_library(handle)
    assert registry.get_creator("Rectify", "1", "") is None


def create(trt: Any, creator: Any, node: dict[str, list[int]]) -> Any:
    integers = trt.PluginFieldType.INT32
    fields = [trt.PluginField(name, np.array(values, np.int32), integers) for name, values in node.items()]
    return creator.create_plugin("conv.rectify", trt.PluginFieldCollection(fields), trt.TensorRTPhase.BUILD)


@pytest.mark.parametrize("namespace", ["", "rectexport"])
def test_tensorrt_makes_the_plugin_of_a_node(trt: Any, creators: Any, namespace: str) -> None:
    creator = creators(namespace)
    assert [field.name for field in creator.field_names] == list(NODE)
    assert create(trt, creator, NODE) is not None


def test_a_bad_attribute_gives_none_and_a_message(trt: Any, creators: Any, capfd: Any) -> None:
    assert create(trt, creators(""), NODE | {"strides": [0, 1]}) is None
    assert "conv.rectify: Rectify: attribute strides: expected 1 to 2147483647, got 0" in "".join(capfd.readouterr())
