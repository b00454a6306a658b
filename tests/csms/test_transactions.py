"""Starts and ends, as chargers really send them, on both databases."""

import asyncio
from datetime import timedelta

import pytest

from csms.database import Database
from csms.events import AuthorizationStatus, StopReason
from csms.models import JournalEntry, MeterSampleRow
from tests.csms.core_story import NOON, told


async def test_a_charge_is_one_transaction_with_its_energy(database: Database) -> None:  # C05, C07
    async with told(database) as story:
        story.site("CP1")
        story.tariff()
        story.card()
        await story.boot()
        started = await story.start()
        assert started.authorization.status is AuthorizationStatus.ACCEPTED
        assert 0 < started.transaction_id < 2**31
        for minute in range(1, 6):
            story.pass_time(minutes=1)
            await story.sample(started.transaction_id, 1000 + 100 * minute)
        story.pass_time(minutes=1)
        ended = await story.end(started.transaction_id, 1_600_000, id_token="04a1b2c3d4")
        assert ended.authorization.status is AuthorizationStatus.ACCEPTED
        row = story.transaction()
        assert (row.state, row.cause, row.flags, row.energy_mwh) == ("ended", "local", [], 600_000)
        assert (row.started_at, row.ended_at) == (NOON, NOON + timedelta(minutes=6))
        assert row.snapshot["location"]["location_id"] == "LOC-CP1"
        assert row.snapshot["tariff"] == {"tariff_id": "standard-ac", "version": 1}
        facts = [entry.type for entry in story.rows(JournalEntry) if entry.subject == row.id]
        assert facts == ["transaction_started"] + ["transaction_sampled"] * 5 + ["transaction_ended"]


async def test_start_queued_offline_and_sent_five_times_is_one_transaction(database: Database) -> None:  # E03, T4, X02
    async with told(database) as story:
        story.site("CP1")
        story.card()
        await story.boot()
        answers = [await story.start(at=NOON) for _ in range(5)]
        assert len({answer.transaction_id for answer in answers}) == 1
        assert all(answer.authorization.status is AuthorizationStatus.ACCEPTED for answer in answers)
        assert len(story.transactions()) == 1
        for _ in range(3):
            await story.sample(answers[0].transaction_id, 1100, at=NOON + timedelta(minutes=1))
        assert len(story.rows(MeterSampleRow)) == 1
        story.pass_time(minutes=2)
        before = story.now
        for _ in range(3):
            await story.end(answers[0].transaction_id, 1_200_000, at=before)
            story.pass_time(seconds=10)
        row = story.transaction()
        assert (row.state, row.energy_mwh, row.ended_at) == ("ended", 200_000, before)
        assert sum(entry.type == "transaction_ended" for entry in story.rows(JournalEntry)) == 1


async def test_one_card_started_on_fifty_chargers_at_once_charges_at_one(database: Database) -> None:  # D06
    async with told(database) as story:
        names = [f"CP{n}" for n in range(50)]
        story.site(*names, evses=1)
        story.card()
        forms = ["04A1B2C3D4", "04a1b2c3d4", "\x0004A1B2C3D4", "04A1b2C3d4\u200b"]
        starts = [story.start(forms[n % 4], station_id=name) for n, name in enumerate(names)]
        answers = await asyncio.gather(*starts)
        statuses = [answer.authorization.status for answer in answers]
        assert statuses.count(AuthorizationStatus.ACCEPTED) == 1
        assert statuses.count(AuthorizationStatus.CONCURRENT_TX) == 49
        assert sorted(row.state for row in story.transactions()) == ["active"] + ["refused"] * 49


@pytest.mark.parametrize("ref", ["-1", "0", "999999"])
async def test_an_end_with_a_nonsense_number_closes_what_runs_there(database: Database, ref: str) -> None:  # X04
    async with told(database) as story:
        story.site("CP1")
        story.card()
        await story.start()
        story.pass_time(minutes=5)
        await story.end(ref, 1_500_000)
        row = story.transaction()
        assert (row.state, row.energy_mwh) == ("ended", 500_000)


