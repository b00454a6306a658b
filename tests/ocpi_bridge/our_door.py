"""Our OCPI address over real HTTP, with the registration under test behind it; and partners that say one thing only."""

import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from adapters import Adapter
from crud import Crud
from crud.tokens import TokensCrud
from ocpi_bridge.listener import QuietServer
from ocpi_bridge.ocpi_app import create_ocpi_app
from ocpi_bridge.registration import Registration
from tests.ocpi_bridge.roaming_world import World, running, until

OUR_ROLES = [("BE", "BEC", "Operator")]


@contextlib.asynccontextmanager
async def open_door(world: World, **options: Any) -> AsyncIterator[tuple[Registration, str]]:
    """The registration, and the versions URL that reaches it."""
    listener = socket.create_server(("127.0.0.1", 0))
    public_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    registration = Registration(
        world.database,
        world.partners,
        world.client,
        public_url=public_url,
        our_roles=OUR_ROLES,
        clock=world.clock,
        **options,
    )
    app = create_ocpi_app(
        crud=Crud({"tokens": TokensCrud(world.database, clock=world.clock)}),
        adapter=Adapter(),
        partners=world.partners,
        credentials=registration,
        public_url=public_url,
        our_parties={("BE", "BEC")},
        clock=world.clock,
    )
    async with served(Starlette(routes=[Mount("/ocpi", app)]), listener):
        yield registration, f"{public_url}/ocpi/versions"


@contextlib.asynccontextmanager
async def odd_partner(answers: Mapping[str, Any]) -> AsyncIterator[str]:
    """A partner whose paths answer as told, `{base}` standing for its own address: a str is no JSON, else it is `data`."""
    listener = socket.create_server(("127.0.0.1", 0))
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"

    async def answer(request: Request) -> Response:
        told = answers.get(request.url.path)
        if isinstance(told, str):
            return Response(told, media_type="text/html")
        if told is None:
            return JSONResponse({"status_code": 2000, "timestamp": "2026-01-01T00:00:00Z"}, 404)
        return JSONResponse({"status_code": 1000, "data": _here(told, base), "timestamp": "2026-01-01T00:00:00Z"})

    routes = [Route("/{path:path}", answer, methods=["GET", "POST", "PUT", "DELETE"])]
    async with served(Starlette(routes=routes), listener):
        yield base


def _here(value: Any, base: str) -> Any:
    if isinstance(value, dict):
        return {name: _here(entry, base) for name, entry in value.items()}
    if isinstance(value, list):
        return [_here(entry, base) for entry in value]
    return value.replace("{base}", base) if isinstance(value, str) else value


@contextlib.asynccontextmanager
async def served(app: Any, listener: socket.socket) -> AsyncIterator[None]:
    server = QuietServer(
        uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    )
    async with running(server.serve(sockets=[listener])) as task:
        await until(lambda: server.started)
        try:
            yield
        finally:
            server.should_exit = True
            await until(task.done)
