"""Shared by all of the export: its log, and quiet libraries."""
