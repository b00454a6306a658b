"""A charger's WebSocket costs little: frames go straight to its link, without the library's queue, ping task and drain.

websockets does the protocol; this subclass of its connection decides where frames go, and answers what is not even a GET
(the library hangs up on that without a word). One frame is nearly always one read: then it is unmasked here, which takes a
third of what the library's parser takes; whatever is not exactly that goes through the library.
"""

import asyncio
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, Protocol, cast

from websockets.asyncio.server import Server, ServerConnection
from websockets.datastructures import Headers
from websockets.exceptions import InvalidMessage
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import CONNECTING, OPEN, Event
from websockets.server import ServerProtocol

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform without the compiled part
    from websockets.utils import apply_mask

from csms.gateway.crowd import Crowd

JSON_ONLY: Final = "This address speaks OCPP-J only: JSON over WebSocket. There is no SOAP here.\n"

TLS_HELLO: Final = b"\x16\x03"  # how a charger begins that was told wss:// for a port of ws://

_FORGOTTEN: Final = Request("", Headers())

_SHORT: Final = tuple(bytes((0x81, size)) for size in range(126))  # how a short text frame begins


class Receiver(Protocol):
    """What a socket tells of its life."""

    last_life: float

    def received(self, data: bytes | bytearray, /) -> None: ...

    def notify(self) -> None:
        """Something changed: the socket is closing, or lost."""
        ...

    def read_on(self) -> None:
        """The write buffer filled up or has emptied: decide anew whether to read."""
        ...


class _Unqueued:
    """Stands where the library keeps its queue of frames, which is never used here."""

    __slots__ = ()

    def close(self) -> None:
        return


