"""A database with partners in it, a clock that only the test moves, and the small network of the adapters' tests."""

import asyncio
import contextlib
import functools
import itertools
import secrets
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from crud.cdrs import CdrsCrud
from crud.current import CurrentState
from crud.locations import LocationsCrud
from crud.models import Delivery
from crud.partners import PartnerRecord, Partners, Terms
from crud.sessions import SessionsCrud
from crud.tariffs import TariffsCrud
from csms.database import Database
from csms.events import ConnectorStatus
from csms.journal import Fact, FactType, Subscriber, Wake, append
from csms.models import Base, Evse, Location, Tariff, Transaction
from csms.sealing import Vault
from ocpi_bridge.delivery import Deliveries
from ocpi_bridge.emsp_client import EmspClient
from ocpi_bridge.emsp_simulator import EmspSimulator
from ocpi_bridge.health import Health
from ocpi_bridge.outbound import Guarded, OutboundPolicy
from ocpi_bridge.push import CONCERNS_SOMEBODY, Push
from tests.adapters import rows

NOON = rows.NOON
PARTY = ("DE", "TNM")  # of the eMSP whose card the rows' transaction carries
SESSION = "5f0f8a2e-7c1b-4a55-9d0e-2b6f1f3c9a10"
RECORD = "0b9c7d3e-1111-4222-8333-444455556666"
CALL_LIMIT_S = 5.0  # this machine may be busy
SHORT_S = 0.3  # for partners that never answer

T = TypeVar("T")


@functools.cache
def vault() -> Vault:
    return Vault("a key for tests")


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **delta: float) -> datetime:
        self.now += timedelta(**delta)
        return self.now


