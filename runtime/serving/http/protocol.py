"""uvicorn's HTTP protocol with three additions.

A time limit for receiving a request (uvicorn waits forever), a size limit for its line and headers, and notice of a
client that disconnects, without one task for each waiting request.
"""

from __future__ import annotations

import asyncio
from typing import Any

from rectexport.runtime.base.environment import require

#: Most bytes of a request's line and headers.
HEAD = 64 << 10
#: The ASGI extension of this protocol: a set of futures that are cancelled when the client disconnects.
LEFT = "rectexport.left"


def protocol_with_timeout(seconds: float) -> type[asyncio.Protocol]:
    """A subclass of uvicorn's protocol that answers 408 when a request takes longer than `seconds` to arrive."""
    base: Any = require("uvicorn.protocols.http.httptools_impl").HttpToolsProtocol

    class TimeLimitedProtocol(base):  # uvicorn can only be extended by subclassing
        _timer: asyncio.TimerHandle | None = None
        _arriving = _ended_here = False
        _head = 0

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self._left: set[asyncio.Future[Any]] = set()
            self._start_timer()

        def connection_lost(self, error: Exception | None) -> None:
            self._stop_timer()
            for answer in self._left:
                answer.cancel()
            super().connection_lost(error)

        def data_received(self, data: bytes) -> None:
            self._arriving, self._ended_here = True, False
            super().data_received(data)
            if not self._arriving:
                self._stop_timer()
            elif self._timer is None:
                self._start_timer()
            if self._head >= 0 and not self._ended_here:  # else part of data belongs to the request before
                self._head += len(data)
                if self._head > HEAD:
                    self._give_up(b"431 Request Header Fields Too Large")

        def on_message_begin(self) -> None:
            self._head = 0
            super().on_message_begin()
            self.scope["extensions"] = {LEFT: self._left}

        def on_headers_complete(self) -> None:
            self._head = -1
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._arriving, self._ended_here = False, True
            super().on_message_complete()

        def timeout_keep_alive_handler(self) -> None:
            self.transport.abort()  # close() would wait for a client that never reads its last answer

        def _start_timer(self) -> None:
            self._timer = self.loop.call_later(seconds, self._too_slow)

        def _stop_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _too_slow(self) -> None:
            self._timer = None
            if self.flow is not None and self.flow.read_paused:  # the server itself paused reading
                self._start_timer()
            else:
                self._give_up(b"408 Request Timeout")

        def _give_up(self, status: bytes) -> None:
            if not self.transport.is_closing():
                self.transport.write(b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
                self.transport.close()

    return TimeLimitedProtocol
