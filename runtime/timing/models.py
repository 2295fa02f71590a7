"""Models that a timing process can run, with their arrays on the host or on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, final

from rectexport.runtime.arrays.torch_arrays import TorchCudaTensors
from rectexport.runtime.base.environment import require
from rectexport.runtime.base.runner import Array, DeviceArray, DeviceRunner, Runner, TensorSpec
from rectexport.runtime.base.shapes import Shape
from rectexport.runtime.errors import MissingDependency
from rectexport.runtime.timing.timers import HostTimer, Timer

Feeds = dict[str, Array]
Call = Callable[[], object]


class Timed(Protocol):
    """A loaded model that can be timed."""

    @property
    def description(self) -> str:
        """The engine that runs it, for people."""

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """The model's inputs."""

    @property
    def timer(self) -> Timer:
        """The clock that its runs are measured with."""

    @property
    def transfers(self) -> str:
        """Whether the times include copies to and from a GPU."""

    def prepare(self, feeds: Feeds) -> Call:
        """A function that infers once on these arrays, placed on the right device, and returns when it is done."""


@final
class HostModel:
    """A runner with arrays on the host; if it runs on a GPU, it copies them, and the time includes the copies."""

    def __init__(self, runner: Runner) -> None:
        self.inputs, self.description, self.timer = runner.inputs, runner.description, HostTimer()
        self.transfers = "included" if isinstance(runner, DeviceRunner) else "none, all is on the host"
        self._runner = runner

    def prepare(self, feeds: Feeds) -> Call:
        return lambda: self._runner.run(feeds)


class Device(Protocol):
    """Memory of one GPU."""

    def place(self, array: Array) -> DeviceArray:
        """A copy of the array on the GPU."""

    def empty(self, shape: Shape, dtype: str) -> DeviceArray:
        """A new array on the GPU."""


@final
class DeviceModel:
    """A runner on a GPU with its inputs and outputs on that GPU: copies are not timed.

    The host's clock measures the whole run, because the runner returns when the outputs are complete.
    """

    transfers = "excluded"

    def __init__(self, runner: Runner, device: Device) -> None:
        self.inputs, self.description, self.timer = runner.inputs, runner.description, HostTimer()
        self._runner: Any = runner
        self._device = device

    def prepare(self, feeds: Feeds) -> Call:
        placed = {name: self._device.place(array) for name, array in feeds.items()}
        outputs: dict[str, DeviceArray] = {}

        def allocate(name: str, shape: Shape, dtype: str) -> DeviceArray:
            if name not in outputs:
                outputs[name] = self._device.empty(shape, dtype)
            return outputs[name]

        return lambda: self._runner.run_on_device(placed, allocate)


@final
class TorchDevice:
    """A GPU's memory, allocated with PyTorch. Raises MissingDependency if PyTorch is missing or sees no GPU."""

    def __init__(self, index: int) -> None:
        self._torch: Any = require("torch")
        if not self._torch.cuda.is_available():
            raise MissingDependency(
                f"--no-transfers: PyTorch {self._torch.__version__}, which places the arrays on the GPU, finds no GPU; "
                "install its CUDA build, or time with the copies"
            )
        self._index, self._library = index, TorchCudaTensors(self._torch)

    def place(self, array: Array) -> DeviceArray:
        return self._library.to_device(self._torch.from_numpy(array).to(f"cuda:{self._index}"))

    def empty(self, shape: Shape, dtype: str) -> DeviceArray:
        return self._library.to_device(self._library.empty(shape, dtype, self._index))


def timed(runner: Runner, transfers: bool = True) -> Timed:
    """A model that times the runner with or without copies to its GPU. Raises MissingDependency as TorchDevice does."""
    if transfers or not isinstance(runner, DeviceRunner):
        return HostModel(runner)
    return DeviceModel(runner, TorchDevice(runner.device))
