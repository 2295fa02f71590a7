"""The page's section on int8, from the manifest's entry: ranges, float layers, ratios by layer and region."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

REGIONS = ("corner", "edge", "interior")


@dataclass(frozen=True)
class EngineRow:
    """What an engine answered on the hold-out; ratios in dB, shares in 0..1, accuracies in percent."""

    engine: str
    snr: float
    own_snr: float
    agreement: float | None
    flips: int
    accuracy: tuple[float, float] | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class RangeRow:
    """A quantized tensor; channels: how many have a range of their own."""

    tensor: str
    dtype: str
    low: float
    high: float
    scale: float
    zero_point: int
    channels: int


@dataclass(frozen=True)
class NoiseRow:
    """A tensor's ratio of signal to noise in dB: of all of it, and by REGIONS; None where its plane has no such."""

    tensor: str
    snr: float
    regions: tuple[float | None, ...]


@dataclass(frozen=True)
class Target:
    """One target's quantized model. speed: (ratio, low, high, ms of int8, ms of float32)."""

    name: str
    file: str
    snr: float
    bits: int
    why_bits: str
    layers: Mapping[str, str]
    kept: Mapping[str, str]
    engines: tuple[EngineRow, ...]
    ranges: tuple[RangeRow, ...]
    noise: tuple[NoiseRow, ...]
    speed: tuple[float, float, float, float, float] | None


@dataclass(frozen=True)
class Quantized:
    """The manifest's entry `int8`."""

    method: str
    data: str
    items: int
    held_out: int
    targets: tuple[Target, ...]


def quantized(data: Mapping[str, Any]) -> Quantized | None:
    """The view of a manifest; None for a package in floating point."""
    entry = data.get("int8")
    if entry is None:
        return None
    used = entry["calibration"]
    targets = tuple(_target(str(name), found) for name, found in entry["targets"].items())
    return Quantized(str(used["method"]), str(used["data"]), int(used["items"]), int(used["held_out"]), targets)


def _target(name: str, entry: Mapping[str, Any]) -> Target:
    speed = entry.get("speed")
    return Target(
        name,
        str(entry["file"]),
        float(entry["snr_db"]),
        int(entry["weights"]["bits"]),
        str(entry["weights"]["reason"]),
        {str(layer): str(form) for layer, form in entry["layers"].items()},
        {str(layer): str(reason) for layer, reason in entry["float"].items()},
        tuple(_engine(str(engine), found) for engine, found in entry["engines"].items()),
        tuple(_range(str(tensor), found) for tensor, found in entry["tensors"].items()),
        tuple(_noise(found) for found in entry["noise"]),
        None
        if speed is None
        else (
            float(speed["ratio"]),
            float(speed["interval"][0]),
            float(speed["interval"][1]),
            float(speed["int8_ms"]),
            float(speed["float32_ms"]),
        ),
    )


def _engine(name: str, entry: Mapping[str, Any]) -> EngineRow:
    agreement, accuracy = entry.get("agreement"), entry.get("accuracy")
    return EngineRow(
        name,
        float(entry["snr_db"]),
        float(entry["own_semantics_snr_db"]),
        None if agreement is None else float(agreement),
        len(entry["flips"]),
        None if accuracy is None else (float(accuracy["float"]), float(accuracy["int8"])),
        None if accuracy is None else (float(accuracy["interval"][0]), float(accuracy["interval"][1])),
    )


def _range(tensor: str, entry: Mapping[str, Any]) -> RangeRow:
    low, high = entry["range"]
    channels = len(entry["channels"]["low"]) if "channels" in entry else 0
    scale = float(entry["scale"])
    return RangeRow(tensor, str(entry["dtype"]), float(low), float(high), scale, int(entry["zero_point"]), channels)


def _noise(entry: Mapping[str, Any]) -> NoiseRow:
    found = entry["regions"]
    regions = tuple(float(found[name]) if name in found else None for name in REGIONS)
    return NoiseRow(str(entry["tensor"]), float(entry["snr_db"]), regions)
