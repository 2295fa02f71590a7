"""NumPy, PyTorch and CuPy inputs give outputs of the same kind, without copies."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.api import load
from rectexport.runtime.arrays.cupy_arrays import CupyArrays
from rectexport.runtime.arrays.kinds import NUMPY, copy_on_device, library_of
from rectexport.runtime.arrays.torch_arrays import TorchCudaTensors, TorchTensors
from rectexport.runtime.base.runner import DeviceArray
from rectexport.runtime.errors import BadInput
from rectexport.runtime.session import Session
from tests.runtime.fakes import FakeCupyArray, fake_cupy

DTYPES = ["float32", "float64", "float16", "int64", "int32", "int8", "uint8", "bool"]


@pytest.fixture
def session(exported: Path) -> Any:
    with load(exported, "onnxruntime", threads=1) as opened:
        yield opened


def test_the_kinds_of_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    assert library_of(np.zeros(2)) is NUMPY
    for other in ([1.0], 2.0, None, memoryview(b"ab"), np.float32(1)):
        assert library_of(other) is None
    module = fake_cupy()
    array = FakeCupyArray(np.zeros(2))
    assert library_of(array) is None
    monkeypatch.setitem(sys.modules, "cupy", module)
    assert library_of(array) == CupyArrays(module)


@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_tensors_share_their_memory(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.ones((2, 3), dtype=getattr(torch, dtype))
    library = library_of(tensor)
    assert isinstance(library, TorchTensors)
    assert library.dtype(tensor) == dtype and library.fault(tensor) is None
    host = library.to_host(tensor)
    assert host.dtype == dtype and host.ctypes.data == tensor.data_ptr()
    array = np.ones((3, 2), dtype)
    back = library.from_host(array)
    assert back.data_ptr() == array.ctypes.data and back.dtype == tensor.dtype
    target = torch.zeros((3, 2), dtype=tensor.dtype)
    library.write(target, array)
    assert bool(target.all())


def test_a_torch_tensor_gives_a_torch_tensor(session: Session) -> None:
    torch = pytest.importorskip("torch")
    (image,) = session.package.goldens()[0].values()
    answer = session(torch.from_numpy(image))
    assert isinstance(answer, torch.Tensor)
    np.testing.assert_array_equal(answer.numpy(), session(image))
    answer += 1  # writable
    channels_last = torch.from_numpy(image).to(memory_format=torch.channels_last)
    flipped = torch.from_numpy(image.copy()).flip(3).flip(3)
    strided = torch.from_numpy(np.repeat(image, 2, axis=3))[..., ::2]
    negative = torch.from_numpy(-image)._neg_view()
    for same in (channels_last, flipped, strided, negative):
        np.testing.assert_array_equal(session(same).numpy(), session(image))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x.double(), "input x: expected dtype float32, got float64; cast it with .to"),
        (lambda x: x.bfloat16(), "input x: expected dtype float32, got bfloat16; cast it with .to"),
        (lambda x: x.clone().requires_grad_(), "input x: requires a gradient, which engines do not compute; pass .d"),
        (lambda x: x.to("meta"), "input x: is on meta; pass .cpu()"),
        (lambda x: x.to_sparse(), "input x: has layout torch.sparse_coo; pass .to_dense()"),
        (lambda x: x[0], "input x: expected shape [4, 1, 8, 8], got [1, 8, 8]"),
    ],
    ids=["double", "bfloat16", "gradient", "meta", "sparse", "rank"],
)
def test_unusable_tensors_are_refused(session: Session, change: Callable[[Any], Any], said: str) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(BadInput) as refused:
        session(change(torch.zeros((4, 1, 8, 8))))
    assert str(refused.value).startswith(said)


def test_a_gpu_array_needs_an_engine_on_the_gpu(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy())
    (image,) = session.package.goldens()[0].values()
    with pytest.raises(BadInput, match=r"^input x: is on a GPU, but ONNX Runtime \S+, CPU takes arrays on the host"):
        session(FakeCupyArray(image))


class FakeTorch:
    """The part of torch that GPU tensors use."""

    strided = "strided"

    def __init__(self) -> None:
        self.synchronized: list[int] = []
        self.cuda = self

    def current_stream(self, index: int) -> Any:
        return type("Stream", (), {"synchronize": lambda _: self.synchronized.append(index)})()


class FakeTensor:
    dtype, layout, requires_grad, shape = "torch.float16", "strided", False, (2, 3)

    def __init__(self, index: int, contiguous: bool = True) -> None:
        self.device = type("D", (), {"index": index, "type": "cuda"})()
        self.ok = contiguous

    def resolve_neg(self) -> FakeTensor:
        return self

    def is_contiguous(self) -> bool:
        return self.ok

    def contiguous(self) -> FakeTensor:
        return self if self.ok else FakeTensor(self.device.index)

    def data_ptr(self) -> int:
        return 4096


@pytest.mark.parametrize("contiguous", [True, False])
def test_a_gpu_tensor_is_passed_by_address(contiguous: bool) -> None:
    torch, tensor = FakeTorch(), FakeTensor(3, contiguous)
    library = TorchCudaTensors(torch)
    assert library.fault(tensor) is None and library.dense(tensor) == contiguous and library.device(tensor) == 3
    seen = library.to_device(tensor)
    assert (seen.pointer, seen.shape, seen.dtype, seen.device) == (4096, (2, 3), "float16", 3)
    assert (seen.owner is tensor) == contiguous and torch.synchronized == [3]
    assert seen.__cuda_array_interface__ == {
        "version": 3,
        "shape": (2, 3),
        "typestr": "<f2",
        "data": (4096, False),
        "strides": None,
    }


def test_a_scalar_stays_a_scalar() -> None:
    module = fake_cupy()
    assert CupyArrays(module).to_device(FakeCupyArray(np.array(3.0))).shape == ()


def test_a_copy_on_the_gpu_is_made_by_the_arrays_library(monkeypatch: pytest.MonkeyPatch) -> None:
    module = fake_cupy()
    monkeypatch.setitem(sys.modules, "cupy", module)
    library = CupyArrays(module)
    given, buffer = FakeCupyArray(np.arange(6.0).reshape(2, 3)), np.zeros((2, 3))
    fixed = DeviceArray(buffer.ctypes.data, (2, 3), "float64", 0, buffer)
    copy_on_device(fixed, library.to_device(given))
    np.testing.assert_array_equal(buffer, given.host)
    with pytest.raises(TypeError):
        copy_on_device(fixed, fixed)


def test_no_array_library_is_imported(exported: Path, tmp_path: Path) -> None:
    script = f"""
import sys, rectexport
with rectexport.load({str(exported)!r}, "onnxruntime", check_finite=True) as session:
    session(*session.package.goldens()[0].values())
    try:
        session("no array")
    except rectexport.RectexportError:
        pass
assert not {{"torch", "cupy", "openvino"}} & set(sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
