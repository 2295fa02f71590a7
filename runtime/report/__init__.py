"""Makes one-page reports of packages, from their documents alone."""

from rectexport.runtime.report.comparison import write_comparison
from rectexport.runtime.report.page import FILE_NAME, Documents, write_report

__all__ = ["FILE_NAME", "Documents", "write_comparison", "write_report"]
