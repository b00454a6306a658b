"""What a charger recorded while it was away is believed where it really was away, and nowhere else."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from csms.bus import ConnectionClosed, ConnectionOpened
from csms.database import Database
from csms.events import ConnectorStatus, MeterSample, SampledValue
from csms.models import Alert, MeterSampleRow, Station
from tests.csms.core_story import NOON, Story, told

AWAY = timedelta(hours=6)


def goes(story: Story, connection_id: str) -> None:
    story.csms.stations.closed(
        ConnectionClosed(connection_id=connection_id, station_id="CP1", closed_at=story.now, last_frame_at=story.now)
    )


def comes(story: Story, connection_id: str) -> None:
    story.csms.stations.opened(
        ConnectionOpened(
            connection_id=connection_id, station_id="CP1", ocpp_version="1.6", peer="10.0.0.7", opened_at=story.now
        )
    )


async def away_and_back(story: Story) -> None:
    """Connected at noon, away from one minute later for six hours, then here again."""
    story.site("CP1")
    story.card()
    comes(story, "c1")
    await story.boot()
    await story.status(ConnectorStatus.AVAILABLE)
    story.pass_time(minutes=1)
    goes(story, "c1")
    story.pass_time(hours=6)
    comes(story, "c2")


async def burst(story: Story, begin: datetime, **start: Any) -> Any:
    """A charge of one hour from `begin`, with its samples, as it lay in the charger's queue."""
    started = await story.start(at=begin, **start)
    for quarter in range(1, 4):
        at = begin + timedelta(minutes=15 * quarter)
        await story.sample(started.transaction_id, 1000 + 2000 * quarter, at=at)
    await story.end(started.transaction_id, 9_000_000, at=begin + timedelta(hours=1))
    return story.transaction()


async def test_a_charge_while_away_is_billed_by_the_chargers_time(database: Database) -> None:  # E02, T2
    async with told(database) as story:
        await away_and_back(story)
        begin = NOON + timedelta(hours=2)
        row = await burst(story, begin)
        assert (row.started_at, row.ended_at, row.energy_mwh) == (begin, begin + timedelta(hours=1), 8_000_000)
        assert (row.started_rule, row.ended_rule, row.flags) == ("offline", "offline", [])
        assert row.started_received_at == story.now
        samples = story.rows(MeterSampleRow)
        assert [s.occurred_at for s in samples] == [begin + timedelta(minutes=15 * n) for n in (1, 2, 3)]


async def test_the_whole_burst_sent_twice_is_one_charge(database: Database) -> None:  # E02, E03
    async with told(database) as story:
        await away_and_back(story)
        first = await burst(story, NOON + timedelta(hours=2))
        story.pass_time(minutes=3)
        again = await burst(story, NOON + timedelta(hours=2))
        assert again == first


async def test_a_burst_says_nothing_about_the_clock_of_now(database: Database) -> None:  # F01, T2
    async with told(database) as story:
        await away_and_back(story)
        await burst(story, NOON + timedelta(hours=2))
        (station,) = story.rows(Station)
        assert station.clock_skew_s == 0
        story.card("SECOND")
        second = await story.start("SECOND", at=NOON + timedelta(hours=4), meter=9_000_000)
        assert second.authorization.status.value == "accepted"
        assert story.transactions()[1].started_rule == "offline"


@pytest.mark.parametrize("claim", [NOON - timedelta(days=2), NOON.replace(year=2018), NOON + timedelta(seconds=30)])
async def test_a_time_at_which_it_was_not_away_is_overridden(database: Database, claim: datetime) -> None:  # F05, T2
    async with told(database) as story:
        await away_and_back(story)
        await story.start(at=claim)
        row = story.transaction()
        assert (row.started_at, row.started_claimed_at, row.started_rule) == (story.now, claim, "server_past")
        assert "clock_skewed" in row.flags
        (alert,) = story.rows(Alert)
        assert (alert.kind, alert.subject) == ("clock_skew", "CP1")


async def test_a_clock_known_to_be_wrong_is_not_believed_about_its_absence(database: Database) -> None:  # T2
    async with told(database) as story:
        await away_and_back(story)
        await story.status(ConnectorStatus.AVAILABLE, at=story.now - timedelta(hours=3))
        row = await burst(story, NOON + timedelta(hours=2))
        assert (row.started_rule, row.started_at) == ("server_past", story.now)
        assert row.ended_at >= row.started_at
        assert "clock_skewed" in row.flags


