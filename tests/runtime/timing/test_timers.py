"""The two clocks; the GPU's with fake events."""

from __future__ import annotations

import time

from rectexport.runtime.timing.timers import EventTimer, HostTimer


def test_the_host_clock_goes_around_the_call():
    assert 0.01 <= HostTimer().time(lambda: time.sleep(0.01)) < 5


class Gpu:
    """A stream as a list of work; an event's time is known only after the host waited for it."""

    def __init__(self):
        self.log, self.now = [], 0.0

    def event(self):
        return Event(self)


class Event:
    def __init__(self, gpu):
        self.gpu, self.at, self.passed = gpu, None, False

    def record(self, stream=None):
        self.gpu.log.append(("record", stream))
        self.at, self.passed = self.gpu.now, False

    def synchronize(self):
        self.gpu.log.append("wait")
        self.passed = True

    def elapsed_time(self, end):
        assert end.passed, "read before the GPU was done"
        return end.at - self.at


def test_events_stand_around_the_work_on_its_stream():
    gpu = Gpu()

    def work():
        gpu.log.append("work")
        gpu.now += 2.5  # ms

    timer = EventTimer(gpu.event, stream=7)
    assert [timer.time(work) for _ in range(2)] == [0.0025, 0.0025]
    assert gpu.log == [("record", 7), "work", ("record", 7), "wait"] * 2
    assert "CUDA events" in timer.description
