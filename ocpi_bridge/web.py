"""The one HTTP listener: OCPI, the operator API, chargers' files, and whether we live, are ready, and how we do."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence

import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response
from sqlalchemy import text
from starlette.routing import BaseRoute, Route

from csms.database import Database
from csms.metrics import Metrics
from ocpi_bridge.settings import Settings

READY_WITHIN_S = 3.0
START_WITHIN_S = 30.0


def create_app(
    ocpi: FastAPI,
    *,
    database: Database,
    metrics: Metrics,
    listening: Callable[[], bool],
    files: Sequence[BaseRoute] = (),
    api: BaseRoute | None = None,
) -> FastAPI:
    """`listening`: whether chargers are served."""
    app = FastAPI(title="roambridge", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)

    def reach_database() -> None:
        with database.read() as connection:
            connection.execute(text("SELECT 1"))

    @app.get("/health/live")
    async def live() -> JSONResponse:
        return JSONResponse({"status": "alive"})

    @app.get("/health/ready")
    async def ready() -> JSONResponse:
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                await asyncio.to_thread(reach_database)
        except Exception as error:
            return JSONResponse({"status": "database", "error": type(error).__name__}, status_code=503)
        if not listening():
            return JSONResponse({"status": "gateway"}, status_code=503)
        return JSONResponse({"status": "ready"})

    @app.get("/metrics")
    async def scrape() -> Response:
        return Response(await asyncio.to_thread(metrics.text), media_type="text/plain; version=0.0.4")

    app.router.routes.extend(files)
    if api is not None:
        app.router.routes.append(api)
    app.mount("/ocpi", ocpi)
    app.router.routes.append(Route("/ocpi", ocpi))  # the mount alone would redirect its own bare address (TR-31)
    return app


class WebServer:
    """uvicorn, started and stopped by us: signals are the process's business, not its own."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        self._address = settings.http_listen
        proxies = [str(network) for network in settings.trusted_proxies]
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            proxy_headers=bool(proxies),
            forwarded_allow_ips=proxies,
            timeout_graceful_shutdown=10,
            server_header=False,
        )
        self._server = _Server(config)
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


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


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
