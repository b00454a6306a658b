"""What the core does when the database refuses, deadlocks or is away."""

import asyncio
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from csms import core
from csms.database import Database
from csms.events import AuthorizationStatus, ConnectorStatus, RegistrationStatus
from csms.models import Connection, JournalEntry, Station
from tests.csms.core_story import told
from tests.csms.test_stations import opened, written

ACCEPTED = RegistrationStatus.ACCEPTED


class Refused(Exception):
    """As psycopg tells it."""

    def __init__(self, sqlstate: str | None) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


def failing(monkeypatch: pytest.MonkeyPatch, story: Any, states: list[str | None]) -> list[int]:
    """Each batch fails, after it decided, while `states` last; the sizes of all batches that were tried."""
    decide, sizes = story.csms._decide, []

    def decide_or_fail(connection: Any, taken: Any) -> Any:
        sizes.append(len(taken))
        replies = decide(connection, taken)
        if states:
            raise OperationalError("COMMIT", {}, Refused(states.pop(0)))
        return replies

    monkeypatch.setattr(story.csms, "_decide", decide_or_fail)
    return sizes


async def test_the_victim_of_a_deadlock_is_repeated_as_it_was(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with told(database) as story:
        names = [f"CP{n}" for n in range(5)]
        story.site(*names)
        sizes = failing(monkeypatch, story, ["40P01", "40001"])
        story.csms.stations.opened(opened(story, "c1"))
        await written(story)
        replies = await asyncio.gather(*(story.boot(name) for name in names))
        assert {reply.status for reply in replies} == {ACCEPTED}
        assert sizes == [5, 5, 5]
        assert [row.boot_epoch for row in story.rows(Station)] == [1] * 5


async def test_while_the_database_is_away_each_event_fails_once_and_none_is_lost_or_doubled_after(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with told(database) as story:
        names = [f"CP{n}" for n in range(5)]
        story.site(*names)
        sizes = failing(monkeypatch, story, [None])
        opened(story, "c1")
        replies = await asyncio.gather(*(story.boot(name) for name in names), return_exceptions=True)
        assert {type(reply) for reply in replies} == {OperationalError}
        assert sizes == [5]
        replies = await asyncio.gather(*(story.boot(name) for name in names))
        assert {reply.status for reply in replies} == {ACCEPTED}
        assert [row.boot_epoch for row in story.rows(Station)] == [1] * 5
        assert [row.connection_id for row in story.rows(Connection)] == ["c1"]
        assert len(story.rows(JournalEntry)) == 5


async def test_a_batch_that_rolls_back_takes_nothing_with_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with told(database) as story:
        story.site("CP1", "CP2")
        story.card()
        story.card("OTHER")
        failing(monkeypatch, story, ["22003"])  # numeric_value_out_of_range: replayed one by one
        tap, start = await asyncio.gather(story.tap(), story.start("OTHER", station_id="CP2"))
        assert tap.status is AuthorizationStatus.ACCEPTED
        assert start.authorization.status is AuthorizationStatus.ACCEPTED
        assert [row.state for row in story.transactions()] == ["active"]


async def test_of_one_station_a_batch_holds_one_event(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async with told(database) as story:
        story.site("CP1")
        story.card("ONE")
        story.card("TWO")
        sizes = failing(monkeypatch, story, [])
        await asyncio.gather(story.start("ONE", meter=1), story.start("TWO", meter=2), story.start("ONE", meter=3))
        assert sizes == [1, 1, 1]
        assert [row.state for row in story.transactions()] == ["orphaned", "orphaned", "active"]
        assert core.BATCH_AT_MOST > 1


async def test_nobody_waits_behind_a_crowd_of_boots(database: Database) -> None:  # X07
    crowd = [f"BACK{number}" for number in range(core.BOOTS_AT_MOST + 10)]
    async with told(database) as story:
        story.site("CP1", *crowd, evses=1)
        answered: list[str] = []

        async def boot(station_id: str) -> None:
            assert (await story.boot(station_id)).status is ACCEPTED
            answered.append(station_id)

        async def status() -> None:
            await story.status(ConnectorStatus.CHARGING)
            answered.append("CP1")

        await asyncio.gather(*(boot(station_id) for station_id in crowd), status())
        assert answered == [*crowd[: core.BOOTS_AT_MOST], "CP1", *crowd[core.BOOTS_AT_MOST :]]
