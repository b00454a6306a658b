"""A server inside somebody else's process: on a socket of its own, without signal handlers, and gone after its block."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import uvicorn

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 1.0


@contextlib.asynccontextmanager
async def serving(app: Any, host: str, port: int) -> AsyncIterator["InProcessServer"]:
    """Serves `app` on `port`, 0 for a free one, until the end of the block. Raises OSError when it is taken."""
    listener = _listen(host, port)
    config = uvicorn.Config(app, interface="asgi3", log_config=None, access_log=False, lifespan="off", ws="none")
    server = InProcessServer(config, *listener.getsockname()[:2])
    task = asyncio.create_task(server.serve(sockets=[listener]), name=f"serving {server.url}")
    ready = asyncio.ensure_future(server.ready.wait())
    try:
        await asyncio.wait([ready, task], timeout=START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            raise RuntimeError(f"nothing is served at {server.url}")
        yield server
    finally:
        ready.cancel()
        server.stop.set()
        await task


def _listen(host: str, port: int) -> socket.socket:
    """The protocol is named because asyncio sets TCP_NODELAY only then; without it each answer waits 40 ms."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


class InProcessServer(uvicorn.Server):
    """uvicorn without signal handlers: it lives inside somebody else's process and ends when `stop` is set."""

    def __init__(self, config: uvicorn.Config, host: str, port: int) -> None:
        super().__init__(config)
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        self.ready = asyncio.Event()
        self.stop = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        await self.on_tick(0)
        self.ready.set()
        await self.stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """uvicorn's own waits in steps of 0.1 s; a test opens and closes many partners."""
        for server in self.servers:
            await _shut(server)
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if self.server_state.tasks:
            await asyncio.wait(list(self.server_state.tasks), timeout=STOP_TIMEOUT_S)
        for connection in list(self.server_state.connections):
            cast(Any, connection).transport.abort()


async def _shut(server: asyncio.Server) -> None:
    """asyncio accepts in one step of the loop and makes the transport in a later one; a server that is closed between the two
    leaves the socket open (cpython #109564). When this returns, whoever was accepted is among the connections."""
    for listener in server.sockets:
        asyncio.get_running_loop().remove_reader(listener.fileno())
    await _steps()
    server.close()
    await _steps()


async def _steps(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
