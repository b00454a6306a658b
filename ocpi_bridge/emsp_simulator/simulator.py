"""A partner that runs: its server in this process, on a socket of its own, from `async with` to the end of it."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Self, cast

import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ocpi_bridge.emsp_simulator.answers import FIXED, Answer, enveloped, misbehave
from ocpi_bridge.emsp_simulator.book import Allow, Fault, Party, Received
from ocpi_bridge.emsp_simulator.cpo import TowardsCpo
from ocpi_bridge.emsp_simulator.judge import CONFIGURATION, ROUTING, VERSION, place
from ocpi_bridge.emsp_simulator.receiving import MODULES, Receivers
from ocpi_bridge.emsp_simulator.rules import read_json

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 1.0
# Called after each request with what was answered: an Answer, or the Fault that was played instead.
Watch = Callable[[Received, Answer | Fault], None]


class EmspSimulator(TowardsCpo):
    """An OCPI 2.2.1 eMSP that records everything, complains like a strict one and misbehaves when told to.

    `async with EmspSimulator() as emsp:` serves `emsp.versions_url`. Either side may register with the other:
    `emsp.register(...)`, or the CPO with `emsp.invite()`. `strict` answers 2001 to what it otherwise only complains of.
    """

    def __init__(
        self,
        party: Party = ("NL", "MSP"),
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        name: str = "Example eMSP",
        strict: bool = False,
        page_limit: int = 50,
        public_url: str | None = None,
        timeout_s: float = 10.0,
        watch: Watch | None = None,
    ) -> None:
        super().__init__(party=party, name=name, strict=strict, page_limit=page_limit, timeout_s=timeout_s)
        self._address = (host, port)
        self._public_url = public_url
        self.watch = watch
        self._receivers = Receivers(self)
        self.closed = asyncio.Event()
        self._server: InProcessServer | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def endpoints(self) -> dict[tuple[str, str], str]:
        """Our own endpoints by (module, role), as the version details list them."""
        return {(module, role): f"{self.base_url}/{VERSION}/{module}" for module, role in MODULES.items()}

    async def __aenter__(self) -> Self:
        listener = _listen(*self._address)
        host, port = listener.getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        self.base_url = (self._public_url or f"http://{host}:{port}").rstrip("/")
        config = uvicorn.Config(
            self._app,
            interface="asgi3",
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
        )
        self._server = InProcessServer(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]), name="emsp-simulator")
        ready = asyncio.ensure_future(self._server.ready.wait())
        await asyncio.wait([ready, self._serving], timeout=START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            ready.cancel()
            await self.__aexit__()
            raise RuntimeError("the simulated eMSP did not start")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.closed.set()
        if self._server is not None and self._serving is not None:
            self._server.stop.set()
            await self._serving
        await self._http.aclose()

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        raw = await request.body()
        try:
            body, odd = read_json(raw) if raw else (None, [])
        except ValueError:
            body, odd = None, ["the body is not JSON (TR-18)"]
        received = Received(
            at=datetime.now(UTC),
            method=request.method,
            path=scope["raw_path"].decode("ascii"),
            query=scope["query_string"].decode("ascii"),
            headers=dict(request.headers),
            body=body,
            raw=raw,
        )
        self.requests.append(received)
        module, path = place(received.path)
        fault = self.take_fault(received.method, "/".join((module, *path)))
        try:
            if fault in FIXED:
                status, headers, content = FIXED[fault]
                await Response(content, status, headers)(scope, receive, send)
                self._told(received, fault)
            elif fault in (None, Fault.LOST_ANSWER, Fault.MISSING_LOCATION_HEADER) and not self._hangs(module, path):
                self.complain(f"{received.method} {received.path}", *odd)
                await self._reply(received, fault, scope, receive, send)
            else:
                self._told(received, fault or Fault.HANG)
                played = fault or Fault.HANG
                await misbehave(played, receive, send, closing=self.closed, abort=lambda: self._abort(scope))
        finally:
            self.changed()

    def _hangs(self, module: str, path: tuple[str, ...]) -> bool:
        return (
            module == "tokens" and len(path) == 2 and self._receivers.authorization_for(path[0]).allowed is Allow.HANG
        )

    async def _reply(self, received: Received, fault: Fault | None, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._receivers.answer(received)
        response = enveloped(answer, self._echoed(received))
        if fault is Fault.MISSING_LOCATION_HEADER and "location" in response.headers:
            del response.headers["location"]
        self._told(received, fault or answer)
        if fault is Fault.LOST_ANSWER:
            await misbehave(Fault.DISCONNECT, receive, send, closing=self.closed, abort=lambda: self._abort(scope))
        else:
            await response(scope, receive, send)

    def _echoed(self, received: Received) -> dict[str, str]:
        """The ids as they came (ID-01, ID-02), and the routing headers the other way round (RT-03)."""
        headers = {n: received.headers[n] for n in ("x-request-id", "x-correlation-id") if n in received.headers}
        if place(received.path)[0] not in CONFIGURATION:
            for name in ROUTING:
                opposite = name.replace("to-", "from-") if name.startswith("to-") else name.replace("from-", "to-")
                if f"ocpi-{opposite}" in received.headers:
                    headers[f"ocpi-{name}"] = received.headers[f"ocpi-{opposite}"]
        return headers

    def _told(self, received: Received, answer: Answer | Fault) -> None:
        if self.watch is not None:
            self.watch(received, answer)

    def _abort(self, scope: Scope) -> None:
        """Cuts the request's TCP connection; ASGI itself has no word for it."""
        assert self._server is not None
        for connection in self._server.server_state.connections:
            protocol = cast(Any, connection)
            if protocol.client is not None and tuple(protocol.client) == tuple(scope["client"]):
                protocol.transport.abort()


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

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
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
        for listener in self.servers:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if self.server_state.tasks:
            await asyncio.wait(list(self.server_state.tasks), timeout=STOP_TIMEOUT_S)
        for connection in list(self.server_state.connections):
            cast(Any, connection).transport.abort()
