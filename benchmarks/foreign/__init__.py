"""Networks that others wrote, exported as they are: `make foreign`; writes docs/models.md."""
