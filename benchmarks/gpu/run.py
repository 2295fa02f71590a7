"""Run the kit that this file is in: python3 run.py [--dry] [--seconds 540] [--only STEP,…]. Needs Python alone.

The record goes to $OUT where that is set, else to docs/gpu of the repository that the kit is in; that of a dry run,
which needs no GPU, into the kit.
"""

import os
import subprocess
import sys
from pathlib import Path

KIT = Path(__file__).resolve().parent


def main() -> int:
    """Install the wheels into the kit, once, and run the steps with what the machine has besides."""
    site, dry = KIT / "site", "--dry" in sys.argv[1:]
    if not site.is_dir():
        wheels = sorted(map(str, (KIT / "wheels").glob("*.whl")))
        install = ["-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile", "--target", str(site)]
        tags = f"cp{sys.version_info.major}{sys.version_info.minor}-"
        fitting = [wheel for wheel in wheels if "-py" in wheel or tags in wheel]
        subprocess.run([sys.executable, *install, *fitting], check=True)
    work, out = KIT / "work", os.environ.get("OUT")
    docs = KIT / "record" if dry else KIT.parents[1] / "docs" / "gpu"
    folder, findings = (Path(out), Path(out)) if out and not dry else (docs, work)
    paths = [str(KIT / "source"), str(site), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "benchmarks.gpu.driver", *sys.argv[1:]]
    command += ["--sources", str(KIT / "source"), "--work", str(work), "--out", str(folder)]
    command += ["--findings", str(findings / "findings.jsonl")]
    return subprocess.run(command, env=environment, cwd=KIT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
