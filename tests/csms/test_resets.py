"""A restart: softly by anybody who may ask, the hard way by a person with a reason, after the soft way failed."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from csms import effects, people, resets
from csms.commands import Answer, Outcome, ResetKind, ResetStation
from csms.database import Database
from csms.journal import Wake
from csms.models import Alert, JournalEntry, RemoteRequest, User
from csms.remote import RemoteControl
from csms.requests import PersonsOnly, enqueue
from csms.stations import UnknownStation
from csms.users import Role
from csms.watch import Watch
from tests.csms.core_story import NOON, Story, told

WHY = "hangs since the update"


def staff(database: Database) -> None:
    with database.write() as connection:
        for name, role in {"eve": Role.OPERATOR, "ada": Role.ADMIN, "vic": Role.VIEWER, "gone": Role.ADMIN}.items():
            assert people.add(connection, name, role, NOON)
        people.disable(connection, "gone", NOON)


def order(story: Story, person: str = "eve", **options: Any) -> str:
    fields: dict[str, Any] = {"person": person, "reason": WHY, "now": story.now, **options}
    with story.database.write() as connection:
        return resets.hard(connection, "CP1", **fields)


async def answered(story: Story, outcome: Outcome | None, *, requested_by: str = "cli:eve") -> None:
    """A soft reset that ended so; None: it has no outcome yet."""
    with story.database.write() as connection:
        request_id = resets.soft(connection, "CP1", requested_by=requested_by, now=story.now)
    if outcome is not None:
        control = RemoteControl(story.database, send=story._send, wake=Wake(), clock=lambda: story.now)
        control._settle(request_id, ResetStation(station_id="CP1"), Answer(outcome=outcome))


def watch(story: Story, rule: str = "effects") -> None:
    Watch(story.database, wake=Wake(), clock=lambda: story.now).apply(rule)


def alerts(story: Story) -> list[tuple[str, str, bool]]:
    return sorted((row.kind, row.subject, row.closed_at is None) for row in story.rows(Alert))


# ---- who (R05) --------------------------------------------------------------------------------------------------------

NOBODY = ("vic", "gone", "mallory", "", "api:backoffice", "partner:7", "job:campaign", "cli:eve", "person:eve", "EVE")


@pytest.mark.parametrize("who", NOBODY)
async def test_no_viewer_no_key_no_partner_and_no_job_resets_the_hard_way(database: Database, who: str) -> None:  # R05
    async with told(database) as story:
        story.site("CP1")
        staff(database)
        await answered(story, Outcome.REJECTED)
        with pytest.raises(resets.NotAllowed):
            order(story, who)
        with pytest.raises(resets.NotAllowed):
            order(story, who, override=True, even_charging=True)
        assert [row.requested_by for row in story.rows(RemoteRequest)] == ["cli:eve"]


@pytest.mark.parametrize("who", ["api:backoffice", "partner:7", "job:campaign", "cli:eve"])
def test_no_program_can_put_one_into_the_queue(database: Database, who: str) -> None:  # R05, T12
    command = ResetStation(station_id="CP1", kind=ResetKind.HARD)
    with database.write() as connection, pytest.raises(PersonsOnly):
        enqueue(connection, command, requested_by=who, now=NOON, timeout_s=30, reason=WHY)
    with database.write() as connection, pytest.raises(PersonsOnly):
        enqueue(connection, command, requested_by="person:eve", now=NOON, timeout_s=30)


async def test_a_partners_remote_control_sends_none_either(database: Database) -> None:  # R05
    async with told(database) as story:
        story.site("CP1")
        with pytest.raises(PersonsOnly):
            await story.csms.remote.request(
                ResetStation(station_id="CP1", kind=ResetKind.HARD), requested_by="partner:7"
            )
        assert story.sent == []


async def test_who_asked_when_and_why_stays(database: Database) -> None:  # R05
    async with told(database) as story:
        story.site("CP1")
        staff(database)
        await answered(story, Outcome.TIMEOUT)
        story.pass_time(minutes=1)
        request_id = order(story, reason=f"  {WHY}\n")
        [row] = story.rows(RemoteRequest, RemoteRequest.id == request_id)
        assert (row.requested_by, row.reason, row.state, row.created_at) == ("person:eve", WHY, "queued", story.now)
        assert row.command["kind"] == "hard"
        [fact] = story.rows(JournalEntry, JournalEntry.type == "hard_reset_ordered")
        assert (fact.subject, fact.station_id, fact.data["person"], fact.data["reason"]) == (
            request_id,
            "CP1",
            "eve",
            WHY,
        )
        assert ("hard_reset", request_id, True) in alerts(story)
        with pytest.raises(ValueError, match="reason"):
            order(story, reason=" \n ")
        with pytest.raises(UnknownStation), database.write() as connection:
            resets.hard(connection, "CP9", person="eve", reason=WHY, now=NOON)


async def test_people_come_change_and_go(database: Database) -> None:  # R05
    with database.write() as connection:
        assert people.add(connection, "eve@example.org", Role.VIEWER, NOON)
        assert not people.add(connection, "eve@example.org", Role.OPERATOR, NOON)
        assert people.disable(connection, "eve@example.org", NOON)
        assert not people.disable(connection, "eve@example.org", NOON)
        [eve] = people.everybody(connection)
        assert (eve.role, eve.disabled_at, eve.may(Role.VIEWER)) == (Role.OPERATOR, NOON, False)
        assert not people.add(connection, "eve@example.org", Role.ADMIN, NOON)
        eve = people.find(connection, "eve@example.org") or eve
        assert eve.may(Role.ADMIN)
        with pytest.raises(people.UnknownPerson):
            people.disable(connection, "bob", NOON)
        for name in ("", "api:key", "person:eve", "a b", "-x", "x" * 65, "é", "eve\n"):
            with pytest.raises(ValueError, match="no name"):
                people.add(connection, name, Role.ADMIN, NOON)
        assert connection.execute(select(User.name)).scalars().all() == ["eve@example.org"]


# ---- when (R04) -------------------------------------------------------------------------------------------------------

SOFTLY = {
    Outcome.REJECTED: True,
    Outcome.NOT_SUPPORTED: True,
    Outcome.TIMEOUT: True,
    Outcome.FAILED: True,
    Outcome.OFFLINE: False,
    Outcome.ACCEPTED: False,
    None: False,
}


@pytest.mark.parametrize(("outcome", "then"), SOFTLY.items(), ids=str)
async def test_hard_only_after_soft_failed(database: Database, outcome: Outcome | None, then: bool) -> None:  # R04, C10
    async with told(database) as story:
        story.site("CP1")
        staff(database)
        with pytest.raises(resets.TooEarly, match="no soft reset"):
            order(story)
        await answered(story, outcome)
        story.pass_time(minutes=4)
        if then:
            order(story)
            return
        with pytest.raises(resets.TooEarly):
            order(story)
        order(story, override=True)
        [fact] = story.rows(JournalEntry, JournalEntry.type == "hard_reset_ordered")
        assert fact.data["without_soft"] is True


async def test_a_soft_reset_that_no_service_sent_is_none_that_failed(database: Database) -> None:  # R04
    async with told(database) as story:
        story.site("CP1")
        staff(database)
        with database.write() as connection:
            resets.soft(connection, "CP1", requested_by="cli:eve", now=story.now)
        story.pass_time(minutes=5)
        Watch(database, wake=Wake(), clock=lambda: story.now).apply("lost_requests")
        [request] = story.rows(RemoteRequest)
        assert (request.state, request.detail) == ("offline", "no service took it from the queue")
        with pytest.raises(resets.TooEarly, match="did not reach"):
            order(story)


async def test_a_soft_reset_that_failed_an_hour_ago_counts_no_more(database: Database) -> None:  # R04
    async with told(database) as story:
        story.site("CP1")
        staff(database)
        await answered(story, Outcome.REJECTED)
        story.pass_time(minutes=31)
        with pytest.raises(resets.TooEarly):
            order(story)


@pytest.mark.parametrize("boots", [False, True])
async def test_accepted_and_no_boot_within_five_minutes_is_a_failure(database: Database, boots: bool) -> None:  # R04
    async with told(database) as story:
        story.site("CP1")
        staff(database)
        await story.boot()
        story.pass_time(minutes=1)
        await answered(story, Outcome.ACCEPTED)
        story.pass_time(minutes=4, seconds=59)
        watch(story)
        [row] = story.rows(RemoteRequest)
        assert (row.effect, row.effect_by) == ("awaited", row.created_at + timedelta(minutes=5))
        if boots:
            await story.boot()
        story.pass_time(seconds=2)
        watch(story)
        [row] = story.rows(RemoteRequest)
        assert (row.state, row.effect, row.effect_at) == ("accepted", "seen" if boots else "missing", story.now)
        if boots:
            assert alerts(story) == []
            with pytest.raises(resets.TooEarly, match="booted"):
                order(story)
        else:
            assert alerts(story) == [("reset_without_boot", "CP1", True)]
            order(story)


async def test_a_silent_station_that_booted_after_all_needs_no_hard_reset(database: Database) -> None:  # R04
    async with told(database) as story:
        story.site("CP1")
        staff(database)
        await answered(story, Outcome.TIMEOUT)
        story.pass_time(minutes=1)
        await story.boot()
        with pytest.raises(resets.TooEarly, match="booted"):
            order(story)


async def test_nobody_is_cut_off_while_charging_unless_a_person_says_so(database: Database) -> None:  # R05
    async with told(database) as story:
        story.site("CP1")
        story.card()
        staff(database)
        await story.start()
        await answered(story, Outcome.REJECTED)
        with pytest.raises(resets.Charging):
            order(story)
        with pytest.raises(resets.Charging), database.write() as connection:
            resets.soft(connection, "CP1", requested_by="job:campaign", now=story.now, only_idle=True)
        order(story, "ada", even_charging=True)
        [fact] = story.rows(JournalEntry, JournalEntry.type == "hard_reset_ordered")
        assert fact.data["transactions"] == 1


async def test_a_hard_reset_has_ten_minutes_for_its_boot(database: Database) -> None:  # R04
    async with told(database) as story:
        story.site("CP1")
        staff(database)
        request_id = order(story, override=True)
        control = RemoteControl(database, send=story._send, wake=Wake(), clock=lambda: story.now)
        command = ResetStation(station_id="CP1", kind=ResetKind.HARD)
        control._settle(request_id, command, Answer(outcome=Outcome.ACCEPTED))
        story.pass_time(minutes=9)
        watch(story)
        [row] = story.rows(RemoteRequest)
        assert (row.effect, row.effect_by) == ("awaited", row.created_at + timedelta(minutes=10))
        await story.boot()
        watch(story)
        assert story.rows(RemoteRequest)[0].effect == "seen"


# ---- what jobs do instead (T12) ---------------------------------------------------------------------------------------


async def test_a_job_leaves_a_task_where_a_soft_reset_does_not_help(database: Database) -> None:  # T12
    async with told(database) as story:
        story.site("CP1", "CP2")
        await answered(story, Outcome.REJECTED, requested_by="cli:eve")
        assert alerts(story) == []
        await answered(story, Outcome.REJECTED, requested_by="job:campaign")
        assert alerts(story) == [("hard_reset_needed", "CP1", True)]
        with database.write() as connection:
            connection.execute(update(Alert).values(closed_at=NOON))
        await answered(story, Outcome.ACCEPTED, requested_by="job:campaign")
        story.pass_time(minutes=6)
        watch(story)
        assert alerts(story) == [("hard_reset_needed", "CP1", True), ("reset_without_boot", "CP1", True)]
        with database.write() as connection:
            resets.needs_hard(connection, "CP2", "its update waits for a restart that it refuses", story.now)
        assert ("hard_reset_needed", "CP2", True) in alerts(story)
        assert {row.command["kind"] for row in story.rows(RemoteRequest)} == {"soft"}


async def test_an_old_row_of_an_unknown_kind_awaits_nothing(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        await answered(story, Outcome.ACCEPTED)
        with database.write() as connection:
            connection.execute(update(RemoteRequest).values(kind="of_a_newer_version"))
            assert effects.look(connection, story.now) == []
        assert story.rows(RemoteRequest)[0].effect == "seen"
