"""Requests somebody waits on: told at once, settled whatever happens, and found again by their transaction."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from csms.commands import Answer, Outcome, ResetStation, StartRemotely, StopRemotely
from csms.database import Database
from csms.journal import Wake
from csms.models import JournalEntry, RemoteRequest, Token
from csms.remote import RemoteControl, enqueue, tag_for
from csms.watch import Watch
from tests.csms.core_story import NOON, Story, told

START = StartRemotely(station_id="CP1", evse=1, id_token="04A1B2C3D4")


def request(story: Story) -> Any:
    (row,) = story.rows(RemoteRequest)
    return row


async def settled(story: Story, *states: str) -> Any:
    async with asyncio.timeout(10):
        while request(story).state not in states:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return request(story)


def watch(story: Story) -> Watch:
    return Watch(story.database, wake=Wake(), clock=lambda: story.now)


def outcomes(story: Story) -> list[Any]:
    return [entry.data for entry in story.rows(JournalEntry, JournalEntry.type == "remote_outcome")]


STATES = {
    Outcome.ACCEPTED: "accepted",
    Outcome.REJECTED: "rejected",
    Outcome.NOT_SUPPORTED: "rejected",
    Outcome.OFFLINE: "offline",
    Outcome.TIMEOUT: "timed_out",
    Outcome.FAILED: "failed",
}


@pytest.mark.parametrize(("outcome", "state"), STATES.items())
async def test_whatever_the_charger_does_somebody_is_told(
    database: Database, outcome: Outcome, state: str
) -> None:  # C08
    async with told(database) as story:
        story.site("CP1")
        story.answer = Answer(outcome=outcome, detail="word")
        told_of: list[str] = []
        request_id = await story.csms.remote.request(
            ResetStation(station_id="CP1"), requested_by="cli:eve", also=lambda _, id_: told_of.append(id_)
        )
        row = await settled(story, state)
        assert (row.id, row.kind, row.outcome, row.detail) == (request_id, "reset_station", outcome.value, "word")
        assert told_of == [request_id]
        assert outcomes(story) == [{"outcome": outcome.value, "kind": "reset_station"}]


async def test_a_bug_on_the_way_to_the_charger_is_an_outcome_too(database: Database) -> None:  # C08
    async with told(database) as story:
        story.site("CP1")
        story.answer = None  # type: ignore[assignment]
        failing = RemoteControl(database, send=_explodes, wake=Wake(), clock=lambda: story.now)
        await failing.request(START, requested_by="cli:eve")
        row = await settled(story, "failed")
        assert (row.outcome, row.detail) == ("failed", "ValueError")
        await failing.stop()


async def _explodes(command: Any, /, *, timeout_s: float) -> Any:
    raise ValueError(command.station_id)


async def test_a_start_that_never_comes_is_told_after_thirty_seconds(database: Database) -> None:  # R03
    async with told(database) as story:
        story.site("CP1")
        story.card()
        await story.csms.remote.request(START, requested_by="partner:7", token_id=1)
        await settled(story, "accepted")
        story.pass_time(seconds=29)
        assert watch(story).apply("no_shows") == 0
        story.pass_time(seconds=1)
        assert watch(story).apply("no_shows") == 1
        assert watch(story).apply("no_shows") == 0
        assert request(story).state == "no_start"
        assert [entry.type for entry in story.rows(JournalEntry)][-1] == "remote_start_unanswered"


async def test_a_start_after_the_thirty_seconds_is_still_its_own(database: Database) -> None:  # R03
    async with told(database) as story:
        story.site("CP1")
        story.card()
        id_ = await story.csms.remote.request(
            START, requested_by="partner:7", token_id=1, authorization_reference="AUTH-1"
        )
        await settled(story, "accepted")
        story.pass_time(seconds=31)
        watch(story).apply("no_shows")
        await story.start()
        row = story.transaction()
        assert (row.remote_request_id, row.authorization_reference, row.auth_method) == (id_, "AUTH-1", "COMMAND")
        assert (request(story).state, request(story).transaction_id) == ("started", row.id)
        story.pass_time(seconds=60)
        assert watch(story).apply("no_shows") == 0


async def test_a_charger_that_starts_before_it_answers_is_not_a_no_show(database: Database) -> None:  # R03
    async with told(database) as story:
        story.site("CP1")
        story.card()
        answered = asyncio.Event()

        async def slow(command: Any, /, *, timeout_s: float) -> Any:
            await answered.wait()
            return Answer(outcome=Outcome.ACCEPTED)

        remote = RemoteControl(database, send=slow, wake=Wake(), clock=lambda: story.now)
        await remote.request(START, requested_by="partner:7", token_id=1)
        await story.start()
        assert request(story).state == "started"
        answered.set()
        async with asyncio.timeout(10):
            while request(story).outcome is None:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert request(story).state == "started"
        story.pass_time(minutes=1)
        assert watch(story).apply("no_shows") == 0
        await remote.stop()


async def test_a_remote_start_vouches_for_its_card_once(database: Database) -> None:  # decision 1, CM-22
    async with told(database) as story:
        story.site("CP1", "CP2")
        story.card(owner_id=7, country_code="NL", party_id="EMS", whitelist="NEVER")
        await story.csms.remote.request(START, requested_by="partner:7", token_id=1)
        await settled(story, "accepted")
        assert (await story.tap()).status.value == "accepted"
        assert (await story.tap(station_id="CP2")).status.value == "invalid"
        assert (await story.start(evse=2)).authorization.status.value == "invalid"
        assert (await story.start()).authorization.status.value == "accepted"
        story.pass_time(seconds=5)
        assert (await story.start(meter=2_000_000)).authorization.status.value == "invalid"


async def test_a_remote_start_of_a_card_in_use_is_no_started_request(database: Database) -> None:  # D06
    async with told(database) as story:
        story.site("CP1", "CP2")
        story.card()
        await story.start(station_id="CP2")
        await story.csms.remote.request(START, requested_by="partner:7", token_id=1)
        await settled(story, "accepted")
        assert (await story.start()).authorization.status.value == "concurrent_tx"
        assert request(story).state == "rejected"


async def test_a_start_with_a_minted_tag_is_told_the_same_when_repeated(database: Database) -> None:  # E03, decision 2
    async with told(database) as story:
        story.site("CP1")
        story.card("X" * 30, group_id="FLEET", expires_at=NOON + timedelta(days=1))
        with database.write() as connection:
            tag = tag_for(connection, connection.execute(select(Token.__table__)).one())
        command = StartRemotely(station_id="CP1", id_token=tag)
        await story.csms.remote.request(command, requested_by="partner:7", token_id=1)
        await settled(story, "accepted")
        first = await story.start(tag)
        assert (first.authorization.status.value, first.authorization.group_id) == ("accepted", "FLEET")
        story.pass_time(seconds=10)
        assert await story.start(tag, at=NOON) == first
        ended = await story.end(first.transaction_id, 2_000_000, id_token="x" * 30)
        assert ended.authorization.status.value == "accepted"  # the physical card of the same token


TAGS = {"04A1B2C3D4": True, "A" * 20: True, "A" * 21: False, "Käse": False, "": False, " 04 ": False, "04 A1": True}


@pytest.mark.parametrize(("uid", "itself"), TAGS.items())
async def test_a_uid_is_sent_itself_where_every_charger_can_carry_it(  # decision 2, CM-26
    database: Database, uid: str, itself: bool
) -> None:
    async with told(database) as story:
        story.card(uid)
        with database.write() as connection:
            token = connection.execute(select(Token.__table__)).one()
            tag = tag_for(connection, token)
            other = tag_for(connection, token)
        assert (tag == uid) is itself
        assert len(tag) <= 20
        assert tag.isalnum() or itself
        assert (tag == other) is itself


async def test_a_uid_of_two_owners_is_never_sent(database: Database) -> None:  # decision 2
    async with told(database) as story:
        story.card("04AA")
        story.card("04aa", owner_id=7, country_code="NL", party_id="EMS")
        with database.write() as connection:
            for token in connection.execute(select(Token.__table__)).all():
                assert tag_for(connection, token).startswith("RB")


async def test_what_another_process_queued_is_sent_once(database: Database) -> None:  # C08
    async with told(database) as story:
        story.site("CP1")
        controls = [
            RemoteControl(database, send=story._send, wake=Wake(), clock=lambda: story.now, poll_s=0.01) for _ in "ab"
        ]
        runs = [asyncio.create_task(control.run()) for control in controls]
        stop = StopRemotely(station_id="CP1", transaction_ref="7")
        with database.write() as connection:
            broken = enqueue(connection, stop, requested_by="cli:eve", now=NOON, timeout_s=30)
            connection.execute(update(RemoteRequest).values(command={"type": "of_a_newer_version"}))
            id_ = enqueue(connection, stop, requested_by="cli:eve", now=NOON, timeout_s=30)
        async with asyncio.timeout(10):
            while {row.state for row in story.rows(RemoteRequest)} & {"queued", "sent"}:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert story.sent == [stop]
        states = {row.id: row.state for row in story.rows(RemoteRequest)}
        assert states == {broken: "failed", id_: "accepted"}
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)
        for control in controls:
            await control.stop()


async def test_a_request_whose_process_died_is_settled_after_its_deadline(database: Database) -> None:  # R03
    async with told(database) as story:
        story.site("CP1")
        story.card()
        dying = RemoteControl(database, send=_never, wake=Wake(), clock=lambda: story.now)
        await dying.request(START, requested_by="partner:7", token_id=1, timeout_s=30)
        await dying.stop()
        assert request(story).state == "sent"
        story.pass_time(seconds=39)
        assert watch(story).apply("lost_requests") == 0
        story.pass_time(seconds=2)
        assert watch(story).apply("lost_requests") == 1
        assert request(story).state == "timed_out"
        assert outcomes(story) == [{"outcome": "timeout", "kind": "start_remotely"}]
        await story.start()  # it had reached the charger after all
        assert request(story).state == "started"


async def _never(command: Any, /, *, timeout_s: float) -> Any:
    await asyncio.Event().wait()


async def test_a_no_show_is_told_by_the_process_that_comes_after(database: Database) -> None:  # R03
    async with told(database) as story:
        story.site("CP1")
        await story.csms.remote.request(START, requested_by="partner:7")
        await settled(story, "accepted")
    async with told(database) as later:
        later.now = NOON + timedelta(seconds=31)
        assert watch(later).apply("no_shows") == 1
