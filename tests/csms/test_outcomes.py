"""What follows from an answer may fail; the outcome that somebody waits for is stored all the same."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select

from csms import outcomes
from csms.commands import Outcome, ResetStation
from csms.database import Database
from csms.journal import Fact, Wake
from csms.models import Alert, JournalEntry, RemoteRequest, Station
from csms.requests import enqueue
from csms.watch import Watch
from tests.csms.core_story import NOON, told
from tests.csms.test_remote import settled


def breaks(connection: Connection, *_: Any) -> Sequence[Fact]:
    connection.execute(insert(Station).values(station_id="CP1"))  # it is there already, and lacks the rest
    return []


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "FOLLOWS", {**outcomes.FOLLOWS, ResetStation: breaks})


@pytest.mark.usefixtures("broken")
async def test_an_outcome_is_stored_whatever_becomes_of_what_follows(database: Database) -> None:  # C08
    async with told(database) as story:
        story.site("CP1")
        request_id = await story.csms.remote.request(ResetStation(station_id="CP1"), requested_by="cli:eve")
        assert (await settled(story, "accepted")).outcome == Outcome.ACCEPTED.value
        assert [entry.subject for entry in story.rows(JournalEntry, JournalEntry.type == "remote_outcome")] == [
            request_id
        ]
        (alert,) = story.rows(Alert)
        assert (alert.kind, alert.subject, alert.detail["command"]) == ("follow_failed", request_id, "reset_station")


@pytest.mark.usefixtures("broken")
async def test_one_lost_request_holds_up_no_other(database: Database) -> None:  # R03
    async with told(database) as story:
        story.site("CP1", "CP2")
        with database.write() as connection:
            for station_id in ("CP1", "CP2"):
                command = ResetStation(station_id=station_id)
                enqueue(connection, command, requested_by="cli:eve", now=NOON, timeout_s=30)
        watch = Watch(database, wake=Wake(), clock=lambda: NOON + timedelta(minutes=1))
        assert watch.apply("lost_requests") == 2
        with database.read() as connection:
            assert set(connection.execute(select(RemoteRequest.state)).scalars()) == {"offline"}
