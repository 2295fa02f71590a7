"""Serves packages over the Open Inference Protocol v2 (HTTP, gRPC), alone or inside Ray Serve or Triton."""
