"""Our own OCPI surface over real HTTP with a whole charge behind it, and a middleman that spoils one thing in its answers."""

import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import Message, Receive, Scope, Send

from adapters import Adapter
from crud import Crud
from crud.cdrs import CdrsCrud
from crud.locations import LocationsCrud
from crud.sessions import SessionsCrud
from crud.tariffs import TariffsCrud
from crud.tokens import TokensCrud
from ocpi_bridge.checker import Limits, Report, check
from ocpi_bridge.emsp_simulator import EmspSimulator
from ocpi_bridge.ocpi_app import create_ocpi_app
from ocpi_bridge.registration import Registration
from tests.adapters import rows
from tests.ocpi_bridge.our_door import OUR_ROLES, served
from tests.ocpi_bridge.roaming_world import NOON, PARTY, World

TOKEN = "C-emsp"  # what World.trust makes the partner's token
LIMITS = Limits(timeout_s=5.0, total_s=60.0)


@dataclass(kw_only=True)
class Spoiler:
    """What the middleman does; nothing of it to begin with. `ask` may change the query, `answer` the whole answer."""

    ask: Callable[[str, dict[str, str]], None] | None = None
    answer: Callable[["Told"], None] | None = None
    seen: list[tuple[str, str]] = field(default_factory=list)


@dataclass(kw_only=True)
class Told:
    """An answer on its way: `body` is its JSON; `headers` by their names in lower case."""

    path: str
    query: dict[str, str]
    authorized: bool
    status: int
    headers: dict[str, str]
    body: Any

    @property
    def data(self) -> Any:
        return self.body.get("data") if isinstance(self.body, dict) else None

    def lists(self, module: str) -> bool:
        return self.path.endswith(f"/{module}") and isinstance(self.data, list)


class Middleman:
    def __init__(self, app: Any, spoiler: Spoiler) -> None:
        self._app = app
        self._spoiler = spoiler
        self._answers: dict[Any, list[Message]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = dict(parse_qsl(scope["query_string"].decode()))
        self._spoiler.seen.append((scope["method"], scope["path"]))
        asked = dict(query)
        if self._spoiler.ask is not None:
            self._spoiler.ask(scope["path"], query)
        messages = await self._once(scope, urlencode(query).encode(), receive)
        told = Told(
            path=scope["path"],
            query=asked,
            authorized=messages[0]["status"] != 401,
            status=messages[0]["status"],
            headers={
                n.decode().lower(): v.decode() for n, v in messages[0]["headers"] if n.lower() != b"content-length"
            },
            body=_read(b"".join(m.get("body", b"") for m in messages[1:])),
        )
        sent = {n.decode().lower(): v.decode() for n, v in scope["headers"]}
        told.headers |= {name: sent[name] for name in ("x-request-id", "x-correlation-id") if name in told.headers}
        if self._spoiler.answer is not None:
            self._spoiler.answer(told)
        content = json.dumps(told.body).encode() if not isinstance(told.body, str) else told.body.encode()
        headers = [(n.encode(), v.encode()) for n, v in told.headers.items()]
        headers.append((b"content-length", str(len(content)).encode()))
        await send({"type": "http.response.start", "status": told.status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _once(self, scope: Scope, query: bytes, receive: Receive) -> list[Message]:
        """Our answer, asked for once: nothing changes between the checks of a test."""
        headers = {name: value for name, value in scope["headers"] if name.startswith((b"ocpi-", b"authorization"))}
        key = (scope["path"], query, *sorted(headers.items()))
        if key not in self._answers:
            messages: list[Message] = []

            async def keep(message: Message) -> None:
                messages.append(message)

            await self._app({**scope, "query_string": query}, receive, keep)
            self._answers[key] = messages
        return self._answers[key]


def _read(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode()


@contextlib.asynccontextmanager
async def our_surface(world: World, spoiler: Spoiler) -> AsyncIterator[str]:
    """Its versions URL. One partner is registered, with two sessions and their bills."""
    async with EmspSimulator(party=PARTY) as emsp:
        partner = world.trust(emsp)
    charge(world, partner)
    listener = socket.socket(proto=socket.IPPROTO_TCP)  # named: only then asyncio does not wait 40 ms with each answer
    listener.bind(("127.0.0.1", 0))
    public_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    app = create_ocpi_app(
        crud=Crud(
            {
                "locations": LocationsCrud(world.database),
                "sessions": SessionsCrud(world.database, rows.each(_price)),
                "cdrs": CdrsCrud(world.database),
                "tariffs": TariffsCrud(world.database),
                "tokens": TokensCrud(world.database, clock=world.clock),
            }
        ),
        adapter=Adapter(),
        partners=world.partners,
        credentials=Registration(
            world.database,
            world.partners,
            world.client,
            public_url=public_url,
            our_roles=OUR_ROLES,
            clock=world.clock,
        ),
        public_url=public_url,
        our_parties={("BE", "BEC")},
        clock=world.clock,
    )
    async with served(Middleman(Starlette(routes=[Mount("/ocpi", app)]), spoiler), listener):
        yield f"{public_url}/ocpi/versions"


def charge(world: World, partner: int) -> None:
    world.site(evses=2)
    world.keep(
        rows.location(id=2, location_id="LOC2", location_key="loc2", last_updated=NOON + timedelta(minutes=5)),
        rows.tariff(id=50, tariff_id="night", tariff_key="night", last_updated=NOON + timedelta(minutes=5)),
    )
    for number, (session, record) in enumerate((("s-first", "r-first"), ("s-second", "r-second"))):
        ended = NOON + timedelta(hours=number + 1)
        world.session(partner, session, state="ended", energy_mwh=3_200_000, ended_at=ended, last_updated=ended)
        world.bill(partner, record, session, created_at=ended)


def _price(transaction: Any) -> Any:
    return rows.periods(transaction.energy_mwh), rows.cost()


async def checked(world: World, url: str, token: str = TOKEN, **options: Any) -> Report:
    return await check(world.guarded, url, token, **{"party": PARTY, "limits": LIMITS, **options})


def ids(report: Report) -> set[str]:
    """Of what is a deviation, or a remark other than that we test over plain http."""
    return {finding.id for finding in report.findings() if finding.id != "TR-01"}


def shown(report: Report) -> str:
    return "\n".join(map(str, report.findings()))


__all__ = ["LIMITS", "TOKEN", "Decimal", "Spoiler", "Told", "checked", "ids", "our_surface", "shown"]
