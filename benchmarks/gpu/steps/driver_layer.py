"""The runtime's own CUDA driver layer on a real driver, and arrays of PyTorch and CuPy through it.

Copies, events, capture and replay; a caller's current device stays current; an array of each library goes through the
session's copies and comes back equal, also one that begins at an unaligned address.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.gpu import dry
from benchmarks.gpu.bench import Bench
from rectexport.runtime.arrays.cupy_arrays import CupyArrays
from rectexport.runtime.arrays.kinds import DeviceLibrary
from rectexport.runtime.arrays.torch_arrays import TorchCudaTensors
from rectexport.runtime.engines.tensorrt import cuda

TABLE = "The driver layer"


def run(bench: Bench) -> None:
    """Each check is a row; one that fails is a failure of the step."""
    driver = dry.driver() if bench.dry else cuda.driver()
    size = (1 << 20) if bench.dry else (1 << 28)
    checks: dict[str, Callable[[], str]] = {
        "copies": lambda: copies(driver, size),
        "capture and replay": lambda: capture(driver),
        "the caller's context": lambda: context(driver),
        "PyTorch": lambda: round_trip(TorchCudaTensors(dry.cuda_torch() if bench.dry else import_module("torch"))),
        "CuPy": lambda: round_trip(CupyArrays(dry.cupy() if bench.dry else import_module("cupy"))),
    }
    bench.record.note(f"{driver.gpu}, compute capability {driver.compute_capability}, CUDA {driver.version}")
    for name, check in checks.items():
        try:
            bench.record.row(TABLE, check=name, result=check())
        except ModuleNotFoundError as error:
            bench.record.skip(name, str(error))
        except Exception as error:
            bench.record.row(TABLE, check=name, result="FAILED")
            bench.record.fail(f"{name}: {type(error).__name__}: {error}")


def equal(found: Any, expected: Any) -> None:
    """Raise ValueError where a byte differs."""
    wrong = int((np.asarray(found) != np.asarray(expected)).sum())
    if wrong:
        raise ValueError(f"{wrong} of {np.asarray(expected).size} elements differ")


def copies(driver: Any, size: int) -> str:
    """Host to device, device to device, and back; the time of the second between events."""
    host = np.random.default_rng(0).integers(0, 255, size, np.uint8)
    back = np.zeros_like(host)
    with driver.active():
        stream, begin, end = driver.create_stream(), driver.create_event(), driver.create_event()
        one, two = driver.allocate(size), driver.allocate(size)
        driver.upload(one, host.ctypes.data, size, stream)
        driver.copy(two, one, size, stream)  # once before it is timed
        driver.record(begin, stream)
        driver.copy(two, one, size, stream)
        driver.record(end, stream)
        elapsed = driver.milliseconds(begin, end)
        driver.download(back.ctypes.data, two, size, stream)
        driver.synchronize(stream)
        for address in (one, two):
            driver.free(address)
        for event in (begin, end):
            driver.destroy_event(event)
        driver.destroy_stream(stream)
    equal(back, host)
    return f"equal; {size >> 20} MiB on the device at {2 * size / elapsed / 1e6:.0f} GB/s read and written"


def capture(driver: Any) -> str:
    """A graph of two copies, replayed after its source has changed."""
    count = 1024
    host, back = np.zeros(count, np.float32), np.zeros(count, np.float32)
    with driver.active():
        stream, device = driver.create_stream(), driver.allocate(host.nbytes)
        with driver.capture(stream) as graphs:
            driver.upload(device, host.ctypes.data, host.nbytes, stream)
            driver.download(back.ctypes.data, device, back.nbytes, stream)
        (graph,) = graphs
        for value in (1, 2, 3):
            host[:] = value
            driver.launch(graph, stream)
            driver.synchronize(stream)
            equal(back, host)
        driver.destroy_graph(graph)
        driver.free(device)
        driver.destroy_stream(stream)
    return "3 replays, each with the new values"


def context(driver: Any) -> str:
    """What was current before is current afterwards, also after an error."""
    before = dry.current_context(driver)
    try:
        with driver.active():
            raise KeyError
    except KeyError:
        pass
    if dry.current_context(driver) != before:
        raise ValueError("another context is current")
    return "kept, after an error too"


def round_trip(library: DeviceLibrary) -> str:
    """An array, an unaligned view of it and a transposed one are copied on the device and compared on the host."""
    host = np.random.default_rng(0).standard_normal((3, 5, 7)).astype(np.float32)
    whole = dry.on_device(library, host)
    views = {"whole": (whole, host), "unaligned": (whole[1:], host[1:]), "transposed": (whole.T, host.T)}
    for what, (array, expected) in views.items():
        source = library.to_device(array)
        target = library.empty(source.shape, source.dtype, source.device)
        library.copy(library.to_device(target), source)
        try:
            equal(dry.on_host(target), expected)
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from None
        if what == "unaligned" and source.pointer % 256 == 0:
            raise ValueError("the view begins at an aligned address: the check shows nothing")
    return f"equal: {', '.join(views)}"
