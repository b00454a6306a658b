"""Requests somebody waits on: told at once, settled whatever happens, and found again by their transaction."""

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from csms.authorization import OwnerAnswer
from csms.commands import (
    Answer,
    ChangeAvailability,
    Outcome,
    ResetStation,
    StartRemotely,
    StopRemotely,
    TriggerKind,
    TriggerMessage,
)
from csms.database import Database
from csms.effects import EFFECT
from csms.events import AuthorizationStatus, ConnectorStatus
from csms.journal import Wake
from csms.models import Alert, Evse, JournalEntry, RemoteRequest, Token
from csms.remote import STATE, RemoteControl, UnknownCard, UnknownEvse, start_for_card
from csms.requests import enqueue, kind_of, tag_for
from csms.watch import Watch
from tests.csms.core_story import NOON, Story, told

START = StartRemotely(station_id="CP1", evse=1, id_token="04A1B2C3D4")


def request(story: Story) -> Any:
    (row,) = story.rows(RemoteRequest)
    return row


async def settled(story: Story, *states: str) -> Any:
    async with asyncio.timeout(30):
        while request(story).state not in states:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return request(story)


def watch(story: Story) -> Watch:
    return Watch(story.database, wake=Wake(), clock=lambda: story.now)


def outcomes(story: Story) -> list[Any]:
    return [entry.data for entry in story.rows(JournalEntry, JournalEntry.type == "remote_outcome")]


