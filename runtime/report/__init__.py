"""One-page report about a package: a single HTML file that loads nothing else."""

from __future__ import annotations

from rectexport.runtime.report.page import FILE_NAME, write_report

__all__ = ["FILE_NAME", "write_report"]
