"""HTTP/1.1 with patience that ends: uvicorn's protocol, and a deadline wherever it would wait for the client for ever.

uvicorn closes what is idle between two requests; a client that dribbles a request's head, or takes an answer byte by
byte, would hold its connection (and memory) for as long as it likes.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

#: SO_LINGER: on, for 0 seconds.
AT_ONCE = struct.pack("ii", 1, 0)


def patient_protocol(patience: float) -> type[H11Protocol]:
    """The protocol for `uvicorn.Config(http=...)`.

    Args:
        patience: seconds for the whole head of a request, and for each piece of an answer (64 KiB) to be taken.
    """

    class PatientProtocol(H11Protocol):
        def __init__(self, *args: Any, **kwargs: Any):
            super().__init__(*args, **kwargs)
            self._head: asyncio.TimerHandle | None = None
            self._taking: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._head = self.loop.call_later(patience, self._drop)

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            before = self.cycle
            super().data_received(data)
            if self.cycle is not before:
                self._head = _cancelled(self._head)
            elif self._head is None and (before is None or before.response_complete):
                self._head = self.loop.call_later(patience, self._drop)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._taking = self.loop.call_later(patience, self._drop)

        def resume_writing(self) -> None:
            self._taking = _cancelled(self._taking)
            super().resume_writing()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._see_off()

        def timeout_keep_alive_handler(self) -> None:
            super().timeout_keep_alive_handler()
            self._see_off()

        def _see_off(self) -> None:
            """A connection that is closed waits for the client to take the rest; not longer than for any piece."""
            if self.transport.is_closing() and self._taking is None:
                self._taking = self.loop.call_later(patience, self._drop)

        def _drop(self) -> None:
            self._stop_waiting()
            if self.transport.get_write_buffer_size():
                # Reset, not finished: else the kernel would keep for the client what it does not take.
                self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            self.transport.abort()

        def _stop_waiting(self) -> None:
            self._head, self._taking = _cancelled(self._head), _cancelled(self._taking)

    return PatientProtocol


def _cancelled(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