STATES = {
    Outcome.ACCEPTED: "accepted",
    Outcome.SCHEDULED: "accepted",
    Outcome.REBOOT_REQUIRED: "accepted",
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
        request_id = await story.csms.remote.request(ResetStation(station_id="CP1"), requested_by="cli:eve")
        row = await settled(story, state)
        assert (row.id, row.kind, row.outcome, row.detail) == (request_id, "reset_station", outcome.value, "word")
        assert outcomes(story) == [{"outcome": outcome.value, "kind": "reset_station"}]


async def test_a_receipt_is_of_its_callers_transaction_and_carried_out_after_it(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        story.answer = Answer(outcome=Outcome.ACCEPTED)
        remote, reset = story.csms.remote, ResetStation(station_id="CP1")
        with contextlib.suppress(LookupError), database.write() as connection:
            remote.receipt(connection, reset, requested_by="partner:7")
            raise LookupError  # and no receipt is left
        with database.write() as connection:
            request_id = remote.receipt(connection, reset, requested_by="partner:7")
        remote.carry_out(request_id, reset, requested_by="partner:7", timeout_s=30.0)
        assert (await settled(story, "accepted")).id == request_id


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


async def test_a_start_that_never_comes_is_told_after_thirty_seconds(
    database: Database,
) -> None:  # R03, CM-24, TC_011_2_CSMS
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
        assert story.transactions() == []


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


async def test_a_start_after_nobody_answered_is_its_own_too(database: Database) -> None:  # CM-25
    async with told(database) as story:
        story.site("CP1")
        story.card(owner_id=7, country_code="NL", party_id="EMS", whitelist="NEVER")
        story.answer = Answer(outcome=Outcome.TIMEOUT)
        id_ = await story.csms.remote.request(
            START, requested_by="partner:7", token_id=1, authorization_reference="AUTH-1"
        )
        await settled(story, "timed_out")
        story.pass_time(seconds=40)
        assert (await story.start()).authorization.status.value == "accepted"
        row = story.transaction()
        assert (row.owner_id, row.remote_request_id, row.authorization_reference) == (7, id_, "AUTH-1")
        started = story.rows(JournalEntry, JournalEntry.type == "transaction_started")
        assert [entry.subject for entry in started] == [row.id]


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
        async with asyncio.timeout(30):
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
        async with asyncio.timeout(30):
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


# ---- what must follow a yes -------------------------------------------------------------------------------------------


def look(story: Story) -> tuple[str | None, Any]:
    watch(story).apply("effects")
    return request(story).effect, request(story).effect_at


async def test_a_stop_that_ends_nothing_is_noticed(database: Database) -> None:  # C08
    async with told(database) as story:
        story.site("CP1")
        story.card()
        number = (await story.start()).transaction_id
        await story.csms.remote.request(
            StopRemotely(station_id="CP1", transaction_ref=str(number)), requested_by="cli:eve"
        )
        await settled(story, "accepted")
        story.pass_time(seconds=119)
        assert look(story) == ("awaited", None)
        story.pass_time(seconds=2)
        assert look(story) == ("missing", story.now)
        assert [(a.kind, a.subject) for a in story.rows(Alert)] == [("stop_without_end", "CP1")]


async def test_a_stop_is_done_when_its_transaction_has_ended(database: Database) -> None:  # C08
    async with told(database) as story:
        story.site("CP1")
        story.card()
        number = (await story.start()).transaction_id
        stop = StopRemotely(station_id="CP1", transaction_ref=str(number))
        await story.csms.remote.request(stop, requested_by="cli:eve")
        await settled(story, "accepted")
        story.pass_time(seconds=5)
        await story.end(number, 2_000_000)
        assert look(story) == ("seen", story.now)
        assert story.rows(Alert) == []


@pytest.mark.parametrize("evse", [0, 1])
async def test_a_scheduled_change_of_availability_is_done_when_the_status_says_so(  # C08
    database: Database, evse: int
) -> None:
    async with told(database) as story:
        story.site("CP1")
        await story.status(ConnectorStatus.CHARGING, evse=evse)
        story.answer = Answer(outcome=Outcome.SCHEDULED)
        command = ChangeAvailability(station_id="CP1", evse=evse, operative=False)
        await story.csms.remote.request(command, requested_by="cli:eve")
        await settled(story, "accepted")
        story.pass_time(hours=3)
        assert look(story) == ("awaited", None)
        await story.status(ConnectorStatus.UNAVAILABLE, evse=evse)
        assert look(story) == ("seen", story.now)


TRIGGERED = {TriggerKind.BOOT: "seen", TriggerKind.METER_VALUES: "seen", TriggerKind.HEARTBEAT: None}


@pytest.mark.parametrize(("kind", "effect"), TRIGGERED.items())
async def test_what_was_triggered_comes(database: Database, kind: TriggerKind, effect: str | None) -> None:  # C08
    async with told(database) as story:
        story.site("CP1")
        await story.csms.remote.request(TriggerMessage(station_id="CP1", kind=kind), requested_by="cli:eve")
        await settled(story, "accepted")
        story.pass_time(seconds=2)
        await story.boot()
        await story.sample(None, 5)
        assert look(story)[0] == effect


NO_YES = [outcome for outcome in Outcome if outcome not in (Outcome.ACCEPTED, Outcome.SCHEDULED)]


@pytest.mark.parametrize("outcome", NO_YES)
async def test_nothing_follows_what_was_not_promised(database: Database, outcome: Outcome) -> None:  # R04
    async with told(database) as story:
        story.site("CP1")
        story.answer = Answer(outcome=outcome)
        await story.csms.remote.request(ResetStation(station_id="CP1"), requested_by="cli:eve")
        await settled(story, STATE[outcome])
        assert request(story).effect is None


def test_every_outcome_has_a_state_and_every_effect_a_request() -> None:
    assert set(STATE) == set(Outcome)
    kinds = {kind_of(command) for command in (ResetStation(station_id="A"), STOP, AWAY, TRIGGER)}
    assert {kind for kind, _ in EFFECT} == kinds


STOP = StopRemotely(station_id="A", transaction_ref="1")
AWAY = ChangeAvailability(station_id="A", evse=0, operative=True)
TRIGGER = TriggerMessage(station_id="A", kind=TriggerKind.BOOT)


# ---- is the card good? (R02) ------------------------------------------------------------------------------------------


class Owner:
    """The partner whose card it is."""

    def __init__(self, status: AuthorizationStatus | None, message: str | None = None) -> None:
        self.answer = OwnerAnswer(status=status, authorization_reference="AUTH-9", message=message)
        self.asked: list[Any] = []

    async def ask(self, question: Any, *, timeout_s: float) -> OwnerAnswer:
        self.asked.append(question)
        return self.answer


NEVER = {"owner_id": 7, "country_code": "NL", "party_id": "EMS", "whitelist": "NEVER"}
OFFLINE = {**NEVER, "whitelist": "ALLOWED_OFFLINE"}
ALWAYS = {**NEVER, "whitelist": "ALWAYS"}
YES, NO_CREDIT = AuthorizationStatus.ACCEPTED, AuthorizationStatus.NO_CREDIT
ASKED = [  # the card, what its owner says, what comes of it
    (NEVER, NO_CREDIT, "no_credit: owner: top up first"),
    (NEVER, AuthorizationStatus.BLOCKED, "blocked: owner: top up first"),
    (NEVER, None, "invalid: owner_silent"),
    (OFFLINE, NO_CREDIT, "no_credit: owner: top up first"),
    (NEVER, YES, None),
    (OFFLINE, None, None),
    (ALWAYS, NO_CREDIT, None),  # its owner does not want to be asked
    ({"valid": False}, YES, "blocked"),
    ({"expires_at": NOON}, YES, "expired"),
    ({}, NO_CREDIT, None),
]


@pytest.mark.parametrize(("card", "says", "refused"), ASKED)
async def test_a_card_that_may_not_charge_starts_nothing(  # R02
    database: Database, card: dict[str, Any], says: AuthorizationStatus | None, refused: str | None
) -> None:
    owner = Owner(says, "top up first")
    async with told(database, token_owner=owner) as story:
        story.site("CP1")
        story.card(**card)
        await story.csms.remote.request(START, requested_by="cli:eve", token_id=1)
        row = await settled(story, "accepted", "rejected")
        assert (row.state, row.detail) == (("rejected", refused) if refused else ("accepted", ""))
        assert story.sent == ([] if refused else [START])
        must_ask = card.get("whitelist") in ("NEVER", "ALLOWED_OFFLINE")
        assert [(q.uid, q.location_id, q.evse_uids) for q in owner.asked] == (
            [("04A1B2C3D4", "LOC-CP1", ("CP1-1",))] if must_ask else []
        )
        assert row.authorization_reference == ("AUTH-9" if must_ask and says is YES else None)


async def test_a_partners_own_start_is_its_own_business(database: Database) -> None:  # R02, CM-22
    owner = Owner(NO_CREDIT)
    async with told(database, token_owner=owner) as story:
        story.site("CP1")
        story.card(**NEVER)
        await story.csms.remote.request(START, requested_by="partner:7", token_id=1)
        await settled(story, "accepted")
        assert (owner.asked, story.sent) == ([], [START])


async def test_an_owner_that_never_answers_does_not_hold_the_start_for_long(database: Database) -> None:  # R02
    async with told(database) as story:
        story.site("CP1")
        story.card(**NEVER)
        silent = RemoteControl(database, send=story._send, wake=Wake(), clock=lambda: story.now, owner=_Silent())
        await silent.request(START, requested_by="cli:eve", token_id=1, timeout_s=0.02)
        row = await settled(story, "rejected")
        assert (row.detail, story.sent) == ("invalid: owner_silent", [])
        await silent.stop()


class _Silent:
    async def ask(self, question: Any, *, timeout_s: float) -> OwnerAnswer:
        await asyncio.Event().wait()
        raise AssertionError(question)


# ---- a driver in front of a station (R01) -----------------------------------------------------------------------------

CODES = [
    "BE*BEC*ECP12",
    "be*bec*ecp12",
    "BEBECECP12",
    "BE-BEC-ECP12",
    "CP1-2",
    " cp1-2 ",
    "https://charge.example.com/BE*BEC*ECP12",
    "https://charge.example.com/e/BE%2ABEC%2AECP12/",
]


@pytest.mark.parametrize("code", CODES)
async def test_a_code_at_a_station_starts_there_with_one_call(database: Database, code: str) -> None:  # R01
    async with told(database) as story:
        story.site("CP1", "CP2")
        story.card("X" * 30)
        with database.write() as connection:
            id_ = start_for_card(connection, code, "x" * 30, requested_by="api:app", now=story.now, connector="1")
        row = request(story)
        assert (row.id, row.station_id, row.evse, row.token_id, row.state) == (id_, "CP1", 2, 1, "queued")
        assert 0 < len(row.command["id_token"]) <= 20


async def test_what_no_code_or_no_card_means_is_refused(database: Database) -> None:  # R01
    async with told(database) as story:
        story.site("CP1", "CP2")
        story.card()
        story.card("DOUBLE", owner_id=7, country_code="NL", party_id="EMS")
        story.card("DOUBLE", owner_id=8, country_code="DE", party_id="EMS")
        with database.write() as connection:

            def start(at: str, card: str = "04A1B2C3D4", connector: str | None = None) -> str:
                return start_for_card(connection, at, card, requested_by="api:app", now=NOON, connector=connector)

            for code in ("", "/", "CP1", "CP1-9", "%", "BE*BEC*E", "https://charge.example.com/"):
                with pytest.raises(UnknownEvse):
                    start(code)
            with pytest.raises(UnknownEvse):
                start("CP1-1", connector="2")
            for card in ("", "0000", "DOUBLE"):
                with pytest.raises(UnknownCard):
                    start("CP1-1", card)
            assert start("CP1-1", connector=None)
            connection.execute(update(Evse).where(Evse.station_id == "CP2", Evse.evse == 1).values(removed=True))
            with pytest.raises(UnknownEvse):
                start("CP2-1")
