"""Inference: results, shapes, CUDA graphs, threads, memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.base.files import sha256
from rectexport.runtime.base.runner import BackendOptions
from rectexport.runtime.engines.tensorrt import cuda
from rectexport.runtime.engines.tensorrt.building import acceptance
from rectexport.runtime.engines.tensorrt.building.building import default_options, ensure_plan
from rectexport.runtime.engines.tensorrt.options import BuildOptions
from rectexport.runtime.engines.tensorrt.profiles import make_profiles
from rectexport.runtime.engines.tensorrt.running import runner
from rectexport.runtime.engines.tensorrt.running.runner import TensorRTRunner, open_runner
from rectexport.runtime.errors import BadInput, DeviceError, ParityError, UsageError
from rectexport.runtime.package.folder import Package
from rectexport.runtime.session import Session
from tests.runtime.engines.tensorrt.machines import Machine, edit_manifest

pytest.importorskip("polygraphy")


def image(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.fixture
def opened(machine: Machine, flexible: Path) -> Callable[..., TensorRTRunner]:
    """Builds a plan with options and opens it."""

    def opened(graphs: bool = True, **settings: Any) -> TensorRTRunner:
        package = Package.open(flexible)
        wanted = BuildOptions(**{"profiles": make_profiles(package.manifest.inputs), **settings})
        built = ensure_plan(flexible, wanted, machine.api())
        return open_runner(built.package, graphs=graphs)

    return opened


@pytest.fixture
def expected(flexible: Path) -> Callable[[Any], Any]:
    """ONNX Runtime's output."""
    from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner

    reference = OnnxRuntimeRunner(flexible / "model.onnx", threads=1)
    return lambda x: reference.run({"x": x})["y"]


def test_goldens_on_every_version(every_version: Machine, package: Path) -> None:
    opened = Package.open(package)
    built = ensure_plan(package, default_options(opened), every_version.api())
    assert built.plan.entry["parity"]["relative_l2"] < 1e-5 and built.plan.entry["parity"]["allowed"] == 1e-4
    opened = Package.open(package)
    feeds, wanted = opened.goldens()
    with Session(opened, open_runner(opened)) as session:
        for _ in range(3):
            np.testing.assert_allclose(session.run(feeds)["output"], wanted["output"], rtol=1e-4, atol=1e-5)
    assert every_version.gpu.launches == 2  # a graph from the second run on
    assert not every_version.gpu.memory and not every_version.gpu.handles


def test_an_engine_with_wrong_outputs_is_not_stored(machine: Machine, flexible: Path) -> None:
    feeds = {"input.x": image(2, 1, 8, 8), "output.y": np.ones((2, 2, 8, 8), np.float32)}
    np.savez(flexible / "goldens.npz", **feeds)  # type: ignore[arg-type]
    edit_manifest(
        flexible, lambda document: document["files"].update({"goldens.npz": sha256(flexible / "goldens.npz")})
    )
    package = Package.open(flexible)
    with pytest.raises(
        ParityError, match=r"the engine's output differs from PyTorch's: y: relative L2 .* no plan was stored"
    ):
        ensure_plan(flexible, default_options(package), machine.api())
    assert not list(flexible.glob("*.plan")) and not machine.gpu.memory
    elsewhere = BuildOptions(make_profiles(package.manifest.inputs, ["x:1x1x4x4"]))
    assert ensure_plan(flexible, elsewhere, machine.api()).plan.entry["parity"] is None


def add_goldens(folder: Path, **cases: Any) -> None:
    np.savez(folder / "goldens.npz", **cases)
    edit_manifest(folder, lambda document: document["files"].update({"goldens.npz": sha256(folder / "goldens.npz")}))


