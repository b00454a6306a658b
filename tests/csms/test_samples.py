"""Meter samples: kept once, believed where they make sense, and never another station's business."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from csms.database import Database
from csms.events import MeterSample, MeterSampled, SampledValue
from csms.models import JournalEntry, MeterSampleRow
from csms.samples import ENCODER, digest_of, former
from tests.csms.core_story import NOON, Story, told


async def frame(story: Story, number: Any, *values: SampledValue, station_id: str = "CP1", evse: int = 1) -> None:
    samples = (MeterSample(occurred_at=story.now, values=values),)
    await story.csms.report(
        MeterSampled(
            station_id=station_id,
            ocpp_version="1.6",
            received_at=story.now,
            occurred_at=story.now,
            evse=evse,
            transaction_ref=None if number is None else str(number),
            samples=samples,
        )
    )


async def test_a_register_that_begins_again_costs_nobody(database: Database) -> None:  # E09, Q02
    async with told(database) as story:
        story.site("CP1")
        story.card()
        number = (await story.start(meter=8_000_000)).transaction_id
        for wh in (8500, 9000, 0, 400, 700):
            story.pass_time(minutes=1)
            await story.sample(number, wh)
        assert story.transaction().energy_mwh == 1_700_000
        story.pass_time(minutes=1)
        await story.end(number, 800_000)
        row = story.transaction()
        assert row.energy_mwh == 1_800_000
        assert "meter_mismatch" in row.flags
        assert "register_reset" in row.findings


async def test_each_sample_is_read_in_its_own_unit(database: Database) -> None:  # E10, Q05
    async with told(database) as story:
        story.site("CP1")
        story.card()
        number = (await story.start(meter=1_000_000)).transaction_id
        written = [("1.100", "kWh"), ("1200", "Wh"), ("1300", None), ("1.4", "KWH"), ("0.0015", "MWh"), ("1,6", "kwh")]
        for value, unit in written:
            story.pass_time(minutes=1)
            await frame(story, number, SampledValue(value=value, unit=unit))
        row = story.transaction()
        assert (row.energy_mwh, row.meter_last_mwh, row.sample_count) == (600_000, 1_600_000, 6)
        story.pass_time(minutes=1)
        await story.end(number, 1_700_000)
        assert (story.transaction().energy_mwh, story.transaction().flags) == (700_000, [])


@pytest.mark.parametrize("value", ["NaN", "inf", "-5", "abc", "", "1e999", "9" * 4000])
async def test_what_is_no_number_is_kept_and_never_summed(database: Database, value: str) -> None:  # X17
    async with told(database) as story:
        story.site("CP1")
        story.card()
        number = (await story.start()).transaction_id
        story.pass_time(minutes=1)
        await frame(story, number, SampledValue(value=value, unit="Wh"))
        row = story.transaction()
        assert (row.energy_mwh, row.meter_last_mwh, row.sample_count) == (0, 1_000_000, 1)
        (kept,) = story.rows(MeterSampleRow)
        assert value in kept.samples
        assert kept.energy_mwh is None


async def test_a_charger_that_tells_what_passed_in_each_interval_is_summed(database: Database) -> None:  # T5
    async with told(database) as story:
        story.site("CP1")
        story.card()
        number = (await story.start(meter=5_000_000)).transaction_id
        for kwh in ("1.0", "0.5", "1.5"):
            story.pass_time(minutes=15)
            await frame(story, number, SampledValue(value=kwh, unit="kWh", measurand="Energy.Active.Import.Interval"))
        row = story.transaction()
        assert (row.energy_mwh, row.meter_last_mwh, row.sample_count) == (3_000_000, 8_000_000, 3)
        story.pass_time(minutes=1)
        await story.end(number, None)  # a meter that cannot be read at the end loses nothing of it
        row = story.transaction()
        assert (row.energy_mwh, row.flags) == (3_000_000, ["meter_mismatch"])
        assert "unreadable_stop" in row.findings
        assert "no_samples" not in row.findings


async def test_power_is_the_last_that_was_told(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        story.card()
        number = (await story.start()).transaction_id
        story.pass_time(minutes=1)
        await frame(story, number, SampledValue(value="11", measurand="Power.Active.Import", unit="kW"))
        story.pass_time(minutes=1)
        await frame(story, number, SampledValue(value="1100"))
        assert (story.transaction().power_w, story.transaction().energy_mwh) == (11_000, 100_000)


async def test_samples_outside_a_transaction_are_kept_and_move_nothing(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        await story.sample(None, 1000)
        await story.sample(None, 1000, station_id="NOBODY")
        assert {row.transaction_id for row in story.rows(MeterSampleRow)} == {None}
        assert story.rows(JournalEntry) == []


@pytest.mark.parametrize("ref", [None, "-1", "0", "2147483648", "9" * 5000, "12x", "\x00", "²"])
async def test_samples_without_a_number_of_ours_belong_to_what_runs_on_the_evse(  # X04
    database: Database, ref: str | None
) -> None:
    async with told(database) as story:
        story.site("CP1")
        story.card()
        story.card("OTHER")
        await story.start()
        await story.start("OTHER", evse=2)
        story.pass_time(minutes=1)
        await story.sample(ref, 1500)
        assert [row.energy_mwh for row in story.transactions()] == [500_000, 0]


async def test_another_stations_number_names_nothing(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1", "CP2", evses=1)
        story.card()
        story.card("OTHER")
        number = (await story.start()).transaction_id
        story.pass_time(minutes=1)
        await story.sample(number, 5000, station_id="CP2")
        assert [row.energy_mwh for row in story.transactions()] == [0]
        await story.end(number, 5_000_000, station_id="CP2")
        mine, stray = story.transactions()
        assert (mine.state, stray.state, stray.station_id) == ("active", "ended", "CP2")
        await story.start("OTHER", station_id="CP2", at=NOON + timedelta(minutes=1))
        story.pass_time(minutes=1)
        both = (story.sample(number, 2000), story.sample(number, 3000, station_id="CP2"))
        await asyncio.gather(*both)
        assert [row.energy_mwh for row in story.transactions()] == [1_000_000, 0, 2_000_000]


async def test_a_frame_sent_again_under_a_new_id_counts_once(database: Database) -> None:  # E03, X02
    async with told(database) as story:
        story.site("CP1")
        story.card()
        number = (await story.start()).transaction_id
        story.pass_time(minutes=1)
        await asyncio.gather(*(story.sample(number, 1200) for _ in range(5)))
        row = story.transaction()
        assert (row.energy_mwh, row.sample_count, len(story.rows(MeterSampleRow))) == (200_000, 1, 1)


async def test_a_frame_that_broke_its_schema_is_kept_as_it_came(database: Database) -> None:  # T10, X01
    async with told(database) as story:
        story.site("CP1")
        story.card()
        number = (await story.start()).transaction_id
        await story.sample(number, 1200, violations=("meterValue:unreadable",), raw='{"a":"\\u0000"}')
        assert story.transaction().flags == ["schema_violation"]
        (kept,) = story.rows(MeterSampleRow)
        assert kept.raw == '{"a":"\\u0000"}'


def sent(at: datetime | None, wh: str = "1") -> str:
    samples = (MeterSample(occurred_at=at, values=(SampledValue(value=wh, unit="Wh"),)),)
    return digest_of("CP1", "7", samples, ENCODER.encode(samples).decode())


def test_digests_stand_in_the_order_of_what_their_frames_claim() -> None:
    moments = [None, datetime(1, 1, 1, tzinfo=UTC), NOON - timedelta(days=3650), NOON, NOON + timedelta(seconds=1)]
    digests = [sent(at) for at in (*moments, datetime(9999, 12, 31, tzinfo=UTC))]
    assert [digest[:9] for digest in digests] == sorted(digest[:9] for digest in digests)
    assert {len(digest) for digest in digests} == {33}
    assert sent(NOON) == sent(NOON) != sent(NOON, "2")
    assert former(sent(NOON)) == sent(NOON)[9:]


async def test_a_frame_that_was_stored_before_its_digest_began_with_a_time_is_no_news(
    database: Database,
) -> None:  # E03
    async with told(database) as story:
        story.site("CP1")
        story.card()
        number = (await story.start()).transaction_id
        story.pass_time(minutes=1)
        for named in (number, None):
            await story.sample(named, 1100)
        with database.write() as connection:
            for row in connection.execute(select(MeterSampleRow.digest)).all():
                was = update(MeterSampleRow).where(MeterSampleRow.digest == row.digest)
                connection.execute(was.values(digest=former(row.digest)))
        for named in (number, None):
            await story.sample(named, 1100)
        assert len(story.rows(MeterSampleRow)) == 2
        assert story.transaction().sample_count == 2
