"""The error that answers a request over HTTP or gRPC: a status, and a message for the client."""

from __future__ import annotations

from typing import final

#: HTTP status -> (label in metrics and logs, name of the gRPC status code).
STATUSES: dict[int, tuple[str, str]] = {
    400: ("bad_request", "INVALID_ARGUMENT"),
    401: ("unauthenticated", "UNAUTHENTICATED"),
    404: ("not_found", "NOT_FOUND"),
    405: ("bad_method", "UNIMPLEMENTED"),
    406: ("not_json", "INVALID_ARGUMENT"),
    408: ("slow_request", "DEADLINE_EXCEEDED"),
    413: ("too_large", "INVALID_ARGUMENT"),
    415: ("bad_encoding", "INVALID_ARGUMENT"),
    429: ("too_many", "RESOURCE_EXHAUSTED"),
    499: ("client_left", "CANCELLED"),
    500: ("failed", "INTERNAL"),
    501: ("unsupported", "UNIMPLEMENTED"),
    503: ("unavailable", "UNAVAILABLE"),
    504: ("deadline", "DEADLINE_EXCEEDED"),
}


@final
class RequestError(Exception):
    """A request is answered with an error; status is a key of STATUSES."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def label(self) -> str:
        """The status's name in metrics and logs. The message may quote the client, so it goes to the client only."""
        return STATUSES[self.status][0]

    @property
    def grpc_code(self) -> str:
        """Name of the member of grpc.StatusCode."""
        return STATUSES[self.status][1]