class ChargerSocket(ServerConnection):
    __slots__ = ("_crowd", "_early", "_not_http", "_partial", "_unparsed", "receiver", "too_late")

    def __init__(
        self,
        protocol: ServerProtocol,
        server: Server,
        *,
        not_http: Callable[["ChargerSocket", int, str], None],
        crowd: Crowd,
        **limits: Any,
    ) -> None:
        super().__init__(protocol, server, **limits)
        self._not_http: Callable[[ChargerSocket, int, str], None] | None = not_http
        self._crowd: Crowd | None = crowd  # None when its handshake is over
        self._early: bytes | None = None  # its first bytes, until its turn
        self.too_late = False  # it found no place in the line, and may only hear so
        self._partial: bytearray | None = None
        self._unparsed = 0  # bytes given to the library's parser that are not yet a frame; 0 between two frames
        self.receiver: Receiver | None = None

    @property
    def is_open(self) -> bool:
        return self.protocol.state is OPEN

    @property
    def writable(self) -> bool:
        return not self.paused

    def settle(self) -> None:
        """After the handshake: forget it, since ten thousand requests are forty megabytes, and each holds a password."""
        self._leave_crowd()
        if self.request is not None:
            self.request.headers.clear()  # the library's parser holds the request as long as the connection lasts
        self.request = _FORGOTTEN
        self.request_rcvd = cast(Any, None)
        self.logger = self.protocol.logger = self.server.logger  # not one of its own that names the connection
        self.response = None
        self._not_http = None
        self._unparsed = 0
        self.recv_messages = cast(Any, _Unqueued())
        self.drain_waiters = cast(Any, [])

    def write(self, data: bytes) -> None:
        """Sends one text frame, or nothing when the socket is not open any more. Never waits: who does not read what we
        write is not read from either (`read_on`)."""
        protocol, size = self.protocol, len(data)
        if protocol.state is not OPEN:
            return
        if size >= 1 << 16 or protocol.extensions:
            protocol.send_text(data)
            self.send_data()
        elif size < 126:
            self.transport.write(_SHORT[size] + data)
        else:
            self.transport.write(b"\x81\x7e" + size.to_bytes(2, "big") + data)

    def ping_now(self) -> None:
        if self.protocol.state is OPEN:
            self.protocol.send_ping(b"")
            self.send_data()

    def close_now(self, code: int, reason: str) -> None:
        """Starts the closing handshake; the connection's handler ends it."""
        if self.protocol.state is OPEN:
            self.protocol.send_close(code, reason)
            self.send_data()

    def hang_up_unasked(self) -> None:
        """Nothing is said to who has not asked for anything yet; who has is answered."""
        if self.request is None and hasattr(self, "transport"):  # without one its TLS is not there yet
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        receiver, protocol = self.receiver, self.protocol
        if (
            self._unparsed == 0
            and receiver is not None
            and protocol.state is OPEN
            and protocol.current_size is None
            and not protocol.extensions
        ):
            payload = _only_text_frame(data, protocol.max_message_size)
            if payload is not None:
                receiver.last_life = time.monotonic()
                receiver.received(payload)
                return
        if self._crowd is not None and self._early is None:
            self._come(self._crowd, data)
            return
        if self._unparsed == 0 and self.request is None and data.startswith(TLS_HELLO):
            self._say_what_is_wrong(HTTPStatus.BAD_REQUEST, "TLS where plain ws is served")
            self.transport.close()
            return
        self._unparsed += len(data)
        super().data_received(data)

    def _come(self, crowd: Crowd, data: bytes) -> None:
        """With its first bytes, so that a socket that says nothing takes nobody's turn."""
        self.too_late = crowd.full
        self._early = b""
        if self.too_late or crowd.come(self):
            self.data_received(data)
        else:
            self._early = data
            self.transport.pause_reading()

    def take_turn(self) -> None:
        data, self._early = self._early, b""
        if data and not self.transport.is_closing():
            self.transport.resume_reading()
            self.data_received(data)

    def _leave_crowd(self) -> None:
        crowd, self._crowd = self._crowd, None
        if crowd is not None:
            crowd.go(self)

    def process_event(self, event: Event) -> None:
        receiver = self.receiver
        if receiver is None:
            if self.request is None:
                super().process_event(event)
            elif self.protocol.state is CONNECTING:
                self.transport.abort()  # frames before our answer: no WebSocket client does that
            return
        receiver.last_life = time.monotonic()
        assert isinstance(event, Frame)
        self._unparsed -= _masked_size(len(event.data))
        opcode = event.opcode
        if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
            if event.fin:
                receiver.received(cast(bytes, event.data))
            else:
                self._partial = bytearray(event.data)
        elif opcode is Opcode.CONT and self._partial is not None:
            self._partial += event.data
            if event.fin:
                data, self._partial = self._partial, None
                receiver.received(data)
        elif opcode is Opcode.PONG:
            self.acknowledge_pings(bytes(event.data))
        elif opcode is Opcode.CLOSE:
            receiver.notify()

    def send_data(self) -> None:
        if self.request is None:
            self._answer_what_is_not_a_handshake()
        super().send_data()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._leave_crowd()
        if self.request is None:
            self._answer_what_is_not_a_handshake()
        if self.receiver is not None:
            self.receiver.notify()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.receiver is not None:
            self.receiver.read_on()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.receiver is not None:
            self.receiver.read_on()

    async def pongs(self, timeout_s: float) -> bool:
        """Whether the other end answers a ping in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await (await self.ping())
        except Exception:
            return False
        return True

    def _answer_what_is_not_a_handshake(self) -> None:
        exc = self.protocol.handshake_exc
        cause = exc.__cause__ if isinstance(exc, InvalidMessage) else None
        if exc is None or (isinstance(cause, EOFError) and self._unparsed == 0):
            return  # a port that was only knocked at
        if cause is None:
            self._say_what_is_wrong(HTTPStatus.BAD_REQUEST, str(exc), answered=True)  # by the library
            return
        has_body = isinstance(cause, NotImplementedError) or "body" in str(cause)
        self._say_what_is_wrong(HTTPStatus.METHOD_NOT_ALLOWED if has_body else HTTPStatus.BAD_REQUEST, str(cause)[:200])

    def _say_what_is_wrong(self, status: HTTPStatus, reason: str, *, answered: bool = False) -> None:
        """Once for each socket: to the log, and to the other end while it listens."""
        report, self._not_http = self._not_http, None
        if report is None:
            return
        report(self, status, reason)
        if not answered and not self.transport.is_closing():
            self.transport.write(plain_response(self, status).serialize())


def _masked_size(size: int) -> int:
    """Of a frame with so much payload, on the wire."""
    return size + (6 if size < 126 else 8 if size < 1 << 16 else 14)


def _only_text_frame(data: bytes, most: int | None) -> bytes | None:
    """The payload when `data` is one whole, masked, unfragmented text frame, not more and not less (RFC 6455, 5.2)."""
    if len(data) < 6 or data[0] != 0x81:
        return None
    size = data[1] - 0x80
    start = 6
    if size == 126:
        size, start = int.from_bytes(data[2:4], "big"), 8
    if size < 0 or size == 127 or len(data) != start + size or (most is not None and size > most):
        return None
    return apply_mask(data[start:], data[start - 4 : start])


def plain_response(socket: ServerConnection, status: HTTPStatus, text: str = JSON_ONLY) -> Response:
    response = socket.respond(status, text)
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers["Allow"] = "GET"
    return response
