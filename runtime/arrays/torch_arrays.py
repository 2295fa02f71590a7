"""PyTorch tensors in a session. The torch module is passed in, not imported here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from rectexport.runtime.base.runner import Array, DeviceArray
from rectexport.runtime.base.shapes import Shape


def _fault(torch: Any, value: Any) -> str | None:
    if value.requires_grad:
        return "requires a gradient, which engines do not compute; pass .detach()"
    if value.layout != torch.strided:
        return f"has layout {value.layout}; pass .to_dense()"
    return None


def _dtype(value: Any) -> str:
    return str(value.dtype).removeprefix("torch.")


@final
@dataclass(frozen=True)
class TorchTensors:
    """Tensors in host memory, shared with NumPy through DLPack."""

    xp: Any
    name = "PyTorch"
    cast = ".to"

    def fault(self, value: Any) -> str | None:
        if value.device.type != "cpu":
            return f"is on {value.device}; pass .cpu()"
        return _fault(self.xp, value)

    def dtype(self, value: Any) -> str:
        return _dtype(value)

    def to_host(self, value: Any) -> Array:
        host: Array = np.from_dlpack(value.resolve_neg())
        return host

    def from_host(self, array: Array) -> Any:
        return self.xp.from_dlpack(array)

    def write(self, target: Any, array: Array) -> None:
        target.copy_(self.xp.from_dlpack(array))


@final
@dataclass(frozen=True)
class TorchCudaTensors:
    """Tensors on a GPU, passed to the engine by address."""

    xp: Any
    name = "PyTorch CUDA"
    cast = ".to"

    def fault(self, value: Any) -> str | None:
        return _fault(self.xp, value)

    def dtype(self, value: Any) -> str:
        return _dtype(value)

    def device(self, value: Any) -> int:
        return int(value.device.index)

    def dense(self, value: Any) -> bool:
        return bool(value.is_contiguous())

    def to_device(self, value: Any) -> DeviceArray:
        dense = value.resolve_neg().contiguous()
        index = self.device(dense)
        self.xp.cuda.current_stream(index).synchronize()
        return DeviceArray(dense.data_ptr(), tuple(dense.shape), _dtype(dense), index, dense)

    def empty(self, shape: Shape, dtype: str, device: int) -> Any:
        return self.xp.empty(shape, dtype=getattr(self.xp, dtype), device=f"cuda:{device}")

    def copy(self, target: DeviceArray, source: DeviceArray) -> None:
        device = f"cuda:{target.device}"
        to, of = (self.xp.as_tensor(array, device=device) for array in (target, source))
        to.copy_(of)
        self.xp.cuda.current_stream(target.device).synchronize()
