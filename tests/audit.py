"""Known vulnerabilities of what is installed, by pip-audit; `make audit`.

pip-audit ends well where it could look nothing up. Here a package that was not looked up is named, and a run that
looked up none at all has failed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


def verdict(dependencies: list[dict[str, Any]]) -> tuple[list[str], bool]:
    """Lines to print, and whether anything was looked up and nothing found."""
    skipped = [entry for entry in dependencies if "skip_reason" in entry]
    audited = [entry for entry in dependencies if "skip_reason" not in entry]
    found = [(entry, fault) for entry in audited for fault in entry["vulns"]]
    lines = [f"not looked up: {entry['name']}: {entry['skip_reason']}" for entry in skipped]
    for entry, fault in found:
        fixed = ", ".join(fault["fix_versions"]) or "no version"
        lines.append(f"{entry['name']} {entry['version']}: {fault['id']}, fixed in {fixed}")
    if not audited:
        lines.append("FAILED: nothing could be looked up: is the vulnerability service reachable from here?")
    else:
        ended = "FAILED" if found else "PASSED"
        lines.append(
            f"{ended}: {len(audited)} packages looked up, {len(found)} vulnerabilities, {len(skipped)} not looked up"
        )
    return lines, bool(audited) and not found


def main() -> None:
    """Ask pip-audit about this environment."""
    command = [sys.executable, "-m", "pip_audit", "--skip-editable", "--format", "json", "--progress-spinner", "off"]
    ran = subprocess.run(command, capture_output=True, text=True)
    try:
        lines, passed = verdict(json.loads(ran.stdout)["dependencies"])
    except ValueError:
        reason = ran.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        lines, passed = [f"FAILED: pip-audit could not look anything up: {reason[0][:300]}"], False
    print("\n".join(lines))
    sys.exit(not passed)


if __name__ == "__main__":
    main()
