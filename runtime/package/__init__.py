"""A package on disk: its manifest, files, hashes and signature."""

from rectexport.runtime.package.folder import Package

__all__ = ["Package"]
