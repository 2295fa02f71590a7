"""Search for the deployment that is fastest within bounds of accuracy, latency and memory."""