async def test_an_end_whose_start_was_lost_is_kept_and_flagged(database: Database) -> None:  # X19
    async with told(database) as story:
        story.site("CP1")
        story.card()
        for _ in range(2):
            await story.end("77", 1_500_000, id_token="04A1B2C3D4", at=NOON)
        row = story.transaction()
        assert (row.state, "missing_start" in row.flags) == ("ended", True)


async def test_samples_after_the_end_are_kept_and_change_no_bill(database: Database) -> None:  # E04
    async with told(database) as story:
        story.site("CP1")
        story.card()
        started = await story.start()
        story.pass_time(minutes=5)
        await story.end(started.transaction_id, 1_300_000)
        story.pass_time(seconds=5)
        await story.sample(started.transaction_id, 1250)
        row = story.transaction()
        assert (row.energy_mwh, row.flags) == (300_000, ["late_samples"])
        (sample,) = story.rows(MeterSampleRow)
        assert (sample.transaction_id, sample.late) == (row.id, True)


async def test_a_foreign_card_stops_the_session_and_is_told_invalid(database: Database) -> None:  # C07, X18
    async with told(database) as story:
        story.site("CP1")
        story.card()
        started = await story.start()
        story.pass_time(minutes=5)
        ended = await story.end(started.transaction_id, 1_300_000, id_token="HardReset", reason=StopReason.HARD_RESET)
        assert ended.authorization.status is AuthorizationStatus.INVALID
        row = story.transaction()
        assert (row.state, row.cause, row.flags) == ("ended", "hard_reset", ["foreign_stop_token"])


async def test_a_card_of_the_same_group_may_stop(database: Database) -> None:  # C07
    async with told(database) as story:
        story.site("CP1")
        story.card(group_id="FLEET1")
        story.card("04FFEEDDCC", group_id="fleet1")
        started = await story.start()
        ended = await story.end(started.transaction_id, 1_000_000, id_token="04FFEEDDCC")
        assert ended.authorization.status is AuthorizationStatus.ACCEPTED
        assert story.transaction().flags == []


async def test_a_clock_of_2018_is_overridden_and_the_session_has_a_length(database: Database) -> None:  # F05, T2
    async with told(database) as story:
        story.site("CP1")
        story.card()
        long_ago = NOON.replace(year=2018)
        started = await story.start(at=long_ago)
        story.pass_time(minutes=30)
        await story.end(started.transaction_id, 6_000_000, at=long_ago + timedelta(minutes=30))
        row = story.transaction()
        assert row.ended_at - row.started_at == timedelta(minutes=30)
        assert row.started_claimed_at == long_ago
        assert "clock_skewed" in row.flags


async def test_the_next_start_on_an_evse_orphans_what_never_stopped(database: Database) -> None:  # E01
    async with told(database) as story:
        story.site("CP1")
        story.card()
        first = await story.start()
        story.pass_time(hours=1)
        second = await story.start(meter=5_000_000)
        assert second.authorization.status is AuthorizationStatus.ACCEPTED
        assert [row.state for row in story.transactions()] == ["orphaned", "active"]
        await story.end(first.transaction_id, 4_000_000)
        assert [row.state for row in story.transactions()] == ["ended", "active"]


async def test_a_same_key_after_a_reboot_is_a_new_session_when_the_former_delivered(database: Database) -> None:  # T4
    async with told(database) as story:
        story.site("CP1")
        story.card()
        await story.boot()
        at = NOON.replace(year=2018)  # its clock begins again with each boot
        first = await story.start(meter=0, at=at)
        story.pass_time(minutes=30)
        await story.end(first.transaction_id, 3_000_000, at=at)
        again = await story.start(meter=0, at=at)
        assert again.transaction_id == first.transaction_id
        await story.boot()
        anew = await story.start(meter=0, at=at)
        assert anew.transaction_id != first.transaction_id
        assert "repeated_key" in story.transactions()[1].flags


async def test_an_event_that_cannot_be_stored_harms_only_itself(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1", "CP2")
        story.card()
        bad = story.start(station_id="CP2", meter=2**80)  # no database holds it
        results = await asyncio.gather(story.start(), bad, return_exceptions=True)
        assert results[0].authorization.status is AuthorizationStatus.ACCEPTED
        assert isinstance(results[1], Exception)
        assert [row.station_id for row in story.transactions()] == ["CP1"]
