"""Models on a GPU are timed with or without copies, as requested."""

from __future__ import annotations

import numpy as np
import pytest

from rectexport.runtime.base.runner import DeviceArray, TensorSpec
from rectexport.runtime.errors import MissingDependency
from rectexport.runtime.timing.models import DeviceModel, HostModel, timed


class OnHost:
    description, inputs, outputs = "host", [TensorSpec("x", "float32", (2,))], []

    def __init__(self):
        self.ran = []

    def run(self, feeds):
        self.ran.append(feeds)

    def close(self):
        pass


class OnDevice(OnHost):
    device = 3

    def run_on_device(self, feeds, allocate):
        self.ran.append((feeds["x"].pointer, allocate("y", (2,), "float32").pointer))


class Memory:
    """Counts the arrays made on it."""

    def __init__(self):
        self.made = 0

    def place(self, array):
        return self.empty(array.shape, array.dtype.name)

    def empty(self, shape, dtype):
        self.made += 1
        return DeviceArray(self.made, shape, dtype, 3, self)


FEEDS = {"x": np.ones(2, np.float32)}


def test_a_model_on_the_host():
    runner = OnHost()
    for transfers in (True, False):
        model = timed(runner, transfers)
        assert (model.description, model.transfers) == ("host", "none, all is on the host")
        model.prepare(FEEDS)()
    assert runner.ran == [FEEDS, FEEDS]


def test_copies_are_timed_with_a_model_on_a_gpu():
    runner = OnDevice()
    model = timed(runner)
    assert isinstance(model, HostModel) and model.transfers == "included"
    model.prepare(FEEDS)()
    assert runner.ran == [FEEDS]


def test_arrays_are_placed_once_when_copies_are_left_out():
    runner, memory = OnDevice(), Memory()
    model = DeviceModel(runner, memory)
    assert model.transfers == "excluded"
    call = model.prepare(FEEDS)
    assert memory.made == 1
    call()
    call()
    assert runner.ran == [(1, 2), (1, 2)] and memory.made == 2


def test_without_a_gpu_that_pytorch_sees():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(MissingDependency, match="--no-transfers: PyTorch"):
        timed(OnDevice(), transfers=False)
