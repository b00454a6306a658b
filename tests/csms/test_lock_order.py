"""Two workers that change the same rows wait for each other; none of them is ever given up for the other's sake."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta

from sqlalchemy import update

from csms.bus import ConnectionOpened
from csms.database import Database
from csms.events import ConnectorStatus
from csms.models import Evse, Station
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


def opened(story: Story, station_id: str, connection_id: str) -> ConnectionOpened:
    return ConnectionOpened(
        station_id=station_id,
        connection_id=connection_id,
        ocpp_version="1.6",
        peer="127.0.0.1",
        opened_at=story.now,
    )
