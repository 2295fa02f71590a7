"""The health protocol of gRPC, which Kubernetes' probes and load balancers speak.

https://github.com/grpc/grpc/blob/master/doc/health-checking.md. As in Triton, the service that a request names does not
matter. No token is needed, as for /v2/health over HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from rectexport.runtime.base.environment import require
from rectexport.runtime.serving.service import Service

SERVICE = "grpc.health.v1.Health"
#: HealthCheckResponse with its only field, an enum, set to SERVING and to NOT_SERVING.
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"
#: Seconds between two looks at the state for a client that watches it.
WATCH = 0.5


def health_handlers(service: Service) -> Any:
    """The argument of grpc.Server.add_generic_rpc_handlers: Check and Watch."""
    grpc = require("grpc")

    def state() -> bytes:
        return SERVING if service.ready else NOT_SERVING

    async def check(request: bytes, context: Any) -> bytes:
        return state()

    async def watch(request: bytes, context: Any) -> AsyncIterator[bytes]:
        told = b""
        while True:
            if told != state():
                told = state()
                yield told
            if service.draining:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is going down")
            await asyncio.sleep(WATCH)

    return grpc.method_handlers_generic_handler(
        SERVICE,
        {"Check": grpc.unary_unary_rpc_method_handler(check), "Watch": grpc.unary_stream_rpc_method_handler(watch)},
    )
