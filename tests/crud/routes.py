"""Our crud and adapter behind py_ocpi's routes, over a network with a session and its record in it."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import httpx

from adapters import Adapter
from crud import Crud
from crud.caller import Caller
from crud.cdrs import CdrsCrud
from crud.commands import CommandsCrud
from crud.locations import LocationsCrud
from crud.sessions import SessionsCrud
from crud.tariffs import TariffsCrud
from crud.tokens import TokensCrud
from csms.commands import Answer, Outcome
from csms.database import Database
from csms.journal import Wake
from csms.remote import RemoteControl
from ocpi_bridge.ocpi_app import create_ocpi_app
from tests.adapters.rows import NOON, charge_record, cost, each, periods, tariff, transaction
from tests.crud.network import add, partners, site

SESSION = "5f0f8a2e-7c1b-4a55-9d0e-2b6f1f3c9a10"
OURS = "http://cpo.example/cpo"


def crud_over(database: Database) -> dict[str, Any]:
    """By module; chargers say yes, and partners' addresses are allowed."""
    add(database, *partners())
    site(database)
    add(database, tariff(), transaction(SESSION, tariff=1), charge_record(SESSION, tariff=1))

    async def send(command: Any, *, timeout_s: float) -> Any:
        return Answer(outcome=Outcome.ACCEPTED)

    async def allowed(url: str) -> bool:
        return True

    remote = RemoteControl(database, send=send, wake=Wake(), clock=lambda: NOON)
    return {
        "locations": LocationsCrud(database),
        "sessions": SessionsCrud(database, each(lambda row: (periods(4_000_000, 1), cost()))),
        "cdrs": CdrsCrud(database),
        "tariffs": TariffsCrud(database),
        "tokens": TokensCrud(database, clock=lambda: NOON),
        "commands": CommandsCrud(database, remote, url_allowed=allowed, clock=lambda: NOON),
    }


class Directory:
    def __init__(self, callers: Mapping[str, Caller], *, encoded: bool) -> None:
        self._callers = callers
        self._encoded = encoded

    async def caller(self, presented: Any, working: bool) -> Caller | None:
        known = (each for each in presented if each.token in self._callers and (self._encoded or not each.is_raw))
        return next((self._callers[each.token] for each in known), None)


@asynccontextmanager
async def routes_over(modules: dict[str, Any], directory: Directory) -> AsyncIterator[httpx.AsyncClient]:
    app = create_ocpi_app(
        crud=Crud(modules),
        adapter=Adapter(),
        partners=directory,
        credentials=None,
        public_url="https://cpo.example",
        our_parties={("BE", "BEC")},
        clock=lambda: NOON,
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=OURS) as client:
        yield client


async def data(answer: httpx.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    envelope = json.loads(answer.text, parse_float=Decimal)
    assert envelope["status_code"] == 1000, answer.text
    return envelope.get("data")
