"""The flags of --int8, which an export takes together or not at all."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from rectexport.cli.options import image_scaling
from rectexport.exporter.base.options import Int8
from rectexport.runtime.base.reading import check_regular
from rectexport.runtime.errors import BadInput, UsageError

#: Panel of the help page.
INT8 = "int8"


@dataclass(frozen=True)
class Int8Flags:
    """The flags as they were typed."""

    calibrate: Path | None = None
    calibration_method: str = Int8.method
    calibration_images: int = Int8.images
    labels: Path | None = None
    mean: str = "0"
    std: str = "1"
    keep_float: tuple[str, ...] = ()
    min_snr: float | None = Int8.min_snr
    float_budget: str = "5%"
    portable_int8: bool = Int8.portable
    force: bool = Int8.force

    def options(self, int8: bool) -> Int8 | None:
        """What they ask for; None without --int8. Raises UsageError for flags that are missing or do not parse.

        Raises BadInput for data that is not there: an export finds out here, and not after it has traced the model.
        """
        if not int8:
            for entry in fields(self):
                if getattr(self, entry.name) != entry.default:
                    raise UsageError(f"--{entry.name.replace('_', '-')}: only with --int8")
            return None
        if self.calibrate is None:
            raise UsageError(
                "--int8: takes ranges from data as the network sees it in use; give --calibrate with a folder of "
                "images or an .npz, see docs/quantization.md"
            )
        if not self.calibrate.exists():
            raise BadInput(f"{self.calibrate}: no such file or folder (--calibrate)")
        if not self.calibrate.is_dir():
            check_regular(self.calibrate)
        scaling = image_scaling(self.mean, self.std)
        return Int8(
            self.calibrate,
            self.calibration_method,
            self.calibration_images,
            self.labels,
            scaling.mean,
            scaling.std,
            self.keep_float,
            self.min_snr,
            _share(self.float_budget),
            self.portable_int8,
            self.force,
        )


def _share(text: str) -> float:
    """5% or 0.05."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageError(f"--float-budget {text!r}: expected a share from 0 to 1, as in 5% or 0.05")
    return value