def test_every_profile_and_batch_is_compared(
    machine: Machine, flexible: Path, expected: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the smallest, usual and largest batch, and every golden that a profile contains."""
    small, large = image(1, 1, 4, 4), image(3, 1, 9, 9)
    cases = {"input.x": small, "output.y": expected(small), "odd|input.x": large, "odd|output.y": expected(large)}
    add_goldens(flexible, **cases)
    bound: list[Any] = []
    bind = acceptance.Lane.bind
    monkeypatch.setattr(
        acceptance.Lane,
        "bind",
        lambda lane, profile, shapes: (bound.append((profile, shapes["x"])), bind(lane, profile, shapes)),
    )
    inputs = Package.open(flexible).manifest.inputs
    profiles = make_profiles(inputs, ["x:1x1x4x4..2x1x4x4..8x1x4x4", "x:1x1x4x4..4x1x9x9..8x1x16x16", "x:1x1x5x5"])
    assert ensure_plan(flexible, BuildOptions(profiles), machine.api()).plan.entry["parity"]["relative_l2"] < 1e-5
    assert bound == [
        (0, (1, 1, 4, 4)), (0, (2, 1, 4, 4)), (0, (8, 1, 4, 4)),
        (1, (1, 1, 4, 4)), (1, (4, 1, 4, 4)), (1, (8, 1, 4, 4)),
        (1, (3, 1, 9, 9)), (1, (1, 1, 9, 9)), (1, (4, 1, 9, 9)), (1, (8, 1, 9, 9)),
    ]  # fmt: skip


def test_an_engine_that_is_wrong_at_another_batch_is_not_stored(
    machine: Machine, flexible: Path, expected: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is right at the example's batch, and gives the last row another row's answer at larger ones."""
    x = image(2, 1, 8, 8)
    add_goldens(flexible, **{"input.x": x, "output.y": expected(x)})
    run = acceptance.Lane.run

    def wrong(lane: Any, feeds: Any) -> Any:
        results = run(lane, feeds)
        if len(feeds["x"]) > 2:
            results["y"][-1] = results["y"][-2]
        return results

    monkeypatch.setattr(acceptance.Lane, "run", wrong)
    with pytest.raises(ParityError, match=r"example 'example' in rows 0, 4, 7 of a batch of 8; no plan was stored"):
        ensure_plan(flexible, default_options(Package.open(flexible)), machine.api())
    assert not list(flexible.glob("*.plan"))
    alone = BuildOptions(make_profiles(Package.open(flexible).manifest.inputs, ["x:2x1x8x8"]))
    assert ensure_plan(flexible, alone, machine.api()).plan.entry["parity"] is not None


def test_description_inputs_and_outputs(opened: Callable[..., TensorRTRunner]) -> None:
    found = opened()
    assert found.description == "TensorRT 10.13.3, NVIDIA H100 80GB HBM3"
    assert [(spec.name, spec.dtype, spec.shape) for spec in found.inputs] == [("x", "float32", ("n", 1, "h", "w"))]
    assert [spec.name for spec in found.outputs] == ["y"] and found.device == 0
    found.close()


@pytest.mark.parametrize("graphs", [True, False])
def test_changing_shapes_within_one_profile(
    machine: Machine, opened: Callable[..., TensorRTRunner], expected: Callable[[Any], Any], graphs: bool
) -> None:
    found = opened(graphs)
    shapes = [(2, 1, 8, 8), (8, 1, 16, 16), (1, 1, 4, 5)] * 3
    for seed, shape in enumerate(shapes):
        x = image(*shape, seed=seed)
        np.testing.assert_allclose(found.run({"x": x})["y"], expected(x), rtol=1e-5, atol=1e-5)
    assert machine.gpu.launches == (6 if graphs else 0)
    found.close()
    assert not machine.gpu.memory and not machine.gpu.handles


def test_more_shapes_than_idle_lanes(
    machine: Machine,
    opened: Callable[..., TensorRTRunner],
    expected: Callable[[Any], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With more shapes than kept lanes, a lane is bound again, with a new graph and buffers."""
    monkeypatch.setattr(runner, "MAX_IDLE", 2)
    found = opened()
    for seed in range(12):
        x = image(1 + seed % 4, 1, 4 + seed % 3, 6, seed=seed)
        for _ in range(2):
            np.testing.assert_allclose(found.run({"x": x})["y"], expected(x), rtol=1e-5, atol=1e-5)
    assert len(machine.gpu.memory) <= 4
    found.close()
    assert not machine.gpu.memory and not machine.gpu.handles


def test_threads_have_contexts_of_their_own(
    machine: Machine, opened: Callable[..., TensorRTRunner], expected: Callable[[Any], Any]
) -> None:
    found, failures = opened(), []
    inputs = [image(2, 1, 8, 8, seed=seed) for seed in range(4)]
    wanted = [expected(x) for x in inputs]

    def work(index: int) -> None:
        failures.append(index)
        for _ in range(10):
            np.testing.assert_allclose(found.run({"x": inputs[index]})["y"], wanted[index], rtol=1e-5, atol=1e-5)
        failures.remove(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    found.close()
    assert not machine.gpu.memory and not machine.gpu.handles


def test_two_profiles(
    machine: Machine, opened: Callable[..., TensorRTRunner], expected: Callable[[Any], Any], flexible: Path
) -> None:
    inputs = Package.open(flexible).manifest.inputs
    found = opened(profiles=make_profiles(inputs, ["x:1x1x8x8", "x:1x1x4x4..8x1x16x16..8x1x16x16"]))
    for shape in ((1, 1, 8, 8), (8, 1, 16, 16), (3, 1, 7, 9)):
        x = image(*shape)
        np.testing.assert_allclose(found.run({"x": x})["y"], expected(x), rtol=1e-5, atol=1e-5)
    found.close()


def test_a_shape_outside_all_profiles_is_refused(opened: Callable[..., TensorRTRunner], flexible: Path) -> None:
    inputs = Package.open(flexible).manifest.inputs
    found = opened(profiles=make_profiles(inputs, ["x:1x1x8x8", "x:1x1x4x4..2x1x4x4..4x1x4x4"]))
    with pytest.raises(BadInput) as refused:
        found.run({"x": image(2, 1, 8, 8)})
    assert str(refused.value) == (
        "x 2x1x8x8: the plan was built for x 1x1x8x8 or x 1x1x4x4 .. 4x1x4x4 (2x1x4x4); "
        "build it again with --profile x:2x1x8x8"
    )
    found.close()


def test_an_engine_that_cannot_be_captured(
    machine: Machine, opened: Callable[..., TensorRTRunner], expected: Callable[[Any], Any]
) -> None:
    machine.gpu.capturable = False
    found, x = opened(), image(2, 1, 8, 8)
    for _ in range(3):
        np.testing.assert_allclose(found.run({"x": x})["y"], expected(x), rtol=1e-5, atol=1e-5)
    assert machine.gpu.launches == 0
    found.close()


def test_a_runner_works_after_running_out_of_memory(
    machine: Machine, opened: Callable[..., TensorRTRunner], expected: Callable[[Any], Any]
) -> None:
    found, x = opened(), image(2, 1, 8, 8)
    machine.gpu.memory_limit = 3000
    with pytest.raises(DeviceError, match=r"out of memory on NVIDIA H100"):
        found.run({"x": image(8, 1, 16, 16)})
    np.testing.assert_allclose(found.run({"x": x})["y"], expected(x), rtol=1e-5, atol=1e-5)
    found.close()
    assert not machine.gpu.memory and not machine.gpu.handles


def test_arrays_on_the_gpu_are_not_copied(
    machine: Machine, opened: Callable[..., TensorRTRunner], expected: Callable[[Any], Any]
) -> None:
    found, driver, x = opened(), cuda.driver(), image(2, 1, 8, 8)
    made = {}

    def on_device(name: str, shape: tuple[int, ...], dtype: str) -> Any:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        made[name] = SimpleNamespace(pointer=driver_memory(driver, size), shape=shape, dtype=dtype, size=size)
        return made[name]

    array = on_device("x", x.shape, "float32")
    machine.gpu.view(array.pointer, x.nbytes)[:] = x.tobytes()
    for _ in range(2):
        found.run_on_device({"x": array}, on_device)
        got = np.frombuffer(machine.gpu.view(made["y"].pointer, made["y"].size), np.float32).reshape(made["y"].shape)
        np.testing.assert_allclose(got, expected(x), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found.run({"x": x})["y"], expected(x), rtol=1e-5, atol=1e-5)
    with pytest.raises(BadInput, match=r"input x: the engine takes float32 on the GPU, got float16"):
        found.run_on_device({"x": SimpleNamespace(pointer=1, shape=(2, 1, 8, 8), dtype="float16")}, on_device)
    found.close()


@pytest.mark.parametrize("moved", ["x", "y", "x and y"])
def test_arrays_at_unaligned_addresses_are_copied(
    machine: Machine, opened: Callable[..., TensorRTRunner], expected: Callable[[Any], Any], moved: str
) -> None:
    """As those of x[1:] are: TensorRT takes multiples of 256 only."""
    found, driver, x = opened(), cuda.driver(), image(1, 1, 5, 5)
    size = {"x": x.nbytes, "y": 2 * x.nbytes}
    whole = {name: driver_memory(driver, 8 + size[name]) for name in size}
    places = {name: address + 4 * (name in moved) for name, address in whole.items()}
    machine.gpu.view(places["x"], size["x"])[:] = x.tobytes()

    def target(name: str, shape: tuple[int, ...], dtype: str) -> Any:
        return SimpleNamespace(pointer=places[name], shape=shape, dtype=dtype)

    for _ in range(2):
        machine.gpu.view(whole["y"], size["y"] + 8)[:] = bytes(size["y"] + 8)
        source = SimpleNamespace(pointer=places["x"], shape=x.shape, dtype="float32")
        found.run_on_device({"x": source}, target)
        got = np.frombuffer(machine.gpu.view(places["y"], size["y"]), np.float32).reshape(1, 2, 5, 5)
        np.testing.assert_allclose(got, expected(x), rtol=1e-5, atol=1e-5)
        assert bytes(machine.gpu.view(places["y"] + size["y"], 4)) == bytes(4)
        np.testing.assert_allclose(found.run({"x": x})["y"], expected(x), rtol=1e-5, atol=1e-5)
    found.close()


def driver_memory(driver: cuda.Driver, size: int) -> int:
    with driver.active():
        return driver.allocate(size)


def test_the_context_of_the_caller_is_kept(machine: Machine, opened: Callable[..., TensorRTRunner]) -> None:
    """A caller that works on another GPU finds that GPU current after each call."""
    machine.gpu.cuCtxSetCurrent(machine.gpu.others)
    found = opened()
    assert machine.gpu._threads.context == machine.gpu.others
    found.run({"x": image(2, 1, 8, 8)})
    assert machine.gpu._threads.context == machine.gpu.others
    found.close()
    assert machine.gpu._threads.context == machine.gpu.others


def test_the_first_error_is_told(machine: Machine, opened: Callable[..., TensorRTRunner]) -> None:
    """After some errors the driver refuses everything; freeing memory then must not replace the error."""
    found, x = opened(), image(2, 1, 8, 8)
    for _ in range(2):
        found.run({"x": x})

    def fail() -> None:
        with found.lane({"x": x.shape}):
            machine.gpu.broken = True
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with pytest.raises(DeviceError, match=r"cuStreamCreate failed: CUDA_ERROR_ILLEGAL_ADDRESS \(700\)"):
        found.run({"x": x})
    found.close()


def test_times_come_from_gpu_events(opened: Callable[..., TensorRTRunner]) -> None:
    found, x = opened(), image(2, 1, 8, 8)
    with found.lane({"x": x.shape}) as lane:
        lane.load({"x": x})
        assert lane.time(5) == [0.25] * 5 and lane.captured
    found.close()


def test_a_closed_runner_raises(opened: Callable[..., TensorRTRunner]) -> None:
    found = opened()
    found.close()
    found.close()
    with pytest.raises(BadInput, match="the model was closed; load it again"):
        found.run({"x": image(2, 1, 8, 8)})


def test_a_plan_that_does_not_fit_is_rebuilt_when_allowed(
    machine: Machine, opened: Callable[..., TensorRTRunner], flexible: Path
) -> None:
    opened(tf32=True).close()
    machine.install("11.1.0")
    with pytest.raises(BadInput, match=r"it was built by TensorRT 10\.13\.3, but this is 11\.1\.0"):
        open_runner(Package.open(flexible))
    said: list[str] = []
    again = open_runner(Package.open(flexible), BackendOptions(rebuild=True, progress=said.append))
    assert "Building Engine 3/3" in said
    assert again.description.startswith("TensorRT 11.1.0")
    assert machine.trt.builds[-1]["flags"] == ["TF32"]  # as the plan before
    again.close()
    assert len(list(flexible.glob("*.plan"))) == 2


@pytest.mark.parametrize(("asked", "launches"), [(None, 2), (True, 2), (False, 0)])
def test_graphs_are_an_option(
    machine: Machine, opened: Callable[..., TensorRTRunner], flexible: Path, asked: bool | None, launches: int
) -> None:
    opened().close()
    found = open_runner(Package.open(flexible), BackendOptions(cuda_graphs=asked))
    for _ in range(3):
        found.run({"x": image(2, 1, 8, 8)})
    assert machine.gpu.launches == launches
    found.close()


def test_a_device_other_than_0_is_refused(opened: Callable[..., TensorRTRunner], flexible: Path) -> None:
    opened().close()
    with pytest.raises(UsageError, match="set CUDA_VISIBLE_DEVICES=2 and use device=0"):
        open_runner(Package.open(flexible), BackendOptions(device=2))


def test_a_tampered_plan_never_reaches_tensorrt(
    machine: Machine, opened: Callable[..., TensorRTRunner], flexible: Path
) -> None:
    opened().close()
    (plan,) = flexible.glob("*.plan")
    plan.write_bytes(plan.read_bytes().replace(b"DETAILED", b"DETAILEX"))
    machine.trt.deserialized = 0
    with pytest.raises(BadInput, match="a plan is code, so it was not loaded"):
        open_runner(Package.open(flexible))
    assert machine.trt.deserialized == 0


def test_a_plan_without_weights_is_refitted(machine: Machine, opened: Callable[..., TensorRTRunner]) -> None:
    opened(strip_plan=True).close()
    assert machine.trt.refits == 2  # once to be looked at after the build


def test_a_version_compatible_plan_runs_in_a_later_version(
    machine: Machine, opened: Callable[..., TensorRTRunner], flexible: Path, expected: Callable[[Any], Any]
) -> None:
    machine.install("10.3.0")
    opened(version_compatible=True).close()
    machine.install("10.13.3")
    found, x = open_runner(Package.open(flexible)), image(2, 1, 8, 8)
    np.testing.assert_allclose(found.run({"x": x})["y"], expected(x), rtol=1e-5, atol=1e-5)
    found.close()
