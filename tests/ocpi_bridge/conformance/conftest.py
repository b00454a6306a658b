"""The OCPI surface over real HTTP, with a crud, an adapter and a partner directory that live in memory."""

import base64
import copy
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from crud.caller import Caller, Refusal, current_caller, current_request
from ocpi_bridge.ocpi_app import create_ocpi_app

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
PUBLIC_URL = "https://cpo.example"
TOKEN_A, TOKEN_C, TOKEN_RAW, TOKEN_HUB = "token-a", "token-c", "raw-token_1", "token-hub"

EMSP = Caller(partner_id=1, name="emsp", token_state="C", our_party=("BE", "BEC"), roles=(("NL", "TNM", "EMSP"),))
CALLERS = {
    TOKEN_C: EMSP,
    TOKEN_A: replace(EMSP, partner_id=2, name="invited", token_state="A", roles=()),
    TOKEN_RAW: replace(EMSP, partner_id=3, name="old", accept_raw_token=True),
    TOKEN_HUB: replace(EMSP, partner_id=4, name="hub", roles=(("DE", "HUB", "HUB"),)),
}
TOKEN = {
    "country_code": "NL",
    "party_id": "TNM",
    "uid": "012345678",
    "type": "RFID",
    "contract_id": "NL8ACC12E46L89",
    "issuer": "TheNewMotion",
    "valid": True,
    "whitelist": "ALWAYS",
    "last_updated": "2015-06-29T22:39:09Z",
}
LOCATION = {
    "country_code": "BE",
    "party_id": "BEC",
    "id": "LOC1",
    "name": None,
    "evses": [
        {"uid": "DE*ABC*E1", "status": "AVAILABLE", "connectors": [{"id": "1", "tariff_ids": None}, {"id": "b/2"}]},
    ],
    "last_updated": "2015-06-29T20:39:09Z",
}
OBJECTS = ("locations", "sessions", "cdrs", "tariffs")


class Directory:
    def __init__(self) -> None:
        self.asked = 0
        self.down = False

    async def caller(self, presented: Any, _working: bool, /) -> Caller | None:
        self.asked += 1
        if self.down:
            raise ConnectionError("no database")
        for reading in presented:
            found = CALLERS.get(reading.token)
            if found is not None and (found.accept_raw_token or not reading.is_raw):
                return found
        return None


class MemoryCrud:
    """py_ocpi's verbs on dictionaries; `calls` is what it was asked, `seen` who asked and what they sent."""

    def __init__(self) -> None:
        self.objects: dict[str, list[Any]] = {name: [] for name in OBJECTS}
        self.tokens: dict[tuple[str, ...], dict[str, Any]] = {}
        self.calls: list[tuple[str, str, Any, dict[str, Any]]] = []
        self.seen: list[tuple[Caller, Any]] = []
        self.failure: Exception | None = None
        self.command_response: Any = {"result": "ACCEPTED", "timeout": 30}

    def note(self, verb: str, module: Any, subject: Any, options: dict[str, Any]) -> None:
        self.calls.append((verb, getattr(module, "value", module), subject, options))
        self.seen.append((current_caller.get(), current_request.get()))
        if self.failure is not None:
            raise self.failure

    @staticmethod
    def key(uid: str, options: dict[str, Any]) -> tuple[str, ...]:
        parts = (options["country_code"], options["party_id"], uid, options["token_type"].value)
        return tuple(part.casefold() for part in parts)

    async def get(self, module: Any, role: Any, id: Any, /, **options: Any) -> Any:
        self.note("get", module, id, options)
        if module.value == "tokens":
            return self.tokens.get(self.key(id, options))
        return next((each for each in self.objects[module.value] if each["id"].casefold() == id.casefold()), None)

    async def list(self, module: Any, role: Any, filters: dict[str, Any], /, **options: Any) -> Any:
        self.note("list", module, filters, options)
        found = self.objects[module.value]
        page = found[filters["offset"] : filters["offset"] + filters["limit"]]
        return page, len(found), filters["offset"] + len(page) >= len(found)

    async def create(self, module: Any, role: Any, data: dict[str, Any], /, **options: Any) -> Any:
        self.note("create", module, data, options)
        self.tokens[self.key(data["uid"], options)] = data
        return data

    async def update(self, module: Any, role: Any, data: dict[str, Any], id: Any, /, **options: Any) -> Any:
        self.note("update", module, data, options)
        self.tokens[self.key(id, options)] = data
        return data

    async def delete(self, module: Any, role: Any, id: Any, /, **options: Any) -> Any:
        raise AssertionError("nothing is deleted through these routes")

    async def do(self, module: Any, role: Any, action: Any, data: dict[str, Any], /, **options: Any) -> Any:
        self.note("do", module, data, options)
        return self.command_response


