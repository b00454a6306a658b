"""Two workers that change the same rows wait for each other; none of them is ever given up for the other's sake."""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, select, text, update

from csms import features, lock_order, meanings, tariff_changes
from csms.availability import Availability
from csms.bus import ConnectionOpened
from csms.database import Database
from csms.events import ConnectorStatus
from csms.import_network import import_network
from csms.models import Connector, Evse, Station
from csms.simulator import network_file
from csms.watch import Watch
from tests.csms.core_story import Story, told

STATIONS = [f"CP{n}" for n in range(50)]
WORDS = (ConnectorStatus.CHARGING, ConnectorStatus.FAULTED)


async def test_statuses_boots_and_time_deadlock_nobody(database: Database, database_url: str) -> None:  # X09
    """Fifty stations of four connectors tell two workers of all of them and of themselves at once, in opposite order; half
    of them boot meanwhile, all are offline by the watch's word, and come back with news of their connections."""
    other, deadlocks = Database(database_url), database.deadlocks
    try:
        async with AsyncExitStack() as stack:
            workers = [await stack.enter_async_context(told(base)) for base in (database, other)]
            for number in range(5):
                workers[0].site(*STATIONS[number::5], evses=4)
            watch = Watch(database, wake=lambda *_: None, clock=lambda: workers[0].now)
            for turn in range(3):
                for worker in workers:
                    worker.pass_time(minutes=30)
                with database.write() as connection:
                    long_ago = workers[0].now - timedelta(days=1)
                    connection.execute(
                        update(Station).values(connection_id=None, offline_since=long_ago, offline_told=turn % 2 == 1)
                    )
                barrier = asyncio.Barrier(2 * 5 * 50 + 25)

                async def tell(worker: Story, name: str, evse: int, word: ConnectorStatus) -> None:
                    await barrier.wait()  # noqa: B023 - of this turn
                    await worker.status(word, evse=evse, station_id=name)

                async def boot(worker: Story, name: str) -> None:
                    await barrier.wait()  # noqa: B023
                    await worker.boot(name)

                telling = [
                    tell(worker, name, evse, WORDS[(evse + turn) % 2])
                    for worker, names in zip(workers, (STATIONS, STATIONS[::-1]), strict=True)
                    for name in names
                    for evse in range(5)
                ]
                booting = [boot(workers[n % 2], name) for n, name in enumerate(STATIONS[::2])]
                for number, name in enumerate(STATIONS):
                    workers[number % 2].csms.stations.opened(opened(workers[0], name, f"{turn}-{name}"))
                await asyncio.gather(*telling, *booting, asyncio.to_thread(watch.apply, "offline_stations"))
            assert {row.status for row in workers[0].rows(Evse)} <= {word.value for word in WORDS}
        assert (database.deadlocks, other.deadlocks) == (deadlocks, 0)
    finally:
        other.dispose()


LATER = datetime(2026, 5, 2, tzinfo=UTC)
DOCUMENT = network_file.document(["CP1", "CP2", "CP3"], ["CARD1"], password=None, evses=2)
Touching = Callable[[Connection], object]
TOUCHING: dict[str, Touching] = {
    "an import": lambda connection: import_network(
        connection, DOCUMENT, default_party=("BE", "BEC"), operator_name="Example", now=LATER
    ),
    "a tariff that comes": lambda connection: tariff_changes.touch_sites(connection, {("BE", "BEC", "t1")}, LATER),
    "states that mean something else": lambda connection: meanings.keep(
        connection, {ConnectorStatus.PREPARING: Availability.OCCUPIED}, LATER
    ),
    "what a station says that it can do": lambda connection: features.changed(
        connection, "CP2", "Core", "Core,Reservation", LATER
    ),
}
BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
@pytest.mark.parametrize("name", TOUCHING)
def test_who_touches_evses_and_sites_waits_for_a_batch_and_never_it_for_him(database: Database, name: str) -> None:
    """A batch with a new connection holds its station and the site, and comes to the EVSE; a stranger's Boot is in it too."""
    with database.write() as connection:
        TOUCHING["an import"](connection)
        connection.execute(update(Connector).values(tariff_ids=["T1"]))
        connection.execute(update(Evse).values(status=ConnectorStatus.PREPARING.value))
        connection.execute(update(Station).where(Station.station_id == "CP3").values(admission="pending"))
    failed: list[BaseException] = []

    def touch() -> None:
        try:
            with database.write() as connection:
                TOUCHING[name](connection)
        except BaseException as error:
            failed.append(error)

    other = threading.Thread(target=touch)
    with database.write() as batch:
        lock_order.stations(batch, ["CP2", "CP3"])
        lock_order.sites_of(batch, ["CP2", "CP3"])
        other.start()
        until = time.monotonic() + 30
        while time.monotonic() < until and not waits(database):
            time.sleep(0.01)
        batch.execute(select(Evse.id).where(Evse.station_id == "CP2").order_by(Evse.id).with_for_update()).all()
    other.join(30)
    assert failed == []


def waits(database: Database) -> bool:
    with database.read() as connection:
        return bool(connection.execute(text(BLOCKED)).scalar_one())


def opened(story: Story, station_id: str, connection_id: str) -> ConnectionOpened:
    return ConnectionOpened(
        station_id=station_id,
        connection_id=connection_id,
        ocpp_version="1.6",
        peer="127.0.0.1",
        opened_at=story.now,
    )