class World:
    def __init__(self, database: Database, *, call_limit_s: float = CALL_LIMIT_S) -> None:
        self.database = database
        self.clock = Clock()
        self.wake = Wake()
        self.partners = Partners(database, vault(), clock=self.clock)
        self.guarded = Guarded(OutboundPolicy(["127.0.0.0/8"]), timeout_s=call_limit_s)
        self.health = Health(clock=self.clock, chance=lambda: 0.5)
        self.client = EmspClient(self.guarded, clock=self.clock, retry_wait_s=0.01, heard=self.health.heard)
        self._push = Subscriber(
            "ocpi_push", database, Push(clock=self.clock).handle, wake=self.wake, only=CONCERNS_SOMEBODY
        )
        self.render = CurrentState(
            locations=LocationsCrud(database),
            sessions=SessionsCrud(database, rows.each(self._price)),
            cdrs=CdrsCrud(database),
            tariffs=TariffsCrud(database),
        )
        self._versions = itertools.count(2)

    # ---- partners ---------------------------------------------------------------------------------------------------

    def trust(self, emsp: EmspSimulator, name: str = "emsp", *, without: tuple[str, ...] = ()) -> int:
        """As if `emsp` had registered; `without` names modules that its version details do not list."""
        token, role = secrets.token_urlsafe(24), dict(zip(("country_code", "party_id"), emsp.party, strict=True))
        emsp.trust(token, ("BE", "BEC"))
        endpoints = [
            {"identifier": module, "role": role_, "url": url}
            for (module, role_), url in emsp.endpoints.items()
            if module not in without
        ]
        terms = Terms(
            token=token,
            versions_url=emsp.versions_url,
            version=emsp.version,
            roles=[{"role": "EMSP", **role, "business_details": {"name": name}}],
            endpoints=endpoints,
        )
        with self.database.write() as connection:
            invitation = self.partners.invite(connection, name, ("BE", "BEC"), self.clock())
            partner = self.partners.named(connection, name)
            assert self.partners.complete(
                connection, partner.id, expecting=invitation, token_in=f"C-{name}", terms=terms, now=self.clock()
            )
        return partner.id

    def partner(self, name: str = "emsp") -> PartnerRecord:
        with self.database.read() as connection:
            return self.partners.named(connection, name)

    # ---- the network ------------------------------------------------------------------------------------------------

    def keep(self, *entries: Base) -> None:
        """In the order given, so that what is referred to is there."""
        with self.database.write() as connection, Session(connection) as session:
            for entry in entries:
                session.add(entry)
                session.flush()

    def site(self, *, evses: int = 1) -> None:
        self.keep(rows.tariff(), rows.station(), rows.location())
        for number in range(1, evses + 1):
            self.keep(rows.evse(number), rows.connector(number))

    def status(self, status: ConnectorStatus, evse: int = 1) -> None:
        """The charger says so, and the journal knows."""
        at = self.clock()
        self.change(Evse, Evse.id == evse, status=status.value, status_at=at, last_updated=at)
        self.change(Location, Location.id == 1, last_updated=at)
        self.happened(FactType.EVSE_STATUS, str(evse))

    def session(self, owner_id: int, id: str = SESSION, **changes: Any) -> None:
        self.keep(rows.transaction(id, owner_id=owner_id, **{"number": next(self._versions), **changes}))
        self.happened(FactType.TRANSACTION_STARTED, id)

    def progress(self, id: str = SESSION, *, fact: FactType = FactType.TRANSACTION_SAMPLED, **changes: Any) -> None:
        self.change(Transaction, Transaction.id == id, last_updated=self.clock(), **changes)
        self.happened(fact, id)

    def end(self, id: str = SESSION, **changes: Any) -> None:
        values = {"state": "ended", "ended_at": self.clock(), **changes}
        self.progress(id, fact=FactType.TRANSACTION_ENDED, **values)

    def bill(self, owner_id: int, id: str = RECORD, transaction_id: str = SESSION, **changes: Any) -> None:
        self.keep(rows.charge_record(transaction_id, id=id, owner_id=owner_id, **changes))
        self.happened(FactType.CHARGE_RECORD_ISSUED, id)

    def new_tariff_version(self, **changes: Any) -> int:
        """Returns the row of the new version, which is in force now."""
        number = next(self._versions)
        self.change(Tariff, Tariff.current, current=False)
        self.keep(rows.tariff(id=number, version=number, last_updated=self.clock(), **changes))
        self.happened(FactType.TARIFF_CHANGED, str(number))
        return number

    def change(self, table: Any, which: Any, **values: Any) -> None:
        with self.database.write() as connection:
            connection.execute(update(table).where(which).values(**values))

    def happened(self, type: FactType, *subjects: str) -> None:
        """The fact is in the journal, and push has read it."""
        with self.database.write() as connection:
            append(connection, [Fact(type=type, subject=subject) for subject in subjects], now=self.clock())
        self.heard()

    def heard(self) -> None:
        """Push has read all that the journal knows."""
        while self._push.catch_up():
            pass

    def _price(self, transaction: Any) -> Any:
        """A period for each kWh, the last one still growing."""
        whole = [1_000_000] * (transaction.energy_mwh // 1_000_000)
        return rows.periods(*whole, transaction.energy_mwh % 1_000_000), rows.cost()

    # ---- deliveries -------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def delivering(self, render: Any = None) -> AsyncIterator[Deliveries]:
        deliveries = Deliveries(
            self.database,
            self.client,
            self.partners,
            render or self.render.together,
            wake=self.wake,
            clock=self.clock,
            poll_s=0.05,
            chance=lambda: 0.5,
            health=self.health,
        )
        async with running(deliveries.run()):
            yield deliveries

    def delivery(self, module: str, object_id: str, partner_id: int | None = None) -> Any:
        """The row, or None."""
        query = select(Delivery.__table__).where(Delivery.module == module, Delivery.object_id == object_id)
        if partner_id is not None:
            query = query.where(Delivery.partner_id == partner_id)
        with self.database.read() as connection:
            return connection.execute(query).one_or_none()

    def failed(self, module: str, object_id: str) -> Any:
        """Its row, once an attempt at it has failed; None before."""
        row = self.delivery(module, object_id)
        return row if row is not None and row.last_error is not None else None

    def deliveries(self) -> set[tuple[int, str, str]]:
        with self.database.read() as connection:
            query = select(Delivery.partner_id, Delivery.module, Delivery.object_id)
            return {(row[0], row[1], row[2]) for row in connection.execute(query)}

    def due(self) -> list[tuple[str, str]]:
        with self.database.read() as connection:
            query = select(Delivery.module, Delivery.object_id).where(
                Delivery.wanted > Delivery.told, Delivery.stopped.is_(None)
            )
            return [(row[0], row[1]) for row in connection.execute(query)]

    async def all_told(self, *, pass_time: bool = False) -> None:
        """Until no partner is behind; with `pass_time` hours go by, so that every failed attempt is repeated."""

        def nothing_due() -> bool:
            if pass_time:
                self.clock.advance(seconds=5)
            return not self.due()

        await until(nothing_due)

    async def told(self, module: str, object_id: str) -> Any:
        """Its row, once the partner is up to date."""

        def up_to_date() -> Any:
            row = self.delivery(module, object_id)
            return row if row is not None and row.wanted == row.told else None

        return await until(up_to_date)


@contextlib.asynccontextmanager
async def world_of(database: Database, **options: Any) -> AsyncIterator[World]:
    world = World(database, **options)
    try:
        yield world
    finally:
        await world.guarded.aclose()


@contextlib.asynccontextmanager
async def running(coroutine: Any) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(coroutine)
    try:
        yield task
    finally:
        task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(result, Exception):
            raise RuntimeError("it broke while the test ran") from result


async def until(predicate: Callable[[], T], timeout_s: float = 30.0) -> T:
    """The first true value of `predicate`; for what only the database knows."""
    async with asyncio.timeout(timeout_s):
        while not (value := predicate()):  # noqa: ASYNC110 (a commit sets no event)
            await asyncio.sleep(0.01)
        return value
