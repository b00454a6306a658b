"""An event that comes twice by a bus takes effect once, whoever takes it, and is answered alike."""

import asyncio
from contextlib import AsyncExitStack

import msgspec
import pytest

from csms.database import Database
from csms.events import RegistrationStatus
from csms.models import Connection, HandledEvent, JournalEntry, MeterSampleRow, Station, StationBoot
from tests.csms.bus.words import boot, closed, opened, sample, start, until
from tests.csms.core_story import Story, told


@pytest.fixture
def dialect() -> str:
    return "postgresql"  # a bus is between processes, which do not share a file


async def test_an_event_that_comes_again_is_answered_as_before_and_changes_nothing(database: Database) -> None:
    async with told(database, once=True) as story:
        story.site("CP1")
        story.card()
        event = start("CP1")
        first = await story.csms.report(event)
        story.pass_time(minutes=5)
        assert await story.csms.report(event) == first
        assert [entry.type for entry in story.rows(JournalEntry)].count("transaction_started") == 1
        assert [row.event_id for row in story.rows(HandledEvent)] == [event.event_id]


async def test_a_boot_that_comes_again_is_told_the_time_that_it_is(database: Database) -> None:
    async with told(database, once=True) as story:
        story.site("CP1")
        event = boot("CP1")
        await story.csms.report(event)
        reply = await story.csms.report(event)
        assert reply.status is RegistrationStatus.ACCEPTED
        now = story.pass_time(minutes=5)
        assert (await story.csms.report(event)).current_time == now
        assert len(story.rows(StationBoot)) == 1


async def test_two_workers_that_take_the_same_events_at_once_handle_each_once(database: Database) -> None:
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(told(database, once=True)) for _ in range(2)]
        names = [f"CP{n}" for n in range(40)]
        workers[0].site(*names)
        events = [event for name in names for event in (boot(name), sample(name, 1500))]
        replies = await asyncio.gather(*(worker.csms.report(event) for event in events for worker in workers))
        assert replies[::2] == replies[1::2]
        assert len(workers[0].rows(StationBoot)) == len(workers[0].rows(MeterSampleRow)) == 40
        assert len(workers[0].rows(HandledEvent)) == 80


async def test_where_nothing_comes_twice_nothing_is_remembered(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        await story.boot("CP1")
        assert story.rows(HandledEvent) == []


async def test_a_worker_that_wakes_too_late_takes_nobody_away_that_came_again(database: Database) -> None:
    here, gone = opened("CP1", "c1"), closed("CP1", "c1")
    asleep = Story(database, once=True)
    async with told(database, once=True) as awake:
        awake.site("CP1")
        awake.csms.stations.opened(msgspec.structs.replace(here, news_id="came"))
        await until(lambda: awake.rows(Station)[0].connection_id == "c1")
        asleep.csms.stations.closed(msgspec.structs.replace(gone, news_id="gone"))
        awake.csms.stations.closed(msgspec.structs.replace(gone, news_id="gone"))
        await until(lambda: awake.rows(Station)[0].connection_id is None)
        awake.csms.stations.stays(msgspec.structs.replace(here, news_id="came again"))
        await until(lambda: awake.rows(Station)[0].connection_id == "c1")
        await asleep.csms.close()
        assert asleep.csms.stations.written == 1
        assert [(row.connection_id, row.offline_since) for row in awake.rows(Station)] == [("c1", None)]
        assert [(row.closed_at, row.close_reason) for row in awake.rows(Connection)] == [(None, None)]


async def test_a_worker_that_wakes_too_late_brings_nobody_back_that_went(database: Database) -> None:
    here = msgspec.structs.replace(opened("CP1", "c1"), news_id="came")
    asleep = Story(database, once=True)
    async with told(database, once=True) as awake:
        awake.site("CP1")
        asleep.csms.stations.opened(here)
        awake.csms.stations.opened(here)
        await until(lambda: awake.rows(Station)[0].connection_id == "c1")
        awake.csms.stations.closed(msgspec.structs.replace(closed("CP1", "c1"), news_id="went"))
        await until(lambda: awake.rows(Station)[0].connection_id is None)
        await asleep.csms.close()
        assert [row.connection_id for row in awake.rows(Station)] == [None]
        assert [row.closed_at is None for row in awake.rows(Connection)] == [False]


async def test_who_was_believed_gone_and_came_again_before_either_was_written_is_here(database: Database) -> None:
    story = Story(database, once=True)
    story.site("CP1")
    stations = story.csms.stations
    stations.opened(msgspec.structs.replace(opened("CP1", "c1"), news_id="came"))
    for _ in range(2):  # as a bus may tell it
        stations.closed(msgspec.structs.replace(closed("CP1", "c1"), news_id="gone"))
    stations.stays(msgspec.structs.replace(opened("CP1", "c1"), news_id="came again"))
    await story.csms.close()
    assert [row.connection_id for row in story.rows(Station)] == ["c1"]
    assert [row.closed_at for row in story.rows(Connection)] == [None]
    assert len(story.rows(HandledEvent)) == 3
