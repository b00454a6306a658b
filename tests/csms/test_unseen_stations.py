"""A station whose socket is open and whose application says nothing is found, and found again when it speaks."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, insert, select, update

from csms.bus import ConnectionOpened
from csms.database import Database
from csms.journal import Wake
from csms.models import Alert, Station
from csms.watch import RULES, Watch
from tests.csms.core_story import Story, told


def look(story: Story) -> list[tuple[str, bool]]:
    """The alerts: of which station, and whether open."""
    Watch(story.database, wake=Wake(), clock=lambda: story.now).apply("unseen_stations")
    return [(row.subject, row.closed_at is None) for row in story.rows(Alert, Alert.kind == "station_unseen")]


def hear(story: Story, station_id: str = "CP1") -> None:
    story.csms.stations.seen(station_id, story.now)
    story.csms.stations.flush_seen()


@pytest.mark.parametrize(("interval_s", "limit_s"), [(300, 600), (60, 600), (900, 1800)])
async def test_a_hung_application_is_told_once_and_until_it_speaks(  # B09, T8, P10
    database: Database, interval_s: int, limit_s: int
) -> None:
    async with told(database) as story:
        story.site("CP1")
        with database.write() as connection:
            connection.execute(update(Station).values(heartbeat_interval_s=interval_s))
        opened = ConnectionOpened(
            connection_id="c1", station_id="CP1", ocpp_version="1.6", peer="::1", opened_at=story.now
        )
        story.csms.stations.opened(opened)
        hear(story)
        story.pass_time(seconds=limit_s)
        assert look(story) == []
        story.pass_time(seconds=1)
        assert look(story) == [("CP1", True)]
        story.pass_time(days=1)
        assert look(story) == [("CP1", True)]  # the next day it is the same one
        hear(story)
        assert look(story) == [("CP1", False)]
        assert story.now - story.rows(Station)[0].last_seen_at == timedelta(0)


async def test_a_station_that_never_came_is_not_missed(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        story.pass_time(days=3)
        assert look(story) == []


NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
TEN_MINUTES = timedelta(minutes=10)


def fleet(database: Database, count: int, *, prefix: str = "CP", interval_s: int = 300, silent: timedelta) -> None:
    rows = [
        {
            "station_id": f"{prefix}{number:05d}",
            "admission": "known",
            "heartbeat_interval_s": interval_s,
            "last_seen_at": NOW - silent,
            "created_at": NOW,
        }
        for number in range(count)
    ]
    with database.write() as connection:
        connection.execute(insert(Station), rows)


def heard(database: Database, silent: timedelta) -> None:
    with database.write() as connection:
        connection.execute(update(Station).values(last_seen_at=NOW - silent))


def look_at(database: Database, now: datetime = NOW) -> float:
    """How many seconds it took."""
    began = time.perf_counter()
    Watch(database, wake=Wake(), clock=lambda: now).apply("unseen_stations")
    return time.perf_counter() - began


def alerted(database: Database) -> int:
    with database.read() as connection:
        open_ = select(func.count()).where(Alert.kind == "station_unseen", Alert.closed_at.is_(None))
        return int(connection.execute(open_).scalar_one())


def test_a_station_is_told_within_seconds_of_its_ten_minutes(database: Database) -> None:  # P10
    fleet(database, 1, silent=timedelta())
    told_after = None
    for second in range(1, 700, int(RULES["unseen_stations"][0])):  # out of step with the station's ten minutes
        look_at(database, NOW + timedelta(seconds=second))
        if alerted(database):
            told_after = second
            break
    assert told_after is not None
    assert 600 < told_after <= 615


def test_stations_with_long_intervals_hide_nobody(database: Database) -> None:  # T8
    fleet(database, 1_100, prefix="SLOW", interval_s=900, silent=2 * TEN_MINUTES)
    fleet(database, 1, silent=TEN_MINUTES + timedelta(seconds=1))
    look_at(database)
    assert alerted(database) == 1


@pytest.mark.alone
def test_ten_thousand_are_looked_at_within_a_second(database: Database) -> None:  # P10, T8
    fleet(database, 9_900, silent=timedelta(minutes=4))
    fleet(database, 100, prefix="SLOW", interval_s=900, silent=timedelta(minutes=20))
    assert min(look_at(database) for _ in range(3)) < 1
    assert alerted(database) == 0
    heard(database, timedelta(minutes=31))
    look_at(database)  # all of them at once
    assert alerted(database) == 10_000
    assert min(look_at(database) for _ in range(3)) < 1
    heard(database, timedelta(minutes=1))
    look_at(database)
    assert alerted(database) == 0
