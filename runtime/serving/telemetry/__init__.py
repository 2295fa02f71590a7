"""Traces and metrics of a server for OpenTelemetry."""
