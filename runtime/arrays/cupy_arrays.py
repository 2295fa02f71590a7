"""CuPy arrays in a session. The cupy module is passed in, not imported here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from rectexport.runtime.base.runner import DeviceArray
from rectexport.runtime.base.shapes import Shape


@final
@dataclass(frozen=True)
class CupyArrays:
    """cupy.ndarray; always on a GPU."""

    xp: Any
    name = "CuPy"
    cast = ".astype"

    def fault(self, value: Any) -> str | None:
        return None

    def dtype(self, value: Any) -> str:
        return str(value.dtype)

    def device(self, value: Any) -> int:
        return int(value.device.id)

    def dense(self, value: Any) -> bool:
        return bool(value.flags.c_contiguous)

    def to_device(self, value: Any) -> DeviceArray:
        with value.device:
            dense = self.xp.asarray(value, order="C")
            self.xp.cuda.get_current_stream().synchronize()
        return DeviceArray(dense.data.ptr, tuple(dense.shape), str(dense.dtype), self.device(dense), dense)

    def empty(self, shape: Shape, dtype: str, device: int) -> Any:
        with self.xp.cuda.Device(device):
            return self.xp.empty(shape, dtype)

    def copy(self, target: DeviceArray, source: DeviceArray) -> None:
        with self.xp.cuda.Device(target.device):
            self.xp.copyto(self.xp.asarray(target), self.xp.asarray(source))
            self.xp.cuda.get_current_stream().synchronize()
