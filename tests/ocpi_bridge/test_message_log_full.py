"""The message log's disk is full: chargers are served as before, and it goes on when there is room again."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from sqlalchemy import func, select, text

from csms import network_file, partitions
from csms.database import Database
from csms.import_network import import_network
from csms.models import Base, ChargeRecord, MeterSampleRow, Transaction
from ocpi_bridge.roles.serve import Service
from ocpi_bridge.settings import load
from tests.conftest import postgres_cluster
from tests.log_disk import LogDisk
from tests.paths.plain_charger import plain_charger
from tests.paths.service import CARD, NETWORK, PARTY, PASSWORD, STATION

LIMIT_S = 60
FULL = 200
UNLIMITED = 1_073_741_823  # pages, as SQLite has it by itself


NoRoom = Callable[[], AbstractContextManager[None]]


@contextmanager
def no_room_for_more(database: Database) -> Iterator[None]:
    """SQLite says what it says when the disk is full: its file may not grow by a page."""

    with closing(sqlite3.connect(str(database.log_engine.url.database))) as unused:
        unused.execute("VACUUM")  # what a migration moved has left room
    with database.write_log() as connection:  # the one that writes
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    try:
        yield
    finally:
        with database.write_log() as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {UNLIMITED}")


async def handled(service: Service, frames: int) -> dict[str, int]:
    """How many rows were written and how many given up, once so many frames are either."""
    async with httpx.AsyncClient(trust_env=False) as client:
        while True:
            lines = (await client.get(f"http://127.0.0.1:{service.web.port}/metrics")).text.splitlines()
            rows = [line for line in lines if line.startswith("roambridge_message_log_rows_total{")]
            found = {line.split('"')[1]: int(float(line.split()[-1])) for line in rows}
            if sum(found.values()) >= frames:
                return found
            await asyncio.sleep(0.05)


async def test_a_full_disk_of_the_message_log_costs_no_charger_anything_on_sqlite(tmp_path: Path) -> None:  # A04
    service = service_on(f"sqlite:///{tmp_path / 'main.db'}", tmp_path)
    async with asyncio.timeout(LIMIT_S):
        await a_charge_beneath(service, lambda: no_room_for_more(service.database))


async def test_a_full_disk_of_the_message_log_costs_no_charger_anything_on_postgresql(tmp_path: Path) -> None:  # A04
    """The log lies where the page says that an operator puts it; months to come lie there too."""
    cluster = postgres_cluster()
    try:
        cluster.start()
        disk = LogDisk(cluster)
        service = service_on(cluster.url, tmp_path)

        @contextmanager
        def no_room() -> Iterator[None]:
            disk.move()
            disk.full()
            try:
                yield
            finally:
                disk.room()

        try:
            async with asyncio.timeout(LIMIT_S):
                await a_charge_beneath(service, no_room)
            assert months_on_the_disk(cluster.url) == {"messages"}
        finally:
            disk.remove()
    finally:
        cluster.remove()


def service_on(database_url: str, folder: Path) -> Service:
    told = {
        "DATABASE_URL": database_url,
        "DATA_DIR": str(folder),
        "OCPP_LISTEN": "127.0.0.1:0",
        "HTTP_LISTEN": "127.0.0.1:0",
        "SECRET_KEY": "a key that only the tests have",
    }
    return Service(load({f"ROAMBRIDGE_{name}": value for name, value in told.items()}, env_file=None))


async def a_charge_beneath(service: Service, no_room: NoRoom) -> None:
    database = service.database
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5)
    await service.start()
    try:
        site = NETWORK + STATION.replace("NAME", "CP1").replace("PASSWORD", PASSWORD)
        site += "tokens:\n" + CARD.replace("NAME", "CARD-1")
        with database.write() as connection:
            import_network(connection, network_file.read(site), default_party=PARTY, operator_name="Example", now=at)
        async with plain_charger(f"ws://127.0.0.1:{service.gateway.port}/ocpp", "CP1") as charger:
            await charger.boot()
            await charger.begin("CARD-1", at=at)
            before = await handled(service, 4)
            assert before["dropped"] == 0
            with no_room():
                for number in range(1, FULL + 1):
                    await charger.meter(number, at=at + timedelta(seconds=number))
                full = await handled(service, sum(before.values()) + 2 * FULL)
                assert full["dropped"] > FULL
            await charger.finish(FULL, at=at + timedelta(seconds=FULL + 1))
            after = await handled(service, sum(full.values()) + 2)
            assert after["written"] > full["written"]
            while count(database, ChargeRecord) == 0:  # noqa: ASYNC110 - a thread commits it
                await asyncio.sleep(0.05)
    finally:
        await service.stop()
    looked = Database(service.settings.database_url)
    try:
        with looked.read() as connection:
            assert connection.execute(select(Transaction.state)).scalars().all() == ["ended"]
        assert (count(looked, MeterSampleRow), count(looked, ChargeRecord)) == (FULL, 1)
    finally:
        looked.dispose()


def count(database: Database, model: type[Base]) -> int:
    with database.read() as connection:
        return connection.execute(select(func.count()).select_from(model)).scalar_one()


def months_on_the_disk(database_url: str) -> set[str]:
    """Of which table the months are that are made now, and lie there with all their indexes."""
    database = Database(database_url)
    try:
        made = partitions.make_ahead(database, datetime.now(UTC) + timedelta(days=62))
        with database.read() as connection:
            query = text(
                "SELECT count(*) FILTER (WHERE spcname = 'message_log'), count(*) FROM pg_class"
                " LEFT JOIN pg_tablespace ON pg_tablespace.oid = reltablespace WHERE pg_class.oid = CAST(:t AS regclass)"
                " OR pg_class.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = CAST(:t AS regclass))"
            )
            found = {month: connection.execute(query, {"t": month}).one() for month in made}
    finally:
        database.dispose()
    assert all(there in (0, of_all) for there, of_all in found.values())
    return {month[: -len("_2026_01")] for month, (there, _) in found.items() if there}