class Identity:
    """The objects are in OCPI's shape already."""

    def location_adapter(self, data: Any, version: Any) -> Any:
        return data

    session_adapter = cdr_adapter = tariff_adapter = token_adapter = command_response_adapter = location_adapter


class Credentials:
    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.versions: list[str] = []
        self.roles: list[dict[str, Any]] = []
        self.failure: Exception | None = None

    def answer(self, *call: Any) -> dict[str, Any]:
        self.calls.append(call)
        if self.failure is not None:
            raise self.failure
        return {"token": "fresh", "url": f"{PUBLIC_URL}/ocpi/versions", "roles": self.roles, "secret": None}

    async def get(self, caller: Caller, /) -> dict[str, Any]:
        return self.answer("get", caller.name)

    async def register(self, caller: Caller, body: dict[str, Any], version: str, /) -> dict[str, Any]:
        self.versions.append(version)
        return self.answer("register", caller.name, body)

    async def update(self, caller: Caller, body: dict[str, Any], version: str, /) -> dict[str, Any]:
        return self.answer("update", caller.name, body)

    async def delete(self, caller: Caller, /) -> None:
        self.answer("delete", caller.name)


class World:
    """All that stands behind the surface, fresh for each test."""

    crud: MemoryCrud
    directory: Directory
    credentials: Credentials

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.crud, self.directory, self.credentials = MemoryCrud(), Directory(), Credentials()


class Live:
    """Passes each attribute on to what the world holds now, so that one server serves all tests."""

    def __init__(self, world: World, part: str) -> None:
        self._world, self._part = world, part

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: getattr(getattr(self._world, self._part), name)(*args, **kwargs)


def authorization(token: str) -> dict[str, str]:
    return {"Authorization": "Token " + base64.b64encode(token.encode()).decode()}


@pytest.fixture(scope="session")
def served() -> Iterator[tuple[World, str]]:
    world = World()
    app = create_ocpi_app(
        crud=Live(world, "crud"),  # type: ignore[arg-type]
        adapter=Identity(),
        partners=Live(world, "directory"),  # type: ignore[arg-type]
        credentials=Live(world, "credentials"),  # type: ignore[arg-type]
        public_url=PUBLIC_URL + "/",
        our_parties=[("BE", "BEC"), ("DE", "BEC")],
        clock=lambda: NOW,
    )
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        Starlette(routes=[Mount("/ocpi", app)]), log_level="error", log_config=None, lifespan="off", ws="none"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    yield world, f"http://127.0.0.1:{listener.getsockname()[1]}/ocpi"
    server.should_exit = True
    thread.join(timeout=20)
    listener.close()


@pytest.fixture
def world(served: tuple[World, str]) -> Iterator[World]:
    """After the test no request may have failed behind the answer that the client saw."""
    errors: list[logging.LogRecord] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = errors.append  # type: ignore[method-assign]
    logging.getLogger("uvicorn.error").addHandler(handler)
    served[0].reset()
    yield served[0]
    logging.getLogger("uvicorn.error").removeHandler(handler)
    assert [error.getMessage() for error in errors] == []


@pytest.fixture
def anonymous(served: tuple[World, str], world: World) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served[1], timeout=20, trust_env=False) as client:
        yield client


@pytest.fixture
def partner(anonymous: httpx.Client) -> httpx.Client:
    """The eMSP NL-TNM with its token C."""
    anonymous.headers.update(authorization(TOKEN_C))
    return anonymous


@pytest.fixture
def invited(anonymous: httpx.Client) -> httpx.Client:
    """A partner that holds token A."""
    anonymous.headers.update(authorization(TOKEN_A))
    return anonymous


@pytest.fixture
def hub(anonymous: httpx.Client) -> httpx.Client:
    anonymous.headers.update(authorization(TOKEN_HUB))
    return anonymous


@pytest.fixture
def token() -> dict[str, Any]:
    return dict(TOKEN)


@pytest.fixture
def token_json() -> bytes:
    return json.dumps(TOKEN).encode()


@pytest.fixture
def location() -> dict[str, Any]:
    return copy.deepcopy(LOCATION)


@pytest.fixture
def refusal() -> type[Refusal]:
    return Refusal
