"""Write build/gpu-kit: all that a machine with a GPU and no network needs for one call, under 60 MiB.

    python -m benchmarks.gpu.kit [--out build/gpu-kit] [--offline]

Our wheel, the wheels that such a machine lacks, the sources of the kernel and of its tests, the steps, and run.py,
which installs the wheels into the kit and runs the steps. Packages are exported on the GPU machine.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.common import ROOT

FOLDER = ROOT / "build" / "gpu-kit"
LIMIT = 60 << 20
#: Folders and files of the sources that go into the kit; the package itself is in our wheel.
SOURCES = (
    *("CMakeLists.txt", "constraints.txt", "benchmarks/__init__.py", "benchmarks/common.py", "benchmarks/gpu"),
    *("plugins/rectify", "tests/plugins/rectify", "models/checkpoints/digits.pt"),
    *("tests/runtime/engines/tensorrt/fake_cuda.py",),
)
#: What PyTorch's images lack: of our dependencies, and cuDNN's Python interface. The last is for one version of Python.
WHEELS = ("onnx-graphsurgeon", "polygraphy", "nvidia-cudnn-frontend==1.32.0")
PYTHON = "3.12"


def main() -> None:
    """Write the kit and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--offline", action="store_true", help="without the wheels of others")
    asked = parser.parse_args()
    write(asked.out, asked.offline)
    size = sum(path.stat().st_size for path in asked.out.rglob("*") if path.is_file())
    if size > LIMIT:
        raise SystemExit(f"{asked.out}: {size / 2**20:.0f} MiB, more than {LIMIT >> 20} MiB")
    print(f"wrote {asked.out}: {size / 2**20:.1f} MiB; on the GPU machine: make gpu, or python3 {asked.out}/run.py")


def write(out: Path, offline: bool = False) -> None:
    """Write the kit into `out`, which is emptied first."""
    shutil.rmtree(out, ignore_errors=True)
    wheels = out / "wheels"
    wheels.mkdir(parents=True)
    for name in SOURCES:
        source, target = ROOT / name, out / "source" / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    shutil.copy(Path(__file__).with_name("run.py"), out / "run.py")
    with tempfile.TemporaryDirectory() as work:  # the build writes into the folder that it builds from
        _pip("wheel", "-q", "--no-deps", "--no-build-isolation", "-C", f"build-dir={work}", "-w", wheels, ROOT)
    for name in () if offline else WHEELS:
        _download(name, wheels)


def _download(name: str, wheels: Path) -> None:
    """A wheel for the GPU machine's Python; the kit does without where there is none."""
    platforms = [word for glibc in ("28", "27", "17") for word in ("--platform", f"manylinux_2_{glibc}_x86_64")]
    options = ["--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp", *platforms]
    try:
        _pip("download", "-q", "--no-deps", "-c", ROOT / "constraints.txt", *options, "-d", wheels, name)
    except subprocess.CalledProcessError as error:
        print(f"without {name}: {error.stderr.strip().splitlines()[-1]}", file=sys.stderr)


def _pip(*words: object) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, words)]
    subprocess.run(command, capture_output=True, text=True, check=True)


if __name__ == "__main__":
    main()