@pytest.mark.parametrize(
    ("ahead", "rule"),
    [
        (timedelta(minutes=10), "charger"),
        (timedelta(minutes=10, seconds=1), "server_future"),
        (timedelta(days=1), "server_future"),
        (-timedelta(minutes=10), "charger"),
        (-timedelta(minutes=10, seconds=1), "server_past"),
    ],
)
async def test_a_live_clock_is_believed_within_ten_minutes(  # F05
    database: Database, ahead: timedelta, rule: str
) -> None:
    async with told(database) as story:
        story.site("CP1")
        story.card()
        comes(story, "c1")
        await story.boot()
        await story.start(at=story.now + ahead)
        assert story.transaction().started_rule == rule


async def test_an_end_before_its_start_has_no_length_and_is_flagged(database: Database) -> None:  # E11, T2
    async with told(database) as story:
        story.site("CP1")
        story.card()
        number = (await story.start(at=NOON + timedelta(minutes=5))).transaction_id
        await story.end(number, 1_500_000, at=NOON - timedelta(minutes=5))
        row = story.transaction()
        assert row.ended_at == row.started_at
        assert "clock_skewed" in row.flags


async def test_an_end_whose_start_was_lost_is_not_dated_by_a_wrong_clock(database: Database) -> None:  # X19, F05
    async with told(database) as story:
        story.site("CP1")
        comes(story, "c1")
        await story.boot()
        long_ago = NOON.replace(year=2018)
        samples = (_sample(long_ago - timedelta(hours=1)),)
        await story.end("5", 3_000_000, at=long_ago, samples=samples)
        await story.end("6", 4_000_000, samples=samples)
        for row in story.transactions():
            assert (row.state, row.started_at, row.ended_at) == ("ended", NOON, NOON)
        story.pass_time(hours=1)
        await story.end("7", 5_000_000, samples=(_sample(NOON + timedelta(minutes=20)),))
        row = story.transactions()[2]
        assert (row.started_at, row.ended_at) == (NOON + timedelta(minutes=20), story.now)


def _sample(at: datetime) -> MeterSample:
    return MeterSample(occurred_at=at, values=(SampledValue(value="1000"),))


@pytest.mark.parametrize("ref", ["-1", "0", "4711"])
async def test_an_end_without_a_number_sent_again_does_not_end_the_next_charge(  # X04, E03
    database: Database, ref: str
) -> None:
    async with told(database) as story:
        story.site("CP1")
        story.card()
        await story.start()
        ended = story.pass_time(minutes=5)
        await story.end(ref, 1_500_000)
        story.pass_time(minutes=1)
        await story.start(meter=1_500_000)
        for minutes in (1, 30):
            story.pass_time(minutes=minutes)
            await story.end(ref, 1_500_000, at=ended)
        assert [row.state for row in story.transactions()] == ["ended", "active"]
        assert story.transactions()[0].ended_at == ended


async def test_a_lost_end_sent_again_after_the_next_start_stays_lost(database: Database) -> None:  # X19, E03
    async with told(database) as story:
        story.site("CP1")
        story.card()
        first = await story.end("77", 1_500_000, id_token="04A1B2C3D4", at=NOON)
        story.pass_time(minutes=1)
        await story.start(meter=1_500_000)
        assert await story.end("77", 1_500_000, id_token="04A1B2C3D4", at=NOON) == first
        assert [row.state for row in story.transactions()] == ["ended", "active"]


async def test_answers_that_are_being_committed_are_given_when_the_service_stops(database: Database) -> None:
    story = Story(database)
    story.site(*(f"CP{n}" for n in range(30)))
    running = asyncio.create_task(story.csms.run())
    boots = [asyncio.create_task(story.boot(f"CP{n}")) for n in range(30)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    running.cancel()
    async with asyncio.timeout(30):
        answers = await asyncio.gather(*boots, return_exceptions=True)
    await asyncio.gather(running, return_exceptions=True)
    await story.csms.close()
    answered = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert len([row for row in story.rows(Station) if row.boot_epoch == 1]) == len(answered)
