"""A charger's WebSocket in a few kilobytes: ten thousand of them fit into one process that generates load."""

import asyncio
import base64
import os
import socket as sockets
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import cast
from urllib.parse import urlsplit

from websockets.utils import accept_key

from csms.simulator.wire import SUBPROTOCOL, NotConnected, address, basic_authorization

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform without the compiled part
    from websockets.utils import apply_mask

TEXT, CLOSE, PING, PONG = 0x81, 0x88, 0x89, 0x8A
HEAD_ENDS = b"\r\n\r\n"
PORT_LATER: int | None = getattr(sockets, "IP_BIND_ADDRESS_NO_PORT", None)


class TurnedAway(NotConnected):
    """The server would not have it now; `retry_after_s` as it asked, None when it did not say."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where the CSMS is; split once for all chargers."""

    url: str
    host: str
    port: int
    tls: ssl.SSLContext | None

    @classmethod
    def of(cls, url: str) -> "Address":
        """Raises ValueError for what is no ws:// or wss:// address."""
        parts = urlsplit(url)
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise ValueError(f"{url} is no ws:// or wss:// address")
        tls = ssl.create_default_context() if parts.scheme == "wss" else None
        return cls(url=url, host=parts.hostname, port=parts.port or (443 if tls else 80), tls=tls)


class LeanLine(asyncio.Protocol):
    """`received` gets each text frame, `lost` is called once, when the line is down. Only whole frames of the server's are
    read: it sends answers and short commands, which nobody fragments."""

    __slots__ = ("_buffer", "_gone", "_lost", "_opening", "_received", "_transport")

    def __init__(self, received: Callable[[bytes], None], lost: Callable[[], None]) -> None:
        self._received = received
        self._lost = lost
        self._buffer = b""
        self._opening: asyncio.Future[None] | None = asyncio.get_running_loop().create_future()
        self._gone: asyncio.Future[None] | None = None
        self._transport: asyncio.WriteTransport | None = None

    async def open(self, station_id: str, password: str | None, address_: Address) -> None:
        """The handshake, on a connected line. Raises TurnedAway."""
        assert self._transport is not None
        assert self._opening is not None
        key = base64.b64encode(os.urandom(16)).decode()
        path = urlsplit(address(address_.url, station_id)).path
        head = [
            f"GET {path} HTTP/1.1",
            f"Host: {address_.host}:{address_.port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Protocol: {SUBPROTOCOL}",
        ]
        if password is not None:
            head.append(f"Authorization: {basic_authorization(station_id, password)}")
        self._transport.write("\r\n".join([*head, "", ""]).encode())
        await self._opening
        status, headers = _read_head(self._buffer)
        self._opening, self._buffer = None, self._buffer.partition(HEAD_ENDS)[2]
        if status != 101:
            retry_after = headers.get("retry-after", "")
            self.abort()
            raise TurnedAway(f"HTTP {status}", float(retry_after) if retry_after.isdecimal() else None)
        if headers.get("sec-websocket-accept") != accept_key(key):
            self.abort()
            raise TurnedAway("the server does not know WebSocket")
        if headers.get("sec-websocket-protocol") != SUBPROTOCOL:
            self.abort()
            raise TurnedAway(f"the server did not agree to {SUBPROTOCOL}")
        self._read_frames()

    def send(self, text: bytes) -> None:
        """One text frame; nothing when the line is down."""
        self._write(TEXT, text)

    def leave(self) -> None:
        """Says goodbye and hangs up."""
        self._write(CLOSE, (1000).to_bytes(2, "big"))
        if self._transport is not None:
            self._transport.close()

    async def gone(self) -> None:
        """After `leave` or `abort`: when the system has the socket back."""
        if self._transport is not None:
            self._gone = asyncio.get_running_loop().create_future()
            await self._gone

    def abort(self) -> None:
        """As if the cable were cut."""
        if self._transport is not None:
            self._transport.abort()

    # ---- asyncio's side -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if self._opening is None:
            self._read_frames()
        elif HEAD_ENDS in self._buffer and not self._opening.done():
            self._opening.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
        if self._opening is not None:
            if not self._opening.done():
                self._opening.set_exception(TurnedAway("the server hung up"))
            return
        self._lost()

    # ---- frames (RFC 6455, 5.2) -----------------------------------------------------------------------------------

    def _read_frames(self) -> None:
        buffer = self._buffer
        while len(buffer) >= 2:
            size, start = buffer[1] & 0x7F, 2
            if size == 126:
                size, start = int.from_bytes(buffer[2:4], "big"), 4
            elif size == 127:
                size, start = int.from_bytes(buffer[2:10], "big"), 10
            if len(buffer) < start or len(buffer) < start + size:
                break
            kind, payload, buffer = buffer[0], buffer[start : start + size], buffer[start + size :]
            if kind == TEXT:
                self._received(payload)
            elif kind == PING:
                self._write(PONG, payload)
            elif kind == CLOSE:
                self.leave()
        self._buffer = buffer

    def _write(self, kind: int, payload: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        size, mask = len(payload), os.urandom(4)
        if size < 126:
            head = bytes((kind, 0x80 | size))
        elif size < 1 << 16:
            head = bytes((kind, 0xFE)) + size.to_bytes(2, "big")
        else:
            head = bytes((kind, 0xFF)) + size.to_bytes(8, "big")
        self._transport.write(head + mask + apply_mask(payload, mask))


async def open_line(
    address_: Address,
    station_id: str,
    password: str | None,
    *,
    source: str | None,
    received: Callable[[bytes], None],
    lost: Callable[[], None],
    within_s: float,
) -> LeanLine:
    """`source`: the address to call from, of IPv4 as the CSMS's then. Raises NotConnected with the reason."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(within_s):
            make = partial(LeanLine, received, lost)
            if source is None:
                _, line = await loop.create_connection(make, address_.host, address_.port, ssl=address_.tls)
            else:
                socket = await _connected(loop, address_, source)
                name = address_.host if address_.tls is not None else None
                _, line = await loop.create_connection(make, sock=socket, ssl=address_.tls, server_hostname=name)
            try:
                await line.open(station_id, password, address_)
            except BaseException:
                line.abort()  # nobody else knows it yet
                raise
    except TimeoutError:
        raise NotConnected(f"no handshake in {within_s:g} s") from None
    except OSError as error:
        raise NotConnected(error.strerror or type(error).__name__) from error
    return line


async def _connected(loop: asyncio.AbstractEventLoop, address_: Address, source: str) -> sockets.socket:
    """Its port is chosen when it connects: to choose it before, among thousands that are taken, costs two milliseconds, which
    ten thousand chargers do not have to share."""
    socket = sockets.socket()
    try:
        socket.setblocking(False)
        if PORT_LATER is not None:
            socket.setsockopt(sockets.IPPROTO_IP, PORT_LATER, 1)
        socket.bind((source, 0))
        await loop.sock_connect(socket, (address_.host, address_.port))
    except BaseException:
        socket.close()
        raise
    return socket


def _read_head(buffer: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = buffer.partition(HEAD_ENDS)[0].decode("latin-1").split("\r\n")
    headers = {name.strip().casefold(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    word = first.split(" ")[1:2]
    return int(word[0]) if word and word[0].isdecimal() else 0, headers
