"""Compares a package's outputs with a reference's, and with the package's own outputs on other inputs."""
