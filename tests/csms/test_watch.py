"""What only time tells: silence, ends that never come, bills that are missing."""

import asyncio

import pytest

from csms.billing.charge_records import bill
from csms.database import Database
from csms.events import ConnectorStatus
from csms.journal import Subscriber, Wake
from csms.models import Alert, JournalEntry, Tap
from csms.watch import RULES, Watch
from tests.csms.core_story import NOON, Story, told


def watch(story: Story) -> Watch:
    return Watch(story.database, wake=Wake(), clock=lambda: story.now)


async def test_a_silent_transaction_frees_its_card_and_its_end_is_still_taken(database: Database) -> None:  # E01
    async with told(database) as story:
        story.site("CP1", "CP2")
        story.card()
        number = (await story.start()).transaction_id
        story.pass_time(hours=1)
        await story.sample(number, 2000)
        story.pass_time(hours=12)
        assert watch(story).apply("silent_transactions") == 0
        story.pass_time(seconds=1)
        assert watch(story).apply("silent_transactions") == 1
        assert story.transaction().state == "orphaned"
        assert (await story.start(station_id="CP2")).authorization.status.value == "accepted"
        await story.end(number, 3_000_000)
        first = story.transactions()[0]
        assert (first.state, first.cause, first.energy_mwh) == ("ended", "local", 2_000_000)


async def test_a_transaction_on_a_connector_that_is_free_again_is_soon_over(database: Database) -> None:  # E01
    async with told(database) as story:
        story.site("CP1")
        story.card()
        await story.start()
        story.pass_time(minutes=1)
        await story.status(ConnectorStatus.AVAILABLE)
        story.pass_time(minutes=10)
        assert watch(story).apply("silent_transactions") == 0
        story.pass_time(seconds=1)
        assert watch(story).apply("silent_transactions") == 1


async def test_a_transaction_that_never_stopped_ends_where_we_last_heard_of_it(database: Database) -> None:  # E01, E12
    async with told(database) as story:
        story.site("CP1")
        story.card()
        number = (await story.start()).transaction_id
        heard = story.pass_time(minutes=20)
        await story.sample(number, 3500)
        story.pass_time(hours=13)
        watch(story).apply("silent_transactions")
        story.pass_time(hours=24, seconds=1)
        assert watch(story).apply("never_stopped") == 1
        row = story.transaction()
        assert (row.state, row.cause, row.started_at, row.ended_at) == ("ended", "never_stopped", NOON, heard)
        assert (row.energy_mwh, row.power_w) == (2_500_000, None)
        for _ in range(2):
            await story.end(number, 4_000_000)
        late = story.transaction()
        assert (late.energy_mwh, late.ended_at) == (2_500_000, heard)
        assert [finding for finding in late.findings if finding.startswith("late_end")] != []
        assert len(late.findings) == 1
        facts = [entry.type for entry in story.rows(JournalEntry)]
        assert facts.count("transaction_ended") == 1


async def test_a_refused_start_that_nobody_ends_is_closed_as_refused(database: Database) -> None:  # E01
    async with told(database) as story:
        story.site("CP1")
        await story.start("NOBODY")
        story.pass_time(hours=13)
        watch(story).apply("silent_transactions")
        story.pass_time(hours=25)
        watch(story).apply("never_stopped")
        row = story.transaction()
        assert (row.state, row.cause, row.energy_mwh) == ("ended", "refused", 0)


@pytest.mark.parametrize("billed", [True, False])
async def test_an_ended_transaction_that_nobody_billed_is_never_silent(database: Database, billed: bool) -> None:  # E11
    async with told(database) as story:
        story.site("CP1")
        story.tariff()
        story.card()
        number = (await story.start()).transaction_id
        story.pass_time(minutes=30)
        await story.end(number, 3_000_000)
        if billed:
            await asyncio.to_thread(Subscriber("billing", database, bill, wake=Wake()).catch_up)
        story.pass_time(minutes=16)
        for _ in range(2):
            watch(story).apply("unbilled_transactions")
        alerts = [(row.kind, row.subject) for row in story.rows(Alert)]
        assert alerts == ([] if billed else [("transaction_unbilled", story.transaction().id)])
        story.pass_time(days=1)
        watch(story).apply("unbilled_transactions")
        assert len(story.rows(Alert)) == (0 if billed else 2)


async def test_a_rule_that_fails_stops_no_other(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async with told(database) as story:
        story.card()
        story.site("CP1")
        await story.tap()
        monkeypatch.setitem(RULES, "no_shows", (1.0, lambda *_: 1 / 0))  # type: ignore[arg-type, return-value]
        story.pass_time(hours=1)
        for name in RULES:
            watch(story).apply(name)
        assert story.rows(Tap) == []
