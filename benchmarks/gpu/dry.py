"""What stands in for a GPU in a dry run, so that every line of the steps runs on a CPU: nothing here computes fast.

The driver and CuPy are those of the tests. The programs of the kernel are replaced by one that prints what they print.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np

from rectexport.runtime.arrays.kinds import DeviceLibrary
from rectexport.runtime.engines.tensorrt import cuda

NVIDIA_SMI = "No GPU, 0, 0 MiB, 0 MHz, 0 MHz, 0 MHz, 0 MHz, 0 W, 0"
NVCC = "no nvcc"
_SAID = {
    "device_test": "# no device\ntensors on the GPU: 0 of 0 failed",
    "bench": "# no device\ntype, layout\trectify us\nfloat16 HWC8\t0",
}


def program(words: Sequence[str]) -> list[str]:
    """A command that prints what this program of the kernel would; compilers and checkers print their names."""
    name = next((name for word in words for name in _SAID if word.endswith(f"/{name}")), "")
    return [sys.executable, "-c", f"print({_SAID.get(name, words[0])!r})"]


def driver() -> Any:
    """The driver layer on the tests' CUDA driver in host memory."""
    return cuda.Driver(import_module("tests.runtime.engines.tensorrt.fake_cuda").FakeCuda())


def current_context(driver: Any) -> int | None:
    """The context that is current in this thread."""
    found = ctypes.c_void_p()
    driver._call("cuCtxGetCurrent", ctypes.byref(found))
    return found.value


class HostArray:
    """What the sessions' copies use of a tensor or array on a GPU, in host memory."""

    def __init__(self, host: np.ndarray[Any, Any]) -> None:
        self.host, self.shape, self.dtype = host, host.shape, host.dtype
        self.device = _Device(0)
        self.data = SimpleNamespace(ptr=host.ctypes.data)
        self.flags = SimpleNamespace(c_contiguous=host.flags.c_contiguous)

    def __getitem__(self, index: Any) -> HostArray:
        return HostArray(self.host[index])

    @property
    def T(self) -> HostArray:
        return HostArray(self.host.T)

    def data_ptr(self) -> int:
        return int(self.data.ptr)

    def resolve_neg(self) -> HostArray:
        return self

    def contiguous(self) -> HostArray:
        return HostArray(np.ascontiguousarray(self.host))

    def copy_(self, other: HostArray) -> None:
        np.copyto(self.host, other.host)


class _Device:
    """A GPU's index, as PyTorch and CuPy name it, and a context that changes nothing."""

    def __init__(self, index: int) -> None:
        self.id = self.index = index

    def __enter__(self) -> _Device:
        return self

    def __exit__(self, *_: object) -> None: ...


def _array(value: Any, **_: Any) -> HostArray:
    if isinstance(value, HostArray):
        return value.contiguous()
    seen = value.__cuda_array_interface__
    size = int(np.prod(seen["shape"])) * np.dtype(seen["typestr"]).itemsize
    memory = (ctypes.c_char * size).from_address(seen["data"][0])
    return HostArray(np.frombuffer(memory, seen["typestr"]).reshape(seen["shape"]))


def _stream(*_: object) -> Any:
    return SimpleNamespace(synchronize=lambda: None)


def cuda_torch() -> Any:
    """What TorchCudaTensors uses of PyTorch."""
    return SimpleNamespace(
        float32=np.float32,
        empty=lambda shape, dtype, device: HostArray(np.empty(shape, dtype)),
        as_tensor=_array,
        from_numpy=HostArray,
        cuda=SimpleNamespace(current_stream=_stream),
    )


def cupy() -> Any:
    """What CupyArrays uses of CuPy."""
    return SimpleNamespace(
        empty=lambda shape, dtype: HostArray(np.empty(shape, dtype)),
        asarray=_array,
        copyto=lambda target, source: target.copy_(source),
        cuda=SimpleNamespace(Device=_Device, get_current_stream=_stream),
    )


def on_device(library: DeviceLibrary, host: np.ndarray[Any, Any]) -> Any:
    """A copy as the library's array: on the GPU, or in host memory in a dry run."""
    if not hasattr(library.xp, "ndarray") and not hasattr(library.xp, "Tensor"):
        return HostArray(host.copy())
    return library.xp.asarray(host) if hasattr(library.xp, "ndarray") else library.xp.from_numpy(host).cuda()


