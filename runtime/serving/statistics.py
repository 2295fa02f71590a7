"""What the protocol's statistics extension reports of one model version."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

NANO = 1e9


@dataclass
class Tally:
    """How often, and nanoseconds in all."""

    count: int = 0
    ns: int = 0

    def add(self, seconds: float, count: int = 1) -> None:
        """Count `count` times with `seconds` in all."""
        self.count += count
        self.ns += int(seconds * NANO)

    def as_dict(self) -> dict[str, int]:
        """As the protocol writes it."""
        return {"count": self.count, "ns": self.ns}


@dataclass
class Statistics:
    """Counted since the model was loaded. A row is what the protocol calls an inference."""

    success: Tally = field(default_factory=Tally)
    fail: Tally = field(default_factory=Tally)
    queue: Tally = field(default_factory=Tally)
    infer: Tally = field(default_factory=Tally)
    batches: dict[int, Tally] = field(default_factory=dict)
    rows: int = 0
    last_ms: int = 0

    @property
    def runs(self) -> int:
        """Times that the engine was run with success."""
        return sum(tally.count for tally in self.batches.values())

    def clear(self) -> None:
        """Start counting anew."""
        for name, value in vars(Statistics()).items():
            setattr(self, name, value)

    def ran(self, rows: int, seconds: float, requests: int, waited: float) -> None:
        """A batch succeeded: its rows, the engine's seconds, its requests and how long they waited in all."""
        self.rows += rows
        self.batches.setdefault(rows, Tally()).add(seconds)
        self.infer.add(seconds * requests, requests)
        self.queue.add(waited, requests)
        self.last_ms = int(time.time() * 1e3)

    def as_dict(self, name: str, version: str) -> dict[str, Any]:
        """One entry of model_stats."""
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
                    "compute_infer": tally.as_dict(),
                    "compute_output": nothing,
                }
                for rows, tally in sorted(self.batches.items())
            ],
        }
