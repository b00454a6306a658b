"""The message log's disk is full: chargers are served as before, and it goes on when there is room again."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from sqlalchemy import func, select

from csms import network_file
from csms.database import Database
from csms.import_network import import_network
from csms.models import MeterSampleRow, Transaction
from ocpi_bridge.roles.serve import Service
from ocpi_bridge.settings import load
from tests.paths.plain_charger import plain_charger
from tests.paths.service import CARD, NETWORK, PARTY, PASSWORD, STATION

LIMIT_S = 60
FULL = 200
UNLIMITED = 1_073_741_823  # pages, as SQLite has it by itself


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


async def test_a_full_disk_of_the_message_log_costs_no_charger_anything(tmp_path: Path) -> None:  # A04
    told = {
        "DATABASE_URL": f"sqlite:///{tmp_path / 'main.db'}",
        "DATA_DIR": str(tmp_path),
        "OCPP_LISTEN": "127.0.0.1:0",
        "HTTP_LISTEN": "127.0.0.1:0",
        "SECRET_KEY": "a key that only the tests have",
    }
    service = Service(load({f"ROAMBRIDGE_{name}": value for name, value in told.items()}, env_file=None))
    database = service.database
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    async with asyncio.timeout(LIMIT_S):
        await service.start()
        try:
            text = NETWORK + STATION.replace("NAME", "CP1").replace("PASSWORD", PASSWORD)
            text += "tokens:\n" + CARD.replace("NAME", "CARD-1")
            with database.write() as connection:
                import_network(
                    connection, network_file.read(text), default_party=PARTY, operator_name="Example", now=at
                )
            async with plain_charger(f"ws://127.0.0.1:{service.gateway.port}/ocpp", "CP1") as charger:
                await charger.boot()
                await charger.begin("CARD-1", at=at)
                before = await handled(service, 4)
                assert before["dropped"] == 0
                with no_room_for_more(database):
                    for number in range(1, FULL + 1):
                        await charger.meter(number, at=at + timedelta(seconds=number))
                    full = await handled(service, sum(before.values()) + 2 * FULL)
                    assert full["dropped"] > FULL
                await charger.finish(FULL, at=at + timedelta(seconds=FULL + 1))
                after = await handled(service, sum(full.values()) + 2)
                assert after["written"] > full["written"]
        finally:
            await service.stop()
    with Database(told["DATABASE_URL"]).read() as connection:
        assert connection.execute(select(Transaction.state)).scalars().all() == ["ended"]
        assert connection.execute(select(func.count()).select_from(MeterSampleRow)).scalar_one() == FULL
