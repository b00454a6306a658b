"""One HTTP listener: bound and served when it has started, and emptied before it stops."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from csms.shutting import shut
from ocpi_bridge.settings import Address, Network

START_WITHIN_S = 30.0
CANCELLED_WITHIN_S = 1.0
KEPT_OPEN_S = 75  # an idle connection: longer than clients keep theirs, so that none is closed under a request


class WebServer:
    """uvicorn, started and stopped by us: signals are the process's business, not its own."""

    def __init__(self, app: ASGIApp, address: Address, *, trusted_proxies: tuple[Network, ...] = ()) -> None:
        self._address = address
        proxies = [str(network) for network in trusted_proxies]
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            proxy_headers=bool(proxies),
            forwarded_allow_ips=proxies,
            timeout_keep_alive=KEPT_OPEN_S,
            timeout_graceful_shutdown=10,
            server_header=False,
        )
        self._server = QuietServer(config)
        self.port = self._address.port
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """When it returns, `port` is bound and served. Raises OSError, which names the address that cannot be had."""
        listener = _listen(*self._address)
        self.port = listener.getsockname()[1]
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name="http")
        async with asyncio.timeout(START_WITHIN_S):
            while not self._server.started:
                if self._task.done():
                    self._task.result()
                    raise RuntimeError("the HTTP server ended before it had started")
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Requests that are here are answered, for at most ten seconds."""
        self._server.should_exit = True
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)


class QuietServer(uvicorn.Server):
    """uvicorn without signal handlers, which leaves no connection open when it ends: one that is accepted in that moment has
    no request, and would hold up the end for as long as a request may."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            await shut(server.sockets, server.close)
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            cast(Any, connection).transport.abort()
        if self.server_state.tasks:  # cancelled, as they were not done in time
            await asyncio.wait(list(self.server_state.tasks), timeout=CANCELLED_WITHIN_S)


def _listen(host: str, port: int) -> socket.socket:
    """A socket that says it is TCP: without that, the event loop leaves Nagle's delay on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"{error.strerror} (listening on {host} port {port})") from None
    return listener
