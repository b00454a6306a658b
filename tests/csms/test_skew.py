"""How far clocks are off, of each station and of the fleet, and an alert a day that takes itself back."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, update

from csms import skew
from csms.billing.charge_records import bill
from csms.database import Database
from csms.events import ConnectorStatus
from csms.journal import Subscriber, Wake
from csms.models import Alert, ChargeRecord, FirmwareCampaign, Review, Station
from csms.watch import Watch
from tests.csms.core_story import NOON, Story, told

YEARS_BACK = timedelta(days=-3000)


async def show(story: Story, station_id: str, off: timedelta) -> None:
    """A live status of a station whose clock is off by so much."""
    await story.status(ConnectorStatus.AVAILABLE, station_id=station_id, at=story.now + off)


def look(story: Story) -> list[Any]:
    assert Watch(story.database, wake=Wake(), clock=lambda: story.now).apply("clock_alerts") == 0
    return [(row.subject, row.day[-2:], row.closed_at) for row in story.rows(Alert, Alert.kind == "clock_skew")]


async def connected(story: Story, *stations: str) -> None:
    story.site(*stations)
    with story.database.write() as connection:
        connection.execute(update(Station).values(connection_id="socket"))


# ---- the alert ------------------------------------------------------------------------------------------------------


async def test_a_wrong_clock_is_one_alert_a_day_that_closes_when_it_is_right(database: Database) -> None:  # F06
    async with told(database) as story:
        await connected(story, "CP1", "CP2")
        await show(story, "CP2", timedelta(minutes=-10))  # at the limit
        for _ in range(3):
            await show(story, "CP1", YEARS_BACK)
            assert look(story) == [("CP1", "01", None)]
            story.pass_time(minutes=1)
        await show(story, "CP1", timedelta(minutes=10))
        right_at = story.now
        assert look(story) == look(story) == [("CP1", "01", right_at)]


async def test_a_clock_that_is_wrong_again_opens_its_alert_again(database: Database) -> None:  # F06
    async with told(database) as story:
        await connected(story, "CP1")
        for off, is_open in ((11, True), (1, False), (-11, True), (0, False)):
            await show(story, "CP1", timedelta(minutes=off))
            ((_, _, closed_at),) = look(story)
            assert (closed_at is None) is is_open
            story.pass_time(minutes=5)


async def test_an_alert_of_yesterday_gives_way_to_that_of_today(database: Database) -> None:  # F06
    async with told(database) as story:
        await connected(story, "CP1")
        await show(story, "CP1", YEARS_BACK)
        look(story)
        tomorrow = story.pass_time(days=1)
        assert look(story) == [("CP1", "01", tomorrow), ("CP1", "02", None)]
        right_at = story.pass_time(minutes=1)
        await show(story, "CP1", timedelta())
        assert [closed for _, _, closed in look(story)] == [tomorrow, right_at]


async def test_a_station_that_is_away_says_nothing_of_its_clock(database: Database) -> None:  # F06
    async with told(database) as story:
        await connected(story, "CP1")
        await show(story, "CP1", YEARS_BACK)
        with database.write() as connection:
            connection.execute(update(Station).values(connection_id=None))
        assert look(story) == []


@pytest.mark.parametrize("right_later", [True, False])
async def test_the_end_of_a_session_in_time_closes_what_a_session_out_of_time_opened(
    database: Database, right_later: bool
) -> None:  # F06: of a charger whose status tells no time
    async with told(database) as story:
        await connected(story, "CP1")
        story.card()
        for right in (False, right_later):
            off = timedelta() if right else YEARS_BACK
            number = (await story.start(at=story.now + off)).transaction_id
            story.pass_time(minutes=20)
            await story.end(number, 3_000_000, at=story.now + off)
            story.pass_time(minutes=1)
        ((_, _, closed_at),) = look(story)
        assert (closed_at is not None) is right_later


# ---- the report -----------------------------------------------------------------------------------------------------


async def booted(story: Story, station_id: str, vendor: str, model: str, firmware: str, off: float | None) -> None:
    await story.boot(station_id, vendor=vendor, model=model, firmware_version=firmware)
    if off is not None:
        await show(story, station_id, timedelta(seconds=off))


async def fleet(story: Story) -> None:
    await connected(story, *(f"CP{number}" for number in range(1, 8)))
    await booted(story, "CP1", "Acme", "X", "1.0", 0)
    await booted(story, "CP2", "Acme", "X", "1.0", -86_400)
    await booted(story, "CP3", "Acme", "X", "1.0", 700)
    await booted(story, "CP4", "Acme", "X", "2.0", 3)
    await booted(story, "CP5", "Acme", "X", "2.0", None)
    await booted(story, "CP6", "Bolt", "Y", "7", None)


async def test_who_takes_our_time_is_reported_by_model_and_firmware(database: Database) -> None:  # F03
    async with told(database) as story:
        await fleet(story)
        with database.read() as connection:
            rows = skew.report(connection)
        assert [(row.vendor, row.model, row.firmware_version) for row in rows] == [
            ("Acme", "X", "1.0"),
            ("Acme", "X", "2.0"),
            ("Bolt", "Y", "7"),
        ]
        assert [(row.stations, row.keep, row.ignore, row.unknown, row.over_limit) for row in rows] == [
            (3, 1, 2, 0, 2),
            (2, 1, 0, 1, 0),
            (1, 0, 0, 1, 0),
        ]
        assert [row.share for row in rows] == [1 / 3, 1.0, None]
        assert [(row.worst_station, row.worst_skew_s) for row in rows] == [("CP2", -86_400), ("CP4", 3), (None, None)]


def draft(story: Story, vendor: str, model: str | None, state: str = "draft") -> int:
    campaign = {"vendor": vendor, "model": model, "state": state, "wave_size": 10, "failure_limit_percent": 5}
    with story.database.write() as connection:
        values = {**campaign, "created_by": "cli:ann", "created_at": NOON}
        return int(
            connection.execute(insert(FirmwareCampaign).values(**values).returning(FirmwareCampaign.id)).scalar_one()
        )


async def test_the_report_leads_to_the_campaign_that_is_prepared_for_the_model(database: Database) -> None:  # F07
    async with told(database) as story:
        await fleet(story)
        draft(story, "Acme", "Z")
        draft(story, "Bolt", "Y", state="done")
        of_model, of_vendor = draft(story, "ACME", "x"), draft(story, "Bolt", None)
        with database.read() as connection:
            rows = skew.report(connection)
        assert [row.campaign for row in rows] == [of_model, of_model, of_vendor]


# ---- gauges ---------------------------------------------------------------------------------------------------------


async def test_the_fleets_clocks_are_counted_by_how_far_they_are_off(database: Database) -> None:  # F01
    async with told(database) as story:
        with database.read() as connection:
            assert skew.share_over_limit(connection) == {}
        await fleet(story)
        with database.read() as connection:
            assert skew.measured(connection) == {"CP1": 0.0, "CP2": -86_400.0, "CP3": 700.0, "CP4": 3.0}
            assert skew.share_over_limit(connection) == {"10 min": 0.5}
            spread = skew.spread(connection)
        assert spread == {
            "1 s": 1,
            "10 s": 1,
            "1 min": 0,
            "10 min": 0,
            "1 h": 1,
            "1 day": 1,
            "more": 0,
            "unknown": 3,
        }


# ---- a clock of 2018 ------------------------------------------------------------------------------------------------


async def test_a_session_of_2018_closes_and_is_billed_by_our_time_and_flagged(database: Database) -> None:  # F04
    async with told(database) as story:
        await connected(story, "CP1")
        story.tariff()
        story.card()
        await story.boot()
        frozen = NOON.replace(year=2018)
        await story.status(ConnectorStatus.AVAILABLE, at=frozen)
        number = (await story.start(at=frozen)).transaction_id
        for _ in range(4):
            story.pass_time(minutes=10)
            await story.sample(number, 1000 + 100 * (story.now - NOON).seconds // 60, at=frozen)
        await story.end(number, 1_000_000 + 4_000_000, at=frozen)
        await asyncio.to_thread(Subscriber("billing", database, bill, wake=Wake()).catch_up)
        transaction = story.transaction()
        assert (transaction.state, transaction.flags) == ("ended", ["clock_skewed"])
        assert (transaction.started_claimed_at, transaction.ended_claimed_at) == (frozen, frozen)
        assert story.rows(Review) == []
        (record,) = story.rows(ChargeRecord)
        assert (record.started_at, record.ended_at) == (NOON, story.now)
        assert (record.duration_s, record.energy_mwh) == (2400, 4_000_000)
        assert look(story) == [("CP1", "01", None)]


# ---- what is measured -----------------------------------------------------------------------------------------------


async def test_a_sound_clock_is_written_when_it_moved_or_after_ten_minutes(database: Database) -> None:  # F01
    async with told(database) as story:
        story.site("CP1")
        story.site("CP2")
        written = []
        for seconds, off_s in ((0, 0), (9, 0.9), (60, -1), (70, 1.5), (80, 61), (90, 61), (91, 0), (691, 0), (700, 0)):
            story.now = NOON + timedelta(seconds=seconds)
            await show(story, "CP1", timedelta(seconds=off_s))
            (station,) = story.rows(Station, Station.station_id == "CP1")
            if station.clock_skew_at == story.now:
                written.append((seconds, station.clock_skew_s, station.keeps_our_time))
        assert written == [
            (0, 0.0, True),
            (70, 1.5, True),
            (80, 61.0, False),
            (90, 61.0, False),
            (91, 0.0, True),
            (691, 0.0, True),
        ]
        assert story.rows(Station, Station.station_id == "CP2")[0].clock_skew_at is None


async def test_a_boot_makes_the_next_word_tell_whether_our_time_was_taken(database: Database) -> None:  # F02
    async with told(database) as story:
        story.site("CP1")
        await show(story, "CP1", timedelta())
        await story.boot()
        (station,) = story.rows(Station)
        assert station.keeps_our_time is None
        story.pass_time(seconds=1)
        await show(story, "CP1", timedelta())
        (station,) = story.rows(Station)
        assert (station.keeps_our_time, station.clock_skew_at) == (True, story.now)
