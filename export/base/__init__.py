"""Used by the whole export: its log, wording of errors, and silencing of library warnings."""
