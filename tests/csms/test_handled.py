"""An event that comes twice by a bus takes effect once, whoever takes it, and is answered alike."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from csms.database import Database
from csms.events import RegistrationStatus
from csms.models import HandledEvent, JournalEntry, MeterSampleRow, StationBoot
from tests.csms.bus.words import boot, sample, start
from tests.csms.core_story import told


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
