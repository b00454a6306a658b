"""May this card charge? The five answers, one card in one place, and what its owner says, or does not say."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from csms.authorization import OwnerAnswer, Question
from csms.database import Database
from csms.events import AuthorizationStatus
from csms.models import Alert, AuthorizationDecision, Tap
from csms.tokens import normalize
from tests.csms.core_story import NOON, Story, told

ACCEPTED, BLOCKED, EXPIRED = AuthorizationStatus.ACCEPTED, AuthorizationStatus.BLOCKED, AuthorizationStatus.EXPIRED
INVALID, CONCURRENT = AuthorizationStatus.INVALID, AuthorizationStatus.CONCURRENT_TX
PARTNER = 7


class Owner:
    """A partner that answers what it was told to answer, fails, or never does."""

    def __init__(self, answer: OwnerAnswer | Exception | None) -> None:
        self.answer = answer
        self.asked: list[Question] = []

    async def ask(self, question: Question, *, timeout_s: float) -> OwnerAnswer:
        self.asked.append(question)
        if self.answer is None:
            await asyncio.Event().wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        assert self.answer is not None
        return self.answer


def yes(reference: str | None = "REF-1") -> Owner:
    return Owner(OwnerAnswer(status=ACCEPTED, authorization_reference=reference))


def no(status: AuthorizationStatus = BLOCKED) -> Owner:
    return Owner(OwnerAnswer(status=status))


def partner_card(story: Story, uid: str = "04A1B2C3D4", **changes: Any) -> None:
    story.card(uid, **{"owner_id": PARTNER, "country_code": "NL", "party_id": "EMS", **changes})


def reasons(story: Story) -> list[tuple[str, str, str]]:
    return [(row.kind, row.status, row.reason) for row in story.rows(AuthorizationDecision)]


@pytest.fixture(autouse=True)
def quick_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("csms.consultation.OWNER_BUDGET_S", 0.05)


# ---- the key (D01, D03) ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    ["04a1 b2", "\x0004A1 B2", "\ufeff04A1 B2", "04A1\u200b B2", "04A1 B2\x00\x00", " 04A1 B2\x9f", "04A1 B2\ud800"],
)
def test_a_card_is_its_printable_text_in_any_case(raw: str) -> None:  # D01, D03
    assert normalize(raw) == "04a1 b2"


@pytest.mark.parametrize("raw", ["\x0004A1B2C3D4", "04a1b2c3d4", "\ufeff04A1B2C3D4\u200b"])
async def test_every_spelling_of_a_card_is_accepted_and_its_bytes_are_kept(database: Database, raw: str) -> None:  # D03
    async with told(database) as story:
        story.site("CP1")
        story.card()
        assert (await story.tap(raw)).status is ACCEPTED
        (row,) = story.rows(AuthorizationDecision)
        assert bytes.fromhex(row.id_token).decode() == raw
        assert row.id_token_key == "04a1b2c3d4"


@pytest.mark.parametrize("raw", ["", "\x00", "A" * 300, "Ü" * 20_000, "\ud800\udfff", "'; DROP TABLE tokens --"])
async def test_no_text_is_too_strange_to_be_answered_and_logged(database: Database, raw: str) -> None:  # D09, X01
    async with told(database) as story:
        story.site("CP1")
        assert (await story.tap(raw)).status is INVALID
        started = await story.start(raw)
        assert started.authorization.status is INVALID
        assert (await story.start(raw)).transaction_id == started.transaction_id
        await story.end(started.transaction_id, 2_000_000, id_token=raw or None)
        assert story.transaction().state == "ended"
        assert reasons(story)[:2] == [("authorize", "invalid", "unknown"), ("start", "invalid", "unknown")]


# ---- the five answers (C04, D08) ------------------------------------------------------------------------------------


async def test_accepted_tells_group_and_expiry(database: Database) -> None:  # C04, D08, TK-09
    async with told(database) as story:
        story.site("CP1")
        until = NOON + timedelta(days=30)
        story.card(group_id="FLEET1", expires_at=until)
        answer = await story.tap()
        assert (answer.status, answer.group_id, answer.expires_at) == (ACCEPTED, "FLEET1", until)
        first = await story.start()
        assert first.authorization == answer
        story.pass_time(minutes=1)
        assert await story.start(at=NOON) == first  # E03: the repeat is told all that the first was


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"valid": False}, BLOCKED),
        ({"expires_at": NOON - timedelta(seconds=1)}, EXPIRED),
        ({"expires_at": NOON}, EXPIRED),
        ({"expires_at": NOON + timedelta(seconds=1)}, ACCEPTED),
    ],
)
async def test_a_card_is_answered_by_its_state(  # C04, D08
    database: Database, changes: dict[str, Any], status: AuthorizationStatus
) -> None:
    async with told(database) as story:
        story.site("CP1")
        story.card(**changes)
        assert (await story.tap()).status is status
        assert (await story.start()).authorization.status is status


async def test_an_unknown_card_is_invalid_and_a_used_one_concurrent(database: Database) -> None:  # C04, D06
    async with told(database) as story:
        story.site("CP1", "CP2")
        story.card()
        assert (await story.tap("NOBODY")).status is INVALID
        await story.start()
        assert (await story.tap(station_id="CP2")).status is CONCURRENT
        assert (await story.start(station_id="CP2")).authorization.status is CONCURRENT


async def test_each_decision_leaves_a_row(database: Database) -> None:  # D09
    async with told(database) as story:
        story.site("CP1")
        story.card()
        await story.tap()
        started = await story.start()
        await story.start(at=NOON)
        for _ in range(2):
            await story.end(started.transaction_id, 2_000_000, id_token="04A1B2C3D4")
        assert [kind for kind, _, _ in reasons(story)] == ["authorize", "start", "stop"]


# ---- one card, one place (D06, D07, T3) -----------------------------------------------------------------------------


async def test_a_tap_takes_the_card_for_a_minute(database: Database) -> None:  # D07
    async with told(database) as story:
        story.site("CP1", "CP2")
        story.card()
        assert (await story.tap()).status is ACCEPTED
        assert (await story.tap(station_id="CP2")).status is CONCURRENT
        assert (await story.tap()).status is ACCEPTED
        story.pass_time(seconds=61)
        assert (await story.tap(station_id="CP2")).status is ACCEPTED


async def test_two_taps_at_the_same_moment_are_one(database: Database) -> None:  # D07
    async with told(database) as story:
        names = [f"CP{n}" for n in range(10)]
        story.site(*names)
        story.card()
        answers = await asyncio.gather(*(story.tap(station_id=name) for name in names))
        assert [answer.status for answer in answers].count(ACCEPTED) == 1
        assert len(story.rows(Tap)) == 1


async def test_the_own_session_may_be_stopped_whatever_became_of_the_card(database: Database) -> None:  # T3
    async with told(database) as story:
        story.site("CP1")
        story.card()
        await story.start()
        story.card(valid=False, last_updated=NOON + timedelta(minutes=1))
        assert (await story.tap()).status is ACCEPTED
        assert reasons(story)[-1] == ("authorize", "accepted", "own_transaction_here")


async def test_an_exempt_card_charges_at_many_places(database: Database) -> None:  # D06
    async with told(database) as story:
        story.site("CP1", "CP2")
        story.card(exempt=True)
        for name in ("CP1", "CP2"):
            assert (await story.tap(station_id=name)).status is ACCEPTED
            assert (await story.start(station_id=name)).authorization.status is ACCEPTED
        assert [row.state for row in story.transactions()] == ["active", "active"]


async def test_cards_of_one_group_charge_side_by_side(database: Database) -> None:  # D06
    async with told(database) as story:
        story.site("CP1", "CP2")
        story.card("ONE", group_id="FLEET")
        story.card("TWO", group_id="FLEET")
        assert (await story.start("ONE")).authorization.status is ACCEPTED
        assert (await story.start("TWO", station_id="CP2")).authorization.status is ACCEPTED


# ---- several owners (decision 1) ------------------------------------------------------------------------------------


async def test_the_operators_own_card_goes_before_a_partners(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        partner_card(story)
        story.card(valid=False)
        assert (await story.tap()).status is BLOCKED


async def test_of_several_owners_the_one_valid_card_counts(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        partner_card(story, valid=False)
        partner_card(story, owner_id=8)
        await story.start()
        assert (story.transaction().state, story.transaction().owner_id) == ("active", 8)


async def test_a_card_of_several_owners_is_invalid_and_somebody_is_told(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        partner_card(story)
        partner_card(story, owner_id=8)
        assert (await story.tap()).status is INVALID
        assert (await story.start()).authorization.status is INVALID
        (alert,) = story.rows(Alert)
        assert alert.kind == "card_of_several_owners"
        assert "a1b2c3" not in alert.subject


# ---- its owner is asked (TK-30 to TK-34, decision 3) ----------------------------------------------------------------

SILENCE = {"gives no answer": Owner(OwnerAnswer(status=None)), "hangs": Owner(None), "fails": Owner(ValueError("x"))}


async def test_a_card_that_asks_each_time_is_decided_by_its_owner(database: Database) -> None:  # TK-32
    owner = no(AuthorizationStatus.NO_CREDIT)
    async with told(database, token_owner=owner) as story:
        story.site("CP1")
        partner_card(story, whitelist="NEVER", valid=False)
        assert (await story.tap()).status is AuthorizationStatus.NO_CREDIT
        owner.answer = OwnerAnswer(status=ACCEPTED, authorization_reference="REF-9")
        answer = await story.tap()
        assert (answer.status, answer.expires_at) == (ACCEPTED, NOON)  # nothing to keep in a cache
        question = owner.asked[0]
        assert (question.uid, question.location_id, question.evse_uids) == ("04A1B2C3D4", "LOC-CP1", ("CP1-1", "CP1-2"))


@pytest.mark.parametrize("silence", SILENCE)
@pytest.mark.parametrize(("whitelist", "status"), [("NEVER", INVALID), ("ALLOWED_OFFLINE", ACCEPTED)])
async def test_an_owner_who_is_silent_leaves_it_to_the_whitelist(  # TK-33, TK-34
    database: Database, silence: str, whitelist: str, status: AuthorizationStatus
) -> None:
    async with told(database, token_owner=SILENCE[silence]) as story:
        story.site("CP1")
        partner_card(story, whitelist=whitelist)
        assert (await story.tap()).status is status
        started = await story.start()
        assert started.authorization.status is status


@pytest.mark.parametrize("whitelist", ["ALWAYS", "ALLOWED"])
async def test_an_owner_is_not_asked_for_a_card_on_the_whitelist(
    database: Database, whitelist: str
) -> None:  # TK-30, 31
    owner = no()
    async with told(database, token_owner=owner) as story:
        story.site("CP1")
        partner_card(story, whitelist=whitelist)
        assert (await story.tap()).status is ACCEPTED
        assert owner.asked == []


async def test_a_fresh_yes_is_good_for_a_start_at_that_station(database: Database) -> None:  # decision 3
    owner = yes("REF-5")
    async with told(database, token_owner=owner) as story:
        story.site("CP1", "CP2")
        partner_card(story, whitelist="NEVER")
        await story.tap()
        story.pass_time(minutes=14)
        started = await story.start()
        assert started.authorization.status is ACCEPTED
        assert len(owner.asked) == 1
        row = story.transaction()
        assert (row.authorization_reference, row.auth_method, row.flags) == ("REF-5", "AUTH_REQUEST", [])
        assert await story.start(at=row.started_claimed_at) == started
        assert len(owner.asked) == 1  # a repeat asks nobody


@pytest.mark.parametrize(("minutes", "station_id"), [(16, "CP1"), (1, "CP2")])
async def test_an_old_yes_or_one_given_elsewhere_is_asked_for_anew(  # decision 3
    database: Database, minutes: int, station_id: str
) -> None:
    owner = yes()
    async with told(database, token_owner=owner) as story:
        story.site("CP1", "CP2")
        partner_card(story, whitelist="NEVER")
        await story.tap()
        story.pass_time(minutes=minutes)
        owner.answer = OwnerAnswer(status=BLOCKED)
        assert (await story.start(station_id=station_id)).authorization.status is BLOCKED
        assert len(owner.asked) == 2


async def test_a_start_of_hours_ago_asks_nobody_is_accepted_and_flagged(database: Database) -> None:  # decision 3
    owner = no()
    async with told(database, token_owner=owner) as story:
        story.site("CP1")
        partner_card(story, whitelist="NEVER")
        late = await story.start(at=NOON - timedelta(hours=5))
        assert late.authorization.status is ACCEPTED
        assert "unchecked_token" in story.transaction().flags
        assert owner.asked == []


async def test_a_refused_start_is_told_the_same_when_it_is_repeated(database: Database) -> None:  # E03
    owner = no()
    async with told(database, token_owner=owner) as story:
        story.site("CP1")
        partner_card(story, whitelist="NEVER")
        first = await story.start()
        owner.answer = OwnerAnswer(status=ACCEPTED)
        story.pass_time(minutes=1)
        assert await story.start(at=NOON) == first
        assert (len(owner.asked), first.authorization.status) == (1, BLOCKED)


async def test_to_stop_its_own_session_nobody_is_asked(database: Database) -> None:  # T3
    owner = yes()
    async with told(database, token_owner=owner) as story:
        story.site("CP1")
        partner_card(story, whitelist="NEVER")
        await story.start()
        owner.answer = OwnerAnswer(status=BLOCKED)
        assert (await story.tap()).status is ACCEPTED
        assert len(owner.asked) == 1
