"""report.html: one page about a package, that needs nothing but itself to be read."""

from __future__ import annotations

from rectexport.runtime.report.page import FILE_NAME, write_report

__all__ = ["FILE_NAME", "write_report"]
