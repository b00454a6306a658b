"""What was built, in the order in which it is built: each step stands alone, between our service and our simulator (C11)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select

from csms import configuration, resets, stations
from csms.commands import StartRemotely, StopRemotely
from csms.database import Database
from csms.models import ActualSetting, RemoteRequest, Station, StationBoot, Transaction
from csms.simulator.charge_point import ChargePoint
from csms.simulator.profile import Profile
from csms.tokens import TokenRecord, put
from ocpi_bridge.roles.serve import Service
from ocpi_bridge.settings import load

LIMIT_S = 30
PASSWORD = "a-charger-key-of-the-tests"
CARD = "04A1B2C3D4"


@pytest.fixture
async def charger(
    cli: Callable[..., Any], environment: Callable[..., None], database: Database
) -> AsyncIterator["Ours"]:
    """A simulated charger at a service of its own; it has not connected yet."""
    environment(OCPP_LISTEN="127.0.0.1:0", HTTP_LISTEN="127.0.0.1:0", PUBLIC_URL="http://127.0.0.1")
    service = Service(load())
    async with asyncio.timeout(LIMIT_S):
        await service.start()
    now = datetime.now(UTC)
    with database.write() as connection:
        stations.provision(connection, "CP1", PASSWORD, now)
        card = TokenRecord(
            country_code="BE",
            party_id="BEC",
            uid=CARD,
            contract_id="BE-BEC-1",
            issuer="us",
            valid=True,
            last_updated=now,
        )
        put(connection, card, now)
    yield Ours(service, database)
    async with asyncio.timeout(LIMIT_S):
        await service.stop()


class Ours:
    def __init__(self, service: Service, database: Database) -> None:
        self.service = service
        self.database = database

    @asynccontextmanager
    async def booted(self) -> AsyncIterator[ChargePoint]:
        url = f"ws://127.0.0.1:{self.service.gateway.port}/ocpp"
        async with ChargePoint(Profile(station_id="CP1", url=url, password=PASSWORD, serial_number="S1")) as simulated:
            await simulated.start()
            yield simulated

    def row(self, model: Any) -> Any:
        with self.database.read() as connection:
            return connection.execute(select(model.__table__)).one()

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not true():  # noqa: ASYNC110 - a database row has no event for us
                await asyncio.sleep(0.02)

    async def asked(self, request_id: str) -> str:
        def state() -> str:
            with self.database.read() as connection:
                query = select(RemoteRequest.state).where(RemoteRequest.id == request_id)
                return str(connection.execute(query).scalar_one())

        await self.until(lambda: state() not in ("queued", "sent"))
        return state()


async def test_01_boot(charger: Ours) -> None:  # C01, C11
    async with charger.booted():
        assert (charger.row(StationBoot).answer, charger.row(Station).boot_epoch) == ("accepted", 1)


async def test_02_heartbeat(charger: Ours) -> None:  # C02, C11
    async with charger.booted() as simulated:
        assert "currentTime" in await simulated.heartbeat()


async def test_03_status(charger: Ours) -> None:  # C03, C11
    async with charger.booted() as simulated:
        await simulated.set_status(1, "Preparing")
        assert charger.row(Station).clock_skew_s is not None  # told live


async def test_04_authorize(charger: Ours) -> None:  # C04, C11
    async with charger.booted() as simulated:
        for uid, status in ((CARD, "Accepted"), ("FFFF", "Invalid")):
            assert (await simulated.authorize(uid))["idTagInfo"]["status"] == status


async def test_05_start(charger: Ours) -> None:  # C05, C11
    async with charger.booted() as simulated:
        await simulated.plug(1)
        started = await simulated.start_transaction(1, CARD)
        await simulated.outbox.drained(timeout_s=LIMIT_S)
        row = charger.row(Transaction)
        assert (row.state, row.number) == ("active", started.transaction_id)


async def test_06_meter_values(charger: Ours) -> None:  # C06, C11
    async with charger.booted() as simulated:
        await simulated.plug(1)
        await simulated.start_transaction(1, CARD)
        await simulated.clock.advance(60)
        await simulated.meter_values(1)
        await simulated.outbox.drained(timeout_s=LIMIT_S)
        assert charger.row(Transaction).sample_count >= 1


async def test_07_stop(charger: Ours) -> None:  # C07, C11
    async with charger.booted() as simulated:
        await simulated.plug(1)
        await simulated.start_transaction(1, CARD)
        await simulated.clock.advance(60)
        await simulated.stop_transaction(1)
        await simulated.outbox.drained(timeout_s=LIMIT_S)
        assert (charger.row(Transaction).state, charger.row(Transaction).cause) == ("ended", "local")


async def test_08_remote_start_and_stop(charger: Ours) -> None:  # C08, C11
    remote = charger.service.csms.remote
    async with charger.booted() as simulated:
        start = StartRemotely(station_id="CP1", id_token=CARD, evse=1)
        assert await charger.asked(await remote.request(start, requested_by="cli:eve", token_id=1)) == "accepted"
        await simulated.plug(1)
        started = await simulated.start_transaction(1, CARD)
        await simulated.outbox.drained(timeout_s=LIMIT_S)
        assert charger.row(RemoteRequest).state == "started"
        stop = StopRemotely(station_id="CP1", transaction_ref=str(started.transaction_id))
        assert await charger.asked(await remote.request(stop, requested_by="cli:eve")) == "accepted"
        await charger.until(lambda: charger.row(Transaction).state == "ended")


async def test_09_configuration(charger: Ours) -> None:  # C09, C11
    now = datetime.now(UTC)
    async with charger.booted() as simulated:
        with charger.database.write() as connection:
            [read] = configuration.read(connection, "CP1", requested_by="cli:eve", now=now)
        assert await charger.asked(read) == "accepted"
        with charger.database.write() as connection:
            assert len(connection.execute(select(ActualSetting.key)).all()) > 10
            wished = configuration.wish(connection, "CP1", "ConnectionTimeOut", "90", wished_by="cli:eve", now=now)
        assert await charger.asked(wished) == "accepted"
        assert simulated.configuration.text("ConnectionTimeOut") == "90"


async def test_10_reset(charger: Ours) -> None:  # C10, C11
    async with charger.booted():
        with charger.database.write() as connection:
            soft = resets.soft(connection, "CP1", requested_by="cli:eve", now=datetime.now(UTC))
        assert await charger.asked(soft) == "accepted"
        await charger.until(lambda: charger.row(Station).boot_epoch == 2)  # it came back
        await charger.until(lambda: charger.row(RemoteRequest).effect == "seen")
