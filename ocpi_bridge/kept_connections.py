"""Connections to partners that are kept for the next call: a call looks at the one it takes, and at no other."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, cast

import httpcore

KEEPALIVE_S = 4.0  # below the 5 s after which many servers close an idle connection under our request
KEPT_AT_MOST = 50  # idle ones, to all origins
SENDING: Final = "sending"  # a request's extension: called when its first byte may be about to leave

Connection = httpcore.AsyncConnectionInterface


class KeptConnections(httpcore.AsyncConnectionPool):
    """httpcore's pool without its turns: at each request and each answer it asks the system about every idle connection,
    which costs as much as the exchange. All that is HTTP stays with httpcore's connections.

    There is no limit of those that are open: each request has its deadline, and a shared limit would let one slow partner
    stop all.
    """

    def __init__(self, backend: httpcore.AsyncNetworkBackend, tls: ssl.SSLContext) -> None:
        super().__init__(ssl_context=tls, keepalive_expiry=KEEPALIVE_S, network_backend=backend)
        self._open: set[Connection] = set()
        self._idle: dict[Connection, float] = {}  # since when; the one that was used last at the end

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        connection = await self._kept(request.url.origin)
        if connection is not None:
            request.extensions.get(SENDING, _nothing)()
        else:
            connection = self.create_connection(request.url.origin)
            request.extensions = {**request.extensions, "trace": _told(request)}
        self._open.add(connection)
        try:
            answer = await connection.handle_async_request(request)
        except BaseException:  # httpcore closes it too, but not where it was cancelled before its first step
            await self._close(connection)
            raise
        body = _Body(cast(AsyncIterable[bytes], answer.stream), lambda: self._give_back(connection))
        return httpcore.Response(answer.status, headers=answer.headers, content=body, extensions=answer.extensions)

    async def aclose(self) -> None:
        """Whoever waits for an answer has none."""
        self._idle.clear()
        closing, self._open = self._open, set()
        for connection in closing:
            await connection.aclose()

    async def _kept(self, origin: httpcore.Origin) -> Connection | None:
        """The one that was used last, if its server has not closed it."""
        for connection in reversed([*self._idle]):
            if connection not in self._idle:  # taken while another one was closed
                continue
            if connection.can_handle_request(origin):
                del self._idle[connection]
                if not connection.has_expired():
                    return connection
                await self._close(connection)
        return None

    async def _give_back(self, connection: Connection) -> None:
        now = time.monotonic()
        if connection in self._open and connection.is_idle():
            self._idle[connection] = now
        else:
            await self._close(connection)
        while self._idle:
            oldest, since = next(iter(self._idle.items()))
            if now - since < KEEPALIVE_S and len(self._idle) <= KEPT_AT_MOST:
                return
            del self._idle[oldest]
            await self._close(oldest)

    async def _close(self, connection: Connection) -> None:
        """To its end, though whoever waits for that is cancelled."""
        self._open.discard(connection)
        await asyncio.shield(asyncio.ensure_future(connection.aclose()))


class _Body:
    """httpcore's, with word of its end."""

    def __init__(self, stream: AsyncIterable[bytes], ended: Callable[[], Awaitable[None]]) -> None:
        self._stream = stream
        self._ended = ended

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._stream.__aiter__()

    async def aclose(self) -> None:
        try:
            await cast(Any, self._stream).aclose()
        finally:
            await self._ended()


def _told(request: httpcore.Request) -> Callable[[str, Mapping[str, Any]], Awaitable[None]]:
    """Where a connection is made first, its request leaves later, or never."""

    async def watch(event: str, _info: Mapping[str, Any]) -> None:
        if event == "http11.send_request_headers.started":
            request.extensions.get(SENDING, _nothing)()

    return watch


def _nothing() -> None:
    pass
