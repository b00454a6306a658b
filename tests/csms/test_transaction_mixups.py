"""Ends and starts that a charger mixed up: no session swallows another, and what contradicts the bill is kept beside it."""

from datetime import timedelta

from csms.database import Database
from csms.events import AuthorizationStatus
from csms.models import AuthorizationDecision
from tests.csms.core_story import NOON, told


async def test_an_end_by_another_known_card_is_not_the_end_of_the_neighbour(database: Database) -> None:  # X04, X19
    async with told(database) as story:
        story.site("CP1")
        story.card()
        story.card("04FFEEDDCC")
        running = await story.start(evse=1)
        story.pass_time(minutes=10)
        await story.end("-1", 9_000_000, id_token="04FFEEDDCC")  # of evse 2, whose start was lost
        lost = story.transactions()[1]
        assert (lost.state, lost.flags, lost.owner_id) == ("ended", ["meter_mismatch", "missing_start"], 0)
        story.pass_time(minutes=10)
        await story.end(running.transaction_id, 1_500_000, id_token="04A1B2C3D4")
        neighbour = story.transactions()[0]
        assert (neighbour.state, neighbour.energy_mwh, neighbour.flags) == ("ended", 500_000, [])
        assert neighbour.ended_at == NOON + timedelta(minutes=20)


async def test_an_end_that_contradicts_the_first_is_kept_as_evidence_once(database: Database) -> None:  # T10, E03
    async with told(database) as story:
        story.site("CP1")
        story.card()
        running = await story.start()
        story.pass_time(minutes=10)
        first = story.now
        await story.end("-1", 1_400_000)
        story.pass_time(minutes=10)
        for _ in range(3):
            await story.end(running.transaction_id, 1_500_000, at=NOON + timedelta(minutes=20))
            await story.end(running.transaction_id, 1_400_000, at=first)
        row = story.transaction()
        assert (row.energy_mwh, row.ended_at) == (400_000, first)
        assert [word for word in row.findings if word.startswith("late_end")] == [
            "late_end:1500000@2026-06-01T12:20:00Z"
        ]


async def test_two_sessions_without_a_readable_time_are_two(database: Database) -> None:  # T4, X05
    async with told(database) as story:
        story.site("CP1")
        story.card()
        for hour in range(2):
            started = [await story.start(meter=0, at=None) for _ in range(2)]
            assert {reply.transaction_id for reply in started} == {started[0].transaction_id}
            story.pass_time(minutes=30)
            await story.end(started[0].transaction_id, 700_000 + hour, at=None)
            story.pass_time(minutes=30)
        first, second = story.transactions()
        assert (first.energy_mwh, second.energy_mwh) == (700_000, 700_001)
        assert "repeated_key" not in first.flags
        assert "repeated_key" in second.flags


async def test_a_stranger_learns_nothing_of_our_cards(database: Database) -> None:  # T1
    async with told(database) as story:
        story.card()
        await story.boot("NEW-1")
        ended = await story.end("1", 5_000, station_id="NEW-1", id_token="04A1B2C3D4")
        assert ended.authorization.status is AuthorizationStatus.INVALID
        assert [row.status for row in story.rows(AuthorizationDecision)] == ["invalid"]
