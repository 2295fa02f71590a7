"""Distances between a model and its quantized form."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import Int8
from rectexport.exporter.quantize.measuring import layer_noise, model_outputs, region_snr, snr_db
from rectexport.exporter.quantize.quantizer import Quantizer
from tests.export.quantize.nets import items, rectified_net


def test_the_ratio_is_that_of_the_worst_floating_point_output() -> None:
    wanted = [np.ones(100), np.ones(100), np.arange(3)]
    got = [wanted[0] * 1.1, wanted[1] * 1.01, wanted[2] + 1]
    assert snr_db(wanted, got) == pytest.approx(20)
    assert snr_db(wanted[:1], wanted[:1]) == math.inf


def test_outputs_do_not_depend_on_the_batches() -> None:
    model, data = rectified_net(), items(10)
    first, second = (model_outputs(model, data, rows)[0] for rows in ((4, 4), (10, 1)))
    assert first.shape == (10, 5) and np.allclose(first, second, atol=1e-5)


def test_layers_are_compared_by_region() -> None:
    model, data = rectified_net(), items(48)
    found = Quantizer(model, data, (8, 1), Int8(None), Log()).run("openvino")
    noise = layer_noise(model, found.model, ["a.out", "b.out", "absent", "flat"], data, (8, 1))
    assert [entry.tensor for entry in noise] == ["a.out", "b.out"]
    assert all(set(entry.regions) == {"corner", "edge", "interior"} for entry in noise)
    assert region_snr(noise)["corner"] == min(entry.regions["corner"] for entry in noise)
    assert region_snr(noise, "b.out") == dict(noise[1].regions)
    assert all(value > 20 for value in region_snr(noise).values())
