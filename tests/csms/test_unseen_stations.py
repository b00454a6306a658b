"""A station whose socket is open and whose application says nothing is found, and found again when it speaks."""

from datetime import timedelta

import pytest
from sqlalchemy import update

from csms.bus import ConnectionOpened
from csms.database import Database
from csms.journal import Wake
from csms.models import Alert, Station
from csms.watch import Watch
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
