"""The command line: `rectexport MODEL`, and its sister commands."""
