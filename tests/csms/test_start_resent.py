"""A charger that tells its running session again after each loss of its line goes on with the session it has."""

from datetime import timedelta

import pytest

from csms.database import Database
from csms.events import AuthorizationStatus
from csms.journal import FactType
from csms.models import JournalEntry
from tests.csms.core_story import NOON, told


@pytest.mark.parametrize("boots", [False, True], ids=["line_lost", "restarted"])
async def test_a_start_told_again_with_its_first_time_is_the_running_session(database: Database, boots: bool) -> None:
    # X20: every half an hour, with the timestamp and the meter of the beginning, and never a stop in between.
    async with told(database) as story:
        story.site("CP1")
        story.card()
        await story.boot()
        first = await story.start(at=NOON)
        for half_hours in (1, 2, 3):
            story.pass_time(minutes=30)
            await story.sample(first.transaction_id, 1000 + 5000 * half_hours)
            if boots:
                await story.boot()
            again = await story.start(at=NOON)
            assert again.transaction_id == first.transaction_id
            assert again.authorization.status is AuthorizationStatus.ACCEPTED
        row = story.transaction()
        assert (row.state, row.started_at) == ("active", NOON)
        story.pass_time(minutes=1)
        await story.end(first.transaction_id, 16_100_000)
        row = story.transaction()
        assert (row.state, row.energy_mwh, row.ended_at) == ("ended", 15_100_000, NOON + timedelta(minutes=91))
        started = [entry for entry in story.rows(JournalEntry) if entry.type == FactType.TRANSACTION_STARTED]
        assert len(started) == 1
