"""The driver API through ctypes, against prototypes of cuda.h."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np
import pytest

from rectexport.runtime.engines.tensorrt import cuda
from rectexport.runtime.errors import DeviceError
from tests.runtime.engines.tensorrt.fake_cuda import PROTOTYPES, FakeCuda


@pytest.fixture
def fake() -> FakeCuda:
    return FakeCuda()


@pytest.fixture
def driver(fake: FakeCuda) -> Iterator[cuda.Driver]:
    """With its context current."""
    found = cuda.Driver(fake)
    with found.active():
        yield found


def test_the_gpu_is_described(fake: FakeCuda) -> None:
    driver = cuda.Driver(fake)
    assert (driver.gpu, driver.compute_capability, driver.version) == ("NVIDIA H100 80GB HBM3", (9, 0), (12, 8))
    assert not fake.retained  # to look at a GPU takes none of its memory


def test_every_function_used_is_known(fake: FakeCuda) -> None:
    assert set(cuda._SIGNATURES) == set(PROTOTYPES)


def test_memory_is_copied_to_the_gpu_and_back(fake: FakeCuda, driver: cuda.Driver) -> None:
    sent, got = np.arange(1000, dtype=np.float32), np.zeros(1000, np.float32)
    address, stream = driver.allocate(sent.nbytes), driver.create_stream()
    assert address > 1 << 32  # more than ctypes' int, unless a type is declared
    driver.upload(address, sent.ctypes.data, sent.nbytes, stream)
    driver.download(got.ctypes.data, address, got.nbytes, stream)
    driver.synchronize(stream)
    np.testing.assert_array_equal(got, sent)
    driver.free(address)
    driver.destroy_stream(stream)
    assert not fake.memory and not fake.handles


def test_out_of_memory_says_how_much(fake: FakeCuda, driver: cuda.Driver) -> None:
    with pytest.raises(DeviceError, match=r"out of memory on NVIDIA H100.*: 4294967312 bytes of GPU memory could not"):
        driver.allocate((1 << 32) + 16)  # 16, for one who counts in 32 bits


def test_a_wrong_address_is_an_error(fake: FakeCuda, driver: cuda.Driver) -> None:
    with pytest.raises(DeviceError, match=r"cuMemFree_v2 failed: CUDA_ERROR_INVALID_VALUE \(1\)"):
        driver.free(0x1234)


def test_every_thread_makes_the_gpu_current(fake: FakeCuda) -> None:
    driver, results = cuda.Driver(fake), []

    def work() -> None:
        for context in (nullcontext, driver.active):
            with context():
                try:
                    driver.free(driver.allocate(4))
                    results.append("done")
                except DeviceError as error:
                    results.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results == ["cuMemAlloc_v2 failed: CUDA_ERROR_INVALID_CONTEXT (201)", "done"]


def test_a_capture_is_kept_and_launched(fake: FakeCuda, driver: cuda.Driver) -> None:
    done = []
    stream = driver.create_stream()
    with driver.capture(stream) as graph:
        fake.submit(stream, lambda: done.append(1))
    assert not done
    for _ in range(3):
        driver.launch(*graph, stream)
    assert done == [1, 1, 1]
    driver.destroy_graph(*graph)
    driver.destroy_stream(stream)
    assert not fake.handles


def test_a_failed_capture_leaves_the_stream_usable(fake: FakeCuda, driver: cuda.Driver) -> None:
    stream = driver.create_stream()
    with pytest.raises(ZeroDivisionError), driver.capture(stream):
        raise ZeroDivisionError
    driver.synchronize(stream)
    fake.capturable = False
    unsupported = "cuStreamEndCapture failed: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"
    with pytest.raises(DeviceError, match=unsupported), driver.capture(stream):
        pass
    driver.synchronize(stream)


def test_events_measure(fake: FakeCuda, driver: cuda.Driver) -> None:
    stream, events = driver.create_stream(), [driver.create_event() for _ in range(2)]
    for event in events:
        driver.record(event, stream)
    assert driver.milliseconds(*events) == 0.25


def test_the_context_of_another_gpu_is_current_again_afterwards(fake: FakeCuda) -> None:
    driver = cuda.Driver(fake)
    fake.cuCtxSetCurrent(fake.others)

    def fail() -> None:
        with driver.active():
            driver.free(driver.allocate(4))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert fake._threads.context == fake.others


def test_memory_is_copied_within_the_gpu(fake: FakeCuda, driver: cuda.Driver) -> None:
    first, second, stream = driver.allocate(4), driver.allocate(8), driver.create_stream()
    fake.view(first, 4)[:] = b"abcd"
    driver.copy(second + 2, first, 4, stream)
    assert bytes(fake.view(second + 2, 4)) == b"abcd"
