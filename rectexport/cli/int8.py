"""The flags of --int8, which an export takes together or not at all."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from rectexport.cli.options import image_scaling
from rectexport.exporter.base.options import Int8, ShapeOptions
from rectexport.runtime.base.files import sha256
from rectexport.runtime.base.reading import check_regular
from rectexport.runtime.base.shapes import format_shape
from rectexport.runtime.errors import BadInput, UsageError
from rectexport.runtime.package.folder import Package
from rectexport.runtime.package.manifest import FILE_NAME, Manifest

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
    int8_placement: str = Int8.placement

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
            self.int8_placement,
        )


def from_package(
    file: Path | None, source: Path | None, int8: bool, shapes: ShapeOptions
) -> tuple[Path | None, ShapeOptions]:
    """(model file, shapes): those given, or where `file` is a package, its source and its ranges of sizes.

    A package holds a graph lowered for another precision, so int8 is made from the model again. Raises UsageError for
    flags that do not fit, and BadInput for a source that the package was not made from.
    """
    packaged = file is not None and (file / FILE_NAME).is_file()
    if source is not None and not packaged:
        raise UsageError("--source: only where MODEL is a package, to make its int8 form from the model itself")
    if file is None or not packaged:
        return file, shapes
    if not int8 or source is None:
        raise UsageError(
            f"{file}: is a package already; give the model that it was made from, or for its int8 form --int8 and "
            "--source with that model"
        )
    manifest = Package.open(file).manifest
    made_from = manifest.data.get("source", {})
    check_regular(source)
    if made_from.get("sha256") not in (None, sha256(source)):
        raise BadInput(
            f"{source}: is not the file that {file} was made from ({made_from.get('file')}, sha256 "
            f"{str(made_from['sha256'])[:12]}…); to quantize it, export it without the package"
        )
    return source, shapes if shapes != ShapeOptions() else _recorded_shapes(manifest)


def _recorded_shapes(manifest: Manifest) -> ShapeOptions:
    """The sizes that a package takes, as flags give them."""
    fixed, low, usual, high, steps = [], [], [], [], []
    for entry in manifest.inputs:
        bounds = entry.range
        if bounds is None:
            fixed.append(f"{entry.name}:{format_shape(entry.shape)}")
            continue
        low.append(f"{entry.name}:{format_shape(bounds.min)}")
        usual.append(f"{entry.name}:{format_shape(bounds.opt)}")
        high.append(f"{entry.name}:{format_shape(bounds.max)}")
        if bounds.step:
            steps.append(f"{entry.name}:{format_shape(bounds.step)}")
    return ShapeOptions(fixed, low, usual, high, None, steps)


def _share(text: str) -> float:
    """5% or 0.05."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageError(f"--float-budget {text!r}: expected a share from 0 to 1, as in 5% or 0.05")
    return value
