"""Statistics of one model version, as the protocol's statistics extension reports them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

NANO = 1e9


@dataclass
class StatisticDuration:
    """A count and the nanoseconds in all; the protocol's StatisticDuration."""

    count: int = 0
    ns: int = 0

    def add(self, seconds: float, count: int = 1) -> None:
        """Add `count` events that took `seconds` in all."""
        self.count += count
        self.ns += int(seconds * NANO)

    def as_dict(self) -> dict[str, int]:
        """Plain values, with the protocol's keys."""
        return {"count": self.count, "ns": self.ns}


@dataclass
class Statistics:
    """Counts since the model was loaded. A row is what the protocol calls an inference."""

    success: StatisticDuration = field(default_factory=StatisticDuration)
    fail: StatisticDuration = field(default_factory=StatisticDuration)
    queue: StatisticDuration = field(default_factory=StatisticDuration)
    infer: StatisticDuration = field(default_factory=StatisticDuration)
    batches: dict[int, StatisticDuration] = field(default_factory=dict)
    rows: int = 0
    last_ms: int = 0

    @property
    def runs(self) -> int:
        """How many runs of the engine succeeded."""
        return sum(duration.count for duration in self.batches.values())

    def clear(self) -> None:
        """Set all counts to zero."""
        for name, value in vars(Statistics()).items():
            setattr(self, name, value)

    def ran(self, rows: int, seconds: float, requests: int, waited: float) -> None:
        """Count a batch that succeeded: rows, the engine's seconds, requests, and seconds they waited in all."""
        self.rows += rows
        self.batches.setdefault(rows, StatisticDuration()).add(seconds)
        self.infer.add(seconds * requests, requests)
        self.queue.add(waited, requests)
        self.last_ms = int(time.time() * 1e3)

    def as_dict(self, name: str, version: str) -> dict[str, Any]:
        """The entry of model_stats, with the protocol's keys."""
        nothing = {"count": 0, "ns": 0}
        return {
            "name": name,
            "version": version,
            "last_inference": self.last_ms,
            "inference_count": self.rows,
            "execution_count": self.runs,
            "inference_stats": {
                "success": self.success.as_dict(),
                "fail": self.fail.as_dict(),
                "queue": self.queue.as_dict(),
                "compute_input": nothing,
                "compute_infer": self.infer.as_dict(),
                "compute_output": nothing,
                "cache_hit": nothing,
                "cache_miss": nothing,
            },
            "batch_stats": [
                {
                    "batch_size": rows,
                    "compute_input": nothing,
                    "compute_infer": duration.as_dict(),
                    "compute_output": nothing,
                }
                for rows, duration in sorted(self.batches.items())
            ],
        }
