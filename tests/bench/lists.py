"""What a page of a hundred objects costs a partner's GET: through the whole OCPI surface, from a SQLite file, CPU of all
threads."""

import base64
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import uvloop
from sqlalchemy import insert, update

from adapters import Adapter
from crud import Crud
from crud.cdrs import CdrsCrud
from crud.locations import LocationsCrud
from crud.partners import Partners, Terms
from crud.sessions import SessionsCrud
from csms.billing.charge_records import session_prices
from csms.database import Database
from csms.models import Base, Location, MeterSampleRow, Transaction
from csms.schema import migrate
from csms.sealing import Vault
from ocpi_bridge.main import spare_the_collector
from ocpi_bridge.ocpi_app import create_ocpi_app
from tests.adapters import rows
from tests.bench.calibration import Calibration

COUNT = 100
NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
# ms of CPU: unchanged, and all of them changed since they were asked for last.
TARGETS = {"locations": (1.0, 20.0)}
SINCE = "?limit=100&date_from=2020-01-01T00:00:00Z"


ROUNDS = 15


def measured(calibration: Calibration) -> dict[str, tuple[float, float]]:
    """(unchanged, changed) by module, in milliseconds; the best of several rounds. The loop and the collector are those of the
    service."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder, 'lists.db')}"
        migrate(url)
        database = Database(url)
        try:
            return uvloop.run(_each(database, calibration))
        finally:
            database.dispose()


async def _each(database: Database, calibration: Calibration) -> dict[str, tuple[float, float]]:
    ask = _surface(database, _filled(database))
    spare_the_collector()
    found: dict[str, tuple[float, float]] = {}
    for module, table in (("locations", Location), ("sessions", Transaction), ("cdrs", None)):
        assert len(await ask(module)) == COUNT
        unchanged, changed = [], []
        for round in range(ROUNDS):
            calibration.turn()
            unchanged += [await _cost(ask, module, times=3) for _ in range(10)]  # short, to fit between others' work
            if table is not None:
                with database.write() as connection:
                    connection.execute(update(table).values(last_updated=NOW + timedelta(seconds=round + 1)))
                changed.append(await _cost(ask, module, times=1))
        found[module] = (min(unchanged), min(changed, default=float("nan")))
    return found


async def _cost(ask: Callable[[str], Awaitable[Any]], module: str, *, times: int) -> float:
    began = time.process_time()
    for _ in range(times):
        await ask(module)
    return (time.process_time() - began) / times * 1000


def _surface(database: Database, token: str) -> Callable[[str], Awaitable[Any]]:
    nobody: Any = None
    app = create_ocpi_app(
        crud=Crud(
            {
                "locations": LocationsCrud(database),
                "sessions": SessionsCrud(database, session_prices),
                "cdrs": CdrsCrud(database),
            }
        ),
        adapter=Adapter(),
        partners=Partners(database, Vault("a key of the benchmark"), clock=lambda: NOW),
        credentials=nobody,
        public_url="https://cpo.example",
        our_parties=[("BE", "BEC")],
        clock=lambda: NOW,
    )
    header = b"Token " + base64.b64encode(token.encode())

    async def ask(module: str) -> Any:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        path = f"/cpo/2.2.1/{module}"
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": SINCE[1:].encode(),
            "headers": [(b"authorization", header)],
            "client": ("127.0.0.1", 1),
            "server": ("cpo", 80),
        }
        await app(scope, receive, send)
        if sent[0]["status"] != 200:
            raise RuntimeError(sent[1]["body"])
        return Pages(sent[1]["body"])

    return ask


class Pages:
    """A body whose objects are counted when somebody asks, which no measured request does."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __len__(self) -> int:
        return len(orjson.loads(self._body)["data"])


def _filled(database: Database) -> str:
    """A hundred locations of two EVSEs with two connectors each; as many sessions of 90 minutes, and their CDRs."""
    partners = Partners(database, Vault("a key of the benchmark"), clock=lambda: NOW)
    terms = Terms(
        token="out",
        versions_url="https://emsp.example/versions",
        version="2.2.1",
        roles=[{"role": "EMSP", "country_code": "DE", "party_id": "TNM", "business_details": {"name": "emsp"}}],
        endpoints=[],
    )
    with database.write() as connection:
        invitation = partners.invite(connection, "emsp", ("BE", "BEC"), NOW)
        owner = partners.named(connection, "emsp").id
        partners.complete(connection, owner, expecting=invitation, token_in="in", terms=terms, now=NOW)

        def keep(*entries: Base) -> None:
            table = type(entries[0]).__table__
            names = {attribute.key: attribute.columns[0].name for attribute in type(entries[0]).__mapper__.column_attrs}
            for entry in entries:
                values = {names[key]: value for key, value in vars(entry).items() if key in names}
                connection.execute(insert(table).values(values))

        keep(rows.tariff())
        for number in range(1, COUNT + 1):
            name = f"CP{number:03}"
            keep(rows.station(name))
            keep(rows.location(id=number, location_id=f"LOC{number}", location_key=f"loc{number}"))
            for evse in (1, 2):
                row = 2 * number + evse
                uid = f"{name}-{evse}"
                keep(rows.evse(row, location=number, station_id=name, evse=evse, uid=uid, uid_key=uid.lower()))
                keep(rows.connector(row), rows.connector(row, connector_id="2", position=2))
            session = f"session-{number:03}"
            ended = NOW + timedelta(minutes=90)
            keep(
                rows.transaction(
                    session,
                    number=number,
                    owner_id=owner,
                    station_id=name,
                    tariff=1,
                    state="ended",
                    ended_at=ended,
                    ended_received_at=ended,
                    meter_start_mwh=0,
                    energy_mwh=16_500_000,
                )
            )
            keep(*(_sample(session, name, minute) for minute in range(1, 91)))
            keep(rows.charge_record(session, id=f"record-{number:03}", owner_id=owner, tariff=1))
    return "in"


def _sample(session: str, station: str, minute: int) -> MeterSampleRow:
    at = NOW + timedelta(minutes=minute)
    wh = str(minute * 183)
    return MeterSampleRow(
        event_id=f"{session}-{minute}",
        received_at=at,
        station_id=station,
        evse=1,
        transaction_id=session,
        occurred_at=at,
        digest=f"{session}-{minute}",
        energy_mwh=minute * 183_000,
        late=False,
        samples=f'[{{"occurred_at":"{at:%Y-%m-%dT%H:%M:%SZ}","values":[{{"value":"{wh}","unit":"Wh"}}]}}]',
    )
