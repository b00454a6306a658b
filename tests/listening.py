"""A server of streams that ends with its connections: after its block none is open, whoever came last."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from csms.shutting import STEPS, shut

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
MOMENTS = range(STEPS + 2)  # after a connection was made: from before it is accepted until it is served


async def comes_at(moment: int, port: int) -> socket.socket:
    """Somebody connects, so many steps of the loop ago."""
    line = socket.create_connection(("127.0.0.1", port))
    line.setblocking(False)
    for _ in range(moment):
        await asyncio.sleep(0)
    return line


async def is_let_go(line: socket.socket) -> None:
    """Its other side ends, or never took it."""
    with line, contextlib.suppress(ConnectionError):
        async with asyncio.timeout(30):
            assert await asyncio.get_running_loop().sock_recv(line, 1) == b""


@asynccontextmanager
async def listening(
    serve: Serve, host: str = "127.0.0.1", port: int = 0, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Yields its port. `serve` is cancelled at the end of the block, and its connection closed when it returns."""
    lines: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def came(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines[asyncio.ensure_future(_served(serve, reader, writer))] = writer

    server = await asyncio.start_server(came, host, port, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        await shut(server.sockets, server.close)
        for task in lines:
            task.cancel()
        await asyncio.gather(*lines, return_exceptions=True)
        for writer in lines.values():  # a task that was cancelled before it began has closed nothing
            writer.transport.abort()
        await asyncio.sleep(0)  # the system has the sockets back


async def _served(serve: Serve, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Any:
    try:
        await serve(reader, writer)
    finally:
        writer.close()
