"""A trace ends: at its limit, and at Ctrl-C."""

from __future__ import annotations

import threading
import time

import pytest
from torch import Tensor, nn

from rectexport.exporter.base.options import ShapeOptions
from rectexport.exporter.frontend.inputs import plan_inputs
from rectexport.exporter.tracing.time_limit import TooLong, limited
from rectexport.exporter.tracing.trace import trace
from rectexport.runtime.errors import BadInput, Option
from tests.export.nets import image, source


class Endless(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        while True:
            x = x.relu()


def test_an_endless_trace_is_ended_and_its_place_named() -> None:
    net = source(nn.Sequential(nn.Identity(), Endless()), image(1, 1, 2, 2))
    quick, said = source(nn.Sequential(nn.Identity(), nn.ReLU()), image(1, 1, 2, 2)), list[str]()
    trace(quick, plan_inputs(quick, ShapeOptions()).inputs, 18)  # the first trace of a process loads much of torch
    with pytest.raises(BadInput) as refused:
        trace(net, plan_inputs(net, ShapeOptions()).inputs, 18, timeout=1.5, say=said.append)
    text = refused.value.spelled(lambda option: f"<{option.name}>")
    assert "did not end within 1.5 s, in module 1, at test_time_limit.py:" in text and "<trace_timeout>" in text
    assert Option("trace_timeout") in refused.value.args
    assert said and "in module 1" in said[-1]


def catch_once(caught: list[BaseException]) -> None:
    while len(caught) < 2:
        try:
            time.sleep(0.01)
        except BaseException as error:
            caught.append(error)
            if len(caught) > 1:
                raise


def test_something_that_catches_errors_is_ended_too() -> None:
    caught: list[BaseException] = []
    with pytest.raises(TooLong), limited(0.1):
        catch_once(caught)
    assert len(caught) == 2


def test_a_block_that_ends_in_time_leaves_nothing_behind() -> None:
    ticks: list[float] = []
    before = threading.active_count()
    with limited(30, ticks.append, interval=0.02):
        time.sleep(0.1)
    assert ticks and threading.active_count() == before
    with limited(None):
        pass


def test_errors_pass_through() -> None:
    with pytest.raises(KeyboardInterrupt), limited(30):
        raise KeyboardInterrupt
