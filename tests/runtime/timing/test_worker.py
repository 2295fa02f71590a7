"""The timing process: the runs that it counts, its inputs, and real processes."""

from __future__ import annotations

import os
import signal
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from rectexport.runtime.base.runner import TensorSpec
from rectexport.runtime.errors import BadInput, MissingDependency, Option, ParityError
from rectexport.runtime.package.folder import Package
from rectexport.runtime.timing.inputs import timed_inputs
from rectexport.runtime.timing.process import Contestant, started
from rectexport.runtime.timing.timers import HostTimer
from rectexport.runtime.timing.worker import INPUT_SETS, LEAST_RUNS, burst, random_feeds
from tests.runtime.tiny import disprove, dynamic_package


class FakeTimer:
    def __init__(self, seconds):
        self.seconds, self.timed = seconds, []

    def time(self, call):
        self.timed.append(call())
        return self.seconds


def test_the_first_run_of_a_burst_is_not_counted_and_inputs_rotate():
    ran, timer = [], FakeTimer(0.01)
    calls = [lambda name=name: ran.append(name) or name for name in "abc"]
    assert burst(calls, timer, 0.045) == [0.01] * 5
    assert ran == ["c", "a", "b", "c", "a", "b"] and timer.timed == ran[1:]
    assert len(burst(calls, FakeTimer(9.0), 0.01)) == LEAST_RUNS


def test_random_inputs_differ_and_are_the_same_for_every_contestant():
    specs = [TensorSpec("x", "float16", (2, 3)), TensorSpec("i", "int64", (50,)), TensorSpec("b", "bool", (50,))]
    feeds, again = random_feeds(specs), random_feeds(specs)
    assert len(feeds) == INPUT_SETS
    assert [feed["x"].dtype.name for feed in feeds] == ["float16"] * INPUT_SETS and feeds[0]["x"].shape == (2, 3)
    assert not np.array_equal(feeds[0]["x"], feeds[1]["x"]) and np.array_equal(feeds[1]["x"], again[1]["x"])
    assert set(np.unique(feeds[0]["i"])) == {0, 1} and feeds[0]["b"].dtype == np.bool_
    with pytest.raises(BadInput, match="input x: its shape"):
        random_feeds([TensorSpec("x", "float32", ("batch", 3))])


FAKE = """
    import sys, time, threading
    from rectexport.runtime.timing.timers import HostTimer
    from rectexport.runtime.timing.worker import serve
    from rectexport.runtime.base.runner import TensorSpec
    from rectexport.runtime.errors import MissingDependency

    def spin():
        while True:
            pass

    class Model:
        description, timer, transfers = "a fake", HostTimer(), "none"
        inputs = [TensorSpec("x", "float32", (1,))]

        def prepare(self, feeds):
            print("noise on stdout")
            return lambda: time.sleep(0.001)

    def opened(spec):
        if spec["do"] == "raise":
            raise MissingDependency("nothing here")
        if spec["do"] == "fail":
            raise RuntimeError("first line\\nsecond line")
        if spec["do"] == "die":
            print("last words", file=sys.stderr)
            sys.stderr.flush()
            import os
            os._exit(3)
        if spec["do"] == "fork":
            import os
            forked = os.fork()
            if not forked:
                time.sleep(10)
                os.remove(__file__ + ".forked")
                os._exit(0)
            with open(__file__ + ".forked", "w") as stream:
                stream.write(str(forked))
        if spec["do"] == "spin":
            threading.Thread(target=spin, daemon=True).start()
        return Model()

    if __name__ == "__main__":
        serve(opened)
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    (tmp_path / "fake_worker.py").write_text(textwrap.dedent(FAKE))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    return lambda do: started(Contestant("model", {"do": do}, "fake_worker"))


def test_a_worker_answers_bursts_whatever_its_library_prints(fake):
    with fake("run") as worker:
        worker.wait_ready()
        assert worker.said == {"description": "a fake", "timer": HostTimer.description, "transfers": "none"}
        for _ in range(2):
            times = worker.burst(0.005)
            assert len(times) >= LEAST_RUNS and min(times) >= 0.001
    assert worker.process.poll() is not None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_worker_whose_threads_spin_takes_no_time_from_others(fake):
    def ticks():
        fields = Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    with fake("spin") as worker:
        worker.wait_ready()
        worker.burst(0.05)
        before = ticks()
        time.sleep(0.1)
        assert ticks() - before <= 1
        worker.burst(0.05)
        assert ticks() - before >= 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_process_that_a_worker_left_behind_is_not_waited_for(fake, tmp_path):
    """It keeps the worker's pipes open; had the parent waited for their end, the file would be gone."""
    with fake("fork") as worker:
        worker.wait_ready()
    left = tmp_path / "fake_worker.py.forked"
    assert left.exists()
    os.kill(int(left.read_text()), signal.SIGKILL)


@pytest.mark.parametrize(
    ("do", "kind", "text"),
    [
        ("raise", MissingDependency, "model: nothing here"),
        ("fail", BadInput, "model: RuntimeError: first line"),
        ("die", BadInput, "model: could not be timed, its process ended with exit code 3; it said: last words"),
    ],
)
def test_what_kept_a_worker_from_loading_is_told(fake, do, kind, text):
    with fake(do) as worker, pytest.raises(kind) as raised:
        worker.wait_ready()
    assert str(raised.value) == text


def test_an_engine_that_disagrees_is_timed_only_if_that_is_allowed(tmp_path):
    pytest.importorskip("onnxruntime")
    package = dynamic_package(tmp_path / "tiny").path
    disprove(package)
    spec = {"package": str(package), "engine": "onnxruntime", "threads": 1, "inputs": [["x", "float32", [2, 1, 8, 8]]]}
    with started(Contestant("tiny", spec)) as worker, pytest.raises(ParityError, match="output y is off") as raised:
        worker.wait_ready()
    assert raised.value.args[0] == "tiny: " and Option("allow_unproven", True) in raised.value.args
    with started(Contestant("tiny", {**spec, "allow_unproven": True})) as worker:
        worker.wait_ready()


def test_a_worker_that_dies_between_bursts_is_told(fake):
    with fake("run") as worker:
        worker.wait_ready()
        worker.process.kill()
        worker.process.wait()
        with pytest.raises(BadInput, match="its process ended with signal 9"):
            worker.burst(0.01)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_package_is_timed_on_its_engine(exported, engine):
    pytest.importorskip(engine)
    spec = {"model": str(exported / "model.onnx"), "engine": engine, "threads": 1}
    (entry,) = timed_inputs(Package.open(exported).manifest, None)
    with started(Contestant("digits", {**spec, "inputs": [[entry.name, entry.dtype, entry.shape]]})) as worker:
        worker.wait_ready()
        assert worker.said["transfers"].startswith("none") and "CPU" in worker.said["description"]
        assert all(0 < value < 10 for value in worker.burst(0.002))