def on_host(array: Any) -> np.ndarray[Any, Any]:
    """The library's array as a NumPy array."""
    if isinstance(array, HostArray):
        return array.host
    found: np.ndarray[Any, Any] = array.get() if hasattr(array, "get") else array.cpu().numpy()
    return found


def triton() -> tuple[Any, Any]:
    """Triton and its language, where each block of a kernel runs in turn on the CPU."""
    import torch

    class Pointer:
        def __init__(self, tensor: Any, index: Any = 0) -> None:
            self.flat, self.index = _flat(tensor), index

        def __add__(self, index: Any) -> Pointer:
            found = Pointer.__new__(Pointer)
            found.flat, found.index = self.flat, self.index + index
            return found

    def load(pointer: Pointer, mask: Any) -> Any:
        return pointer.flat[torch.where(mask, pointer.index, 0)]

    def store(pointer: Pointer, value: Any, mask: Any) -> None:
        pointer.flat[pointer.index[mask]] = value[mask].to(pointer.flat.dtype)

    block = [0]

    def jit(function: Callable[..., None]) -> Any:
        def launch(grid: tuple[int], *arguments: Any, **constants: Any) -> None:
            taken = [Pointer(entry) if isinstance(entry, torch.Tensor) else entry for entry in arguments]
            for block[0] in range(grid[0]):
                function(*taken, **constants)

        class Kernel:
            def __getitem__(self, grid: tuple[int]) -> Callable[..., None]:
                return lambda *arguments, **constants: launch(grid, *arguments, **constants)

        return Kernel()

    language = SimpleNamespace(program_id=lambda axis: block[0], arange=torch.arange, load=load, store=store)
    language.constexpr, language.float32 = Any, torch.float32
    return SimpleNamespace(jit=jit), language


def _flat(tensor: Any) -> Any:
    """The tensor's memory in order, as a view."""
    return tensor.as_strided((tensor.numel(),), (1,))


class CudnnGraph:
    """What the cuDNN step uses of cudnn.pygraph: nodes are functions of PyTorch, run one after the other."""

    def __init__(self, **_: Any) -> None:
        self.nodes: list[tuple[Any, Callable[..., Any], tuple[Any, ...]]] = []

    def tensor(self, **_: Any) -> Any:
        return _Node()

    def conv_fprop(self, image: Any, weight: Any, padding: Any, stride: Any, dilation: Any, **_: Any) -> Any:
        import torch.nn.functional as F

        return self._add(
            lambda x, w: F.conv2d(x, w, None, tuple(stride), tuple(padding), tuple(dilation)), image, weight
        )

    def mul(self, a: Any, b: Any, **_: Any) -> Any:
        return self._add(lambda x, y: x * y, a, b)

    def add(self, a: Any, b: Any, **_: Any) -> Any:
        return self._add(lambda x, y: x + y, a, b)

    def relu(self, a: Any, **_: Any) -> Any:
        return self._add(lambda x: x.relu(), a)

    def build(self, modes: Any) -> None: ...

    def get_workspace_size(self) -> int:
        return 0

    def execute(self, pack: dict[Any, Any], workspace: Any, handle: Any = None) -> None:
        values = dict(pack)
        for node, function, inputs in self.nodes:
            value = function(*(values[entry] for entry in inputs))
            if node in pack:
                pack[node].copy_(value)
            values[node] = value

    def _add(self, function: Callable[..., Any], *inputs: Any) -> Any:
        node = _Node()
        self.nodes.append((node, function, inputs))
        return node


class _Node:
    """A tensor of the graph."""

    def set_output(self, value: bool) -> _Node:
        return self

    def set_data_type(self, value: Any) -> _Node:
        return self


def cudnn() -> Any:
    """What the cuDNN step uses of cudnn."""
    names = SimpleNamespace(HALF=0, FLOAT=1)
    return SimpleNamespace(
        pygraph=CudnnGraph,
        data_type=names,
        heur_mode=SimpleNamespace(A=0, FALLBACK=1),
        create_handle=lambda: 0,
        destroy_handle=lambda handle: None,
        backend_version=lambda: 0,
    )
