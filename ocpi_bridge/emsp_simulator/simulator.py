"""A partner that runs: its server in this process, on a socket of its own, from `async with` to the end of it."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Self, cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ocpi_bridge.emsp_simulator.answers import FIXED, Answer, enveloped, misbehave
from ocpi_bridge.emsp_simulator.book import Allow, Fault, Party, Received
from ocpi_bridge.emsp_simulator.cpo import TowardsCpo
from ocpi_bridge.emsp_simulator.judge import CONFIGURATION, ROUTING, VERSIONS, place
from ocpi_bridge.emsp_simulator.receiving import MODULES, MODULES_211, Receivers
from ocpi_bridge.emsp_simulator.rules import read_json
from ocpi_bridge.emsp_simulator.serving import InProcessServer, serving

# Called after each request with what was answered: an Answer, or the Fault that was played instead.
Watch = Callable[[Received, Answer | Fault], None]

# Faults of a partner that does what it was asked, and what it plays instead of the answer.
AFTERWARDS = {Fault.LOST_ANSWER: Fault.DISCONNECT, Fault.WITHHELD: Fault.HANG}
ACTING = (None, Fault.SLOW, Fault.MISSING_LOCATION_HEADER, *AFTERWARDS)


class EmspSimulator(TowardsCpo):
    """An OCPI 2.2.1 or 2.1.1 eMSP that records everything, complains like a strict one and misbehaves when told to.

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
        version: str = VERSIONS[0],
    ) -> None:
        super().__init__(
            party=party, name=name, strict=strict, page_limit=page_limit, version=version, timeout_s=timeout_s
        )
        self._address = (host, port)
        self._public_url = public_url
        self.watch = watch
        self._receivers = Receivers(self)
        self.closed = asyncio.Event()
        self._served = contextlib.AsyncExitStack()
        self._server: InProcessServer | None = None

    @property
    def endpoints(self) -> dict[tuple[str, str], str]:
        """Our own endpoints by (module, role), as the version details list them."""
        modules = MODULES_211 if self.is_211 else MODULES
        return {(module, role): f"{self.root}/{module}" for module, role in modules.items()}

    async def __aenter__(self) -> Self:
        self._server = await self._served.enter_async_context(serving(self._app, *self._address))
        self.base_url = (self._public_url or self._server.url).rstrip("/")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.closed.set()
        await self._served.aclose()
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
            elif fault in ACTING and not self._hangs(module, path):
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
        self.changed()  # the deed is done, whenever its answer leaves
        if fault in AFTERWARDS:
            await misbehave(AFTERWARDS[fault], receive, send, closing=self.closed, abort=lambda: self._abort(scope))
            return
        if fault is Fault.SLOW:
            await asyncio.sleep(self.slow_s)
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
