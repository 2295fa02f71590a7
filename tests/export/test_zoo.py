"""Every network of the zoo, narrow, shallow and on small images, exports and agrees with PyTorch at every layer."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from rectexport.exporter.base.log import Log
from rectexport.exporter.frontend.inputs import ShapeOptions
from rectexport.exporter.frontend.source import Source
from rectexport.exporter.pipeline import ExportOptions, run_export
from rectexport.models.registry import ModelEntry, model_entry, model_names
from rectexport.models.tools.seeded import seeded_model

WIDTH, DEPTH, SIDE = 0.25, 2, 48
LEAST_SIDE = {"all_cnn_b": 96}


def reduced(entry: ModelEntry) -> dict[str, Any]:
    """A quarter of the channels, and at most two blocks a stage; one from the third on where there are more than three.

    A stage's first block changes the size, all others keep it.
    """
    options: dict[str, Any] = {"width": WIDTH}
    for name in {"blocks", "convs"} & set(entry.options()):
        depth = entry.defaults.get(name, inspect.signature(entry.build).parameters[name].default)
        options[name] = min(depth, DEPTH) if isinstance(depth, int) else shallow(depth)
    return options


def shallow(stages: Sequence[int]) -> tuple[int, ...]:
    """The blocks that are left of each stage."""
    return tuple(min(count, DEPTH if index < 2 or len(stages) < 4 else 1) for index, count in enumerate(stages))


def distinct_networks() -> list[str]:
    """A name for each network that differs from the others when reduced: many differ in depth alone."""
    names: dict[object, str] = {}
    for name in model_names():
        entry = model_entry(name)
        options = sorted({**entry.defaults, **reduced(entry)}.items())
        names.setdefault((entry.build, repr(options), entry.input_shape), name)
    return list(names.values())


@pytest.mark.parametrize("name", distinct_networks())
def test_exports(name: str, tmp_path: Path) -> None:
    entry = model_entry(name)
    side = next((least for prefix, least in LEAST_SIDE.items() if name.startswith(prefix)), SIDE)
    channels, *size = entry.input_shape
    sides = [min(round(side ** (2 / len(size))), native) for native in size]
    example = torch.randn(1, channels, *sides, generator=torch.Generator().manual_seed(0))
    model = seeded_model(name, num_classes=7, **reduced(entry))
    source = Source("module", model, name, input_names=["input"], example_inputs=(example.numpy(),))
    options = ExportOptions(guard=False)
    result = run_export(source, ShapeOptions(), tmp_path / "package", options, Log())
    case = result.parity.cases[0]
    assert max(value.relative_l2 for value in case.outputs.values()) <= 1e-5
    assert len(case.layers) >= 10
    assert max(layer.worst[1] for layer in case.layers) <= 1e-5
