"""One call on a machine with a GPU: `make gpu-kit` writes what it needs, `make gpu` runs it and keeps the record."""
