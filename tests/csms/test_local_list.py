"""The list that a station keeps is the one we want, whatever it takes at once; told at night, or when nobody can wait."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, update

from csms import tokens
from csms.commands import (
    Answer,
    ChangeConfiguration,
    ConfigurationAnswer,
    ConfigurationSetting,
    GetConfiguration,
    GetLocalListVersion,
    ListedToken,
    ListVersionAnswer,
    Outcome,
    SendLocalList,
)
from csms.database import Database
from csms.events import AuthorizationReply, AuthorizationStatus
from csms.local_list import lists
from csms.local_list.cards import read_roll
from csms.local_list.lists import NoList
from csms.local_list.night import SPREAD_S, next_night
from csms.local_list.plan import NEWEST_VERSION, Limits, applied, digest, key_of, plan
from csms.local_list.push import ListPush
from csms.models import ActualSetting, LocalList, Station
from csms.stations import UnknownStation
from tests.csms.core_story import NOON, Story, told

GOOD = AuthorizationReply(status=AuthorizationStatus.ACCEPTED)
LIMITED = AuthorizationReply(status=AuthorizationStatus.ACCEPTED, group_id="FAMILY", expires_at=NOON)


# ---- the plan -------------------------------------------------------------------------------------------------------


class Box:
    """A strict station: no list longer than it keeps, no message longer than it takes, no version that does not rise."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.version = 0
        self.entries: dict[str, ListedToken] = {}

    def take(self, update: SendLocalList) -> Outcome:
        if len(update.entries) > self.limits.message_length:
            return Outcome.FAILED
        if not update.full and update.version <= self.version:
            return Outcome.VERSION_MISMATCH
        if update.full:
            self.entries = {}
        for entry in update.entries:
            if entry.authorization is None:
                self.entries.pop(entry.id_token.casefold(), None)
            else:
                self.entries[entry.id_token.casefold()] = entry
            if len(self.entries) > self.limits.list_length:
                return Outcome.FAILED
        self.version = update.version
        return Outcome.ACCEPTED


def listed(*cards: str, authorization: AuthorizationReply = GOOD) -> list[ListedToken]:
    return [ListedToken(id_token=card, authorization=authorization) for card in cards]


entry = st.builds(
    ListedToken, id_token=st.sampled_from([*"abcdefghijkl"]), authorization=st.sampled_from([GOOD, LIMITED])
)
rolls = st.lists(entry, max_size=12, unique_by=lambda one: one.id_token.casefold())
whole = st.builds(Limits, list_length=st.integers(0, 13), message_length=st.integers(1, 13))


@given(rolls=st.lists(rolls, min_size=1, max_size=5), limits=whole, forgets=st.integers(0, 5), above=st.integers(0, 9))
def test_the_station_holds_what_is_wanted_whatever_its_limits(
    rolls: list[list[ListedToken]], limits: Limits, forgets: int, above: int
) -> None:  # X06
    box = Box(limits)
    held: dict[str, str] | None = {}
    if above:  # somebody else's list
        box.version, box.entries, held = above, {"z": listed("z")[0]} if limits.list_length else {}, None
    for number, wanted in enumerate(rolls):
        if number == forgets:
            box.version, box.entries, held = 0, {}, {}
        for message in plan("CP1", box.version, held, wanted, limits):
            assert box.take(message) is Outcome.ACCEPTED
            held = applied(held or {}, message)
        assert {key: digest(told) for key, told in box.entries.items()} == held
        assert set(box.entries) == {one.id_token.casefold() for one in wanted[: limits.list_length]}
        assert plan("CP1", box.version, held, wanted, limits) == []


def shape(updates: Sequence[SendLocalList]) -> list[tuple[int, bool, list[str]]]:
    return [(one.version, one.full, [entry.id_token for entry in one.entries]) for one in updates]


TWO = Limits(list_length=10, message_length=2)
HELD = {key_of(one.id_token): digest(one) for one in listed("a", "b", "c")}
PLANS: list[tuple[int, dict[str, str] | None, list[ListedToken], list[tuple[int, bool, list[str]]]]] = [
    (0, {}, [], []),
    (0, {}, listed("a"), [(1, True, ["a"])]),
    (0, {}, listed("a", "b", "c"), [(1, True, ["a", "b"]), (2, False, ["c"])]),
    (7, None, listed("a"), [(8, True, ["a"])]),  # another's list
    (7, None, [], [(8, True, [])]),
    (7, HELD, listed("c", "b", "a"), []),  # in another order
    (7, HELD, listed("A", "b", "c"), [(8, False, ["A"])]),  # the same card, written otherwise
    (7, HELD, listed("a", "b", "d"), [(8, False, ["c", "d"])]),  # off before on
    (
        7,
        HELD,
        listed("d", "e", "f"),
        [(8, True, ["d", "e"]), (9, False, ["f"])],
    ),  # six changes are more than three cards
    (7, HELD, [], [(8, True, [])]),
    (7, HELD, listed("a", "b") + listed("c", authorization=LIMITED), [(8, False, ["c"])]),
    (NEWEST_VERSION, HELD, listed("a"), [(1, True, ["a"])]),
]


@pytest.mark.parametrize(("version", "held", "wanted", "expected"), PLANS)
def test_it_is_told_as_briefly_as_can_be(version: int, held: Any, wanted: Any, expected: Any) -> None:  # D04
    assert shape(plan("CP1", version, held, wanted, TWO)) == expected


def test_a_list_that_is_cut_keeps_whom_it_knows_best() -> None:  # X06
    [only] = plan("CP1", 0, {}, listed("a", "b", "c"), Limits(list_length=2, message_length=9))
    assert [one.id_token for one in only.entries] == ["a", "b"]


# ---- the night ------------------------------------------------------------------------------------------------------

NIGHTS = [
    ("Europe/Brussels", "2026-06-01T12:00", "2026-06-02T01:00"),
    ("Europe/Brussels", "2026-12-01T12:00", "2026-12-02T02:00"),
    ("Europe/Brussels", "2026-03-28T12:00", "2026-03-29T01:00"),  # the clocks jumped from two to three
    ("Europe/Brussels", "2026-10-24T12:00", "2026-10-25T02:00"),
    ("America/New_York", "2026-06-01T12:00", "2026-06-02T07:00"),
    ("Pacific/Kiritimati", "2026-06-01T12:00", "2026-06-01T13:00"),
    ("Asia/Kolkata", "2026-06-01T12:00", "2026-06-01T21:30"),
    ("No/Where", "2026-06-01T12:00", "2026-06-02T03:00"),
    (None, "2026-06-01T02:00", "2026-06-01T03:00"),
]


@pytest.mark.parametrize(("zone", "now", "night"), NIGHTS)
def test_it_is_told_at_three_on_its_own_site(zone: str | None, now: str, night: str) -> None:  # D04
    at, three = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (now, night))
    for station_id in ("CP1", "CP2", "another"):
        found = next_night(station_id, zone, at)
        assert timedelta(0) <= found - three < timedelta(seconds=SPREAD_S)
        assert next_night(station_id, zone, at + timedelta(minutes=1)) == found
    assert len({next_night(f"CP{number}", zone, at) for number in range(50)}) > 40


def test_each_day_of_a_year_has_one_night() -> None:  # D04
    for zone in ("Europe/Brussels", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Beirut"):
        at, nights = datetime(2026, 1, 1, 12, tzinfo=UTC), []
        while at < datetime(2027, 1, 1, 12, tzinfo=UTC):
            at = next_night("CP1", zone, at)
            nights.append(at.astimezone(ZoneInfo(zone)).date())
        assert len(nights) == len(set(nights)) in (365, 366)


# ---- the cards ------------------------------------------------------------------------------------------------------


async def test_the_cards_are_those_that_may_charge_without_a_question(database: Database) -> None:  # D04
    async with told(database) as story:
        story.site("CP1")
        roaming: dict[str, Any] = {"owner_id": 7, "country_code": "NL", "party_id": "EMS"}
        other: dict[str, Any] = {"owner_id": 8, "country_code": "DE", "party_id": "EMT"}
        story.card("OWN", group_id="FAMILY", expires_at=NOON + timedelta(days=1))
        story.card("BLOCKED", valid=False)
        story.card("EXPIRED", expires_at=NOON)
        story.card("N" * 20)
        story.card("N" * 21)
        story.card("ÉTÉ")
        for whitelist in ("ALWAYS", "ALLOWED", "ALLOWED_OFFLINE", "NEVER"):
            story.card(f"P-{whitelist}", whitelist=whitelist, **roaming)
        story.card("P-APP", type="APP_USER", **roaming)
        story.card("SHARED", **roaming)
        story.card("shared", **other)
        story.card("ONE-GOOD", **roaming)
        story.card("one-good", **other, valid=False)
        story.card("OWN-TOO", **roaming)
        story.card("own-too")
        with database.read() as connection:
            roll = read_roll(connection, NOON)
        assert [one.id_token for one in roll.entries] == [
            "own-too",
            "ONE-GOOD",
            "P-ALLOWED_OFFLINE",
            "P-ALLOWED",
            "P-ALWAYS",
            "N" * 20,
            "OWN",
        ]
        assert roll.entries[-1].authorization == AuthorizationReply(
            status=AuthorizationStatus.ACCEPTED, group_id="FAMILY", expires_at=NOON + timedelta(days=1)
        )


async def test_a_card_is_listed_under_each_spelling_that_means_it(database: Database) -> None:  # D02, D04
    async with told(database) as story:
        story.site("CP1")
        story.card("A-NUMBER-THAT-IS-TOO-LONG")
        story.card("B")
        story.card("C", valid=False)
        with database.write() as connection:
            for token_id, alias in ((1, "a-short"), (1, "an-alias-that-is-too-long"), (2, "b-2"), (3, "c-2")):
                tokens.add_alias(connection, token_id, alias, NOON)
        story.card("b-2", owner_id=7, country_code="NL", party_id="EMS")
        story.card("A-SHORT", type="OTHER")  # an own one, but younger
        with database.read() as connection:
            assert [one.id_token for one in read_roll(connection, NOON).entries] == ["B", "b-2", "a-short"]


async def test_whoever_charged_last_comes_first(database: Database) -> None:  # D04
    async with told(database) as story:
        story.site("CP1")
        for card in ("A", "B", "C", "D"):
            story.card(card)
        for card in ("C", "A", "C", "B", "A"):
            started = await story.start(card)
            story.pass_time(minutes=5)
            await story.end(started.transaction_id, 1_000_000)
        with database.read() as connection:
            assert [one.id_token for one in read_roll(connection, story.now).entries] == ["A", "B", "C", "D"]


# ---- the push -------------------------------------------------------------------------------------------------------


class Charger(Box):
    """A station with settings; `answers` are what it says instead, one after the other, to what is in it."""

    def __init__(self, limits: Limits | None = None, **settings: str) -> None:
        super().__init__(limits or Limits())
        self.settings = {"LocalAuthListEnabled": "true"} | settings
        if limits is not None:
            self.settings |= {
                "LocalAuthListMaxLength": str(limits.list_length),
                "SendLocalListMaxLength": str(limits.message_length),
            }
        self.sent: list[Any] = []
        self.answers: dict[type, list[Answer]] = {}

    async def send(self, command: Any, /, *, timeout_s: float) -> Any:
        await asyncio.sleep(0)
        self.sent.append(command)
        instead = self.answers.get(type(command))
        if instead:
            return instead.pop(0)
        match command:
            case GetConfiguration():
                known = {key: self.settings[key] for key in command.keys if key in self.settings}
                rows = tuple(ConfigurationSetting(key=key, value=value) for key, value in known.items())
                return ConfigurationAnswer(outcome=Outcome.ACCEPTED, settings=rows)
            case ChangeConfiguration():
                self.settings[command.key] = command.value
                return Answer(outcome=Outcome.ACCEPTED)
            case GetLocalListVersion():
                return ListVersionAnswer(outcome=Outcome.ACCEPTED, version=self.version)
            case SendLocalList():
                return Answer(outcome=self.take(command))
        raise AssertionError(command)

    def updates(self) -> list[SendLocalList]:
        return [command for command in self.sent if isinstance(command, SendLocalList)]


def connected(story: Story, *station_ids: str, here: bool = True) -> None:
    with story.database.write() as connection:
        values = {"connection_id": "c" if here else None, "connected_at": story.now, "registered": "accepted"}
        connection.execute(update(Station).where(Station.station_id.in_(station_ids)).values(**values))


def enabled(story: Story, *station_ids: str) -> None:
    with story.database.write() as connection:
        for station_id in station_ids:
            lists.enable(connection, station_id, story.now)


def push_of(story: Story, charger: Charger, **options: Any) -> ListPush:
    return ListPush(story.database, send=charger.send, clock=lambda: story.now, **{"prepare_every_s": 0, **options})


async def round_of(push: ListPush) -> int:
    """Tells whoever is due; returns how many."""
    jobs = await push.due()
    await asyncio.gather(*(push.tell(job) for job in jobs))
    return len(jobs)


def row_of(story: Story, station_id: str = "CP1") -> Any:
    (row,) = story.rows(LocalList, LocalList.station_id == station_id)
    return row


async def test_a_list_is_told_at_once_then_each_night_and_only_what_changed(
    database: Database,
) -> None:  # D04, TC_042_2_CSMS, TC_043_4_CSMS, TC_043_5_CSMS
    async with told(database) as story:
        story.site("CP1")
        story.card("A")
        story.card("B")
        connected(story, "CP1")
        charger = Charger()
        push = push_of(story, charger)
        assert await round_of(push) == 0  # nobody asked for a list
        enabled(story, "CP1")
        assert row_of(story).state == "never"
        assert await round_of(push) == 1
        row = row_of(story)
        assert (row.state, row.version, row.succeeded_at) == ("sent", 1, NOON)
        assert set(charger.entries) == set(row.entries) == {"a", "b"}
        assert row.due_at == next_night("CP1", "Europe/Brussels", NOON)
        assert await round_of(push) == 0

        story.now = row.due_at
        assert await round_of(push) == 1
        assert len(charger.updates()) == 1  # nothing changed
        story.card("C")
        story.now = row_of(story).due_at
        assert await round_of(push) == 1
        assert shape(charger.updates()[1:]) == [(2, False, ["C"])]
        assert set(charger.entries) == {"a", "b", "c"}


async def test_a_station_that_forgot_or_has_anothers_list_is_told_all(database: Database) -> None:  # D04
    async with told(database) as story:
        story.site("CP1")
        story.card("A")
        connected(story, "CP1")
        enabled(story, "CP1")
        charger = Charger()
        push = push_of(story, charger)
        await round_of(push)
        for version in (0, 900):
            charger.version, charger.entries = version, {}
            story.now = row_of(story).due_at
            await round_of(push)
            assert charger.updates()[-1].full
            assert set(charger.entries) == {"a"}
        assert charger.version == 901


async def test_its_lengths_are_asked_for_or_known_or_the_smallest(database: Database) -> None:  # X06
    async with told(database) as story:
        story.site("CP1", "CP2", "CP3")
        for number in range(60):
            story.card(f"CARD-{number}")
        with database.write() as connection:
            connection.execute(
                insert(ActualSetting).values(
                    station_id="CP2", key="LocalAuthListMaxLength", value="50", readonly=True, read_at=NOON
                )
            )
        for station_id, charger, lengths in (
            ("CP1", Charger(Limits(list_length=25, message_length=10)), [10, 10, 5]),
            ("CP2", Charger(), [48, 2]),
            ("CP3", Charger(), [48]),
        ):
            charger.limits = Limits(list_length=1000, message_length=1000)
            connected(story, station_id)
            enabled(story, station_id)
            assert await round_of(push_of(story, charger)) == 1
            assert [len(one.entries) for one in charger.updates()] == lengths
            assert [one.full for one in charger.updates()] == [True, *[False] * (len(lengths) - 1)]
            assert row_of(story, station_id).version == len(lengths)
            assert "card-59" in charger.entries  # the newest


@pytest.mark.parametrize("word", [Outcome.VERSION_MISMATCH, Outcome.FAILED])
async def test_what_is_refused_is_told_once_more_and_whole(
    database: Database, word: Outcome
) -> None:  # D04, X06, TC_043_3_CSMS
    async with told(database) as story:
        story.site("CP1")
        story.card("A")
        connected(story, "CP1")
        enabled(story, "CP1")
        charger = Charger()
        push = push_of(story, charger)
        await round_of(push)
        story.card("B")
        story.now = row_of(story).due_at
        charger.answers[SendLocalList] = [Answer(outcome=word)]
        await round_of(push)
        assert [(one.version, one.full) for one in charger.updates()] == [(1, True), (2, False), (3, True)]
        assert (row_of(story).state, row_of(story).version, set(charger.entries)) == ("sent", 3, {"a", "b"})

        story.card("C")
        story.now = row_of(story).due_at
        charger.answers[SendLocalList] = [Answer(outcome=word), Answer(outcome=word, detail="again")]
        await round_of(push)
        row = row_of(story)
        assert (row.state, row.detail, len(charger.updates())) == ("failed", "again", 5)
        story.now = row.due_at
        await round_of(push)
        assert row_of(story).state == "sent"
        assert set(charger.entries) == {"a", "b", "c"}


async def test_a_station_that_falls_silent_half_way_is_told_the_rest_later(database: Database) -> None:  # D04
    async with told(database) as story:
        story.site("CP1")
        for card in ("A", "B", "C"):
            story.card(card)
        connected(story, "CP1")
        enabled(story, "CP1")
        charger = Charger(Limits(list_length=9, message_length=1))
        push = push_of(story, charger)
        first = Answer(outcome=Outcome.ACCEPTED)
        charger.answers[SendLocalList] = [first, Answer(outcome=Outcome.TIMEOUT)]
        charger.take(SendLocalList(station_id="CP1", version=1, full=True, entries=tuple(listed("C"))))
        charger.version = 0
        await round_of(push)
        charger.version = 1
        row = row_of(story)
        assert (row.state, row.version, set(row.entries)) == ("failed", 1, {"c"})
        story.now = row.due_at
        await round_of(push)
        assert [one.full for one in charger.updates()] == [True, False, False, False]
        assert set(charger.entries) == {"a", "b", "c"}


NOT_SUPPORTED: list[tuple[dict[str, str], dict[type, Answer]]] = [
    ({"SupportedFeatureProfiles": "Core,RemoteTrigger"}, {}),
    ({}, {GetLocalListVersion: ListVersionAnswer(outcome=Outcome.ACCEPTED, version=-1)}),
    ({}, {GetLocalListVersion: ListVersionAnswer(outcome=Outcome.NOT_SUPPORTED)}),
    ({}, {SendLocalList: Answer(outcome=Outcome.NOT_SUPPORTED)}),
]


@pytest.mark.parametrize(("settings", "answers"), NOT_SUPPORTED)
async def test_a_station_without_lists_is_left_alone_until_its_firmware_changes(
    database: Database, settings: dict[str, str], answers: dict[type, Answer]
) -> None:  # D04, TC_042_1_CSMS, TC_043_1_CSMS
    async with told(database) as story:
        story.site("CP1")
        story.card("A")
        connected(story, "CP1")
        enabled(story, "CP1")
        charger = Charger(**settings)
        charger.answers = {kind: [answer] for kind, answer in answers.items()}
        push = push_of(story, charger)
        assert await round_of(push) == 1
        row = row_of(story)
        assert (row.state, row.due_at) == ("not_supported", None)
        story.pass_time(days=3)
        assert await round_of(push) == 0
        with database.write() as connection:
            assert lists.push_all(connection, story.now) == 0
            connection.execute(update(Station).values(firmware_version="2.0"))
        charger.settings["SupportedFeatureProfiles"] = "Core, LocalAuthListManagement"
        assert await round_of(push) == 1
        assert row_of(story).state == "sent"


async def test_it_is_switched_on_only_where_an_operator_asked(database: Database) -> None:  # D04
    async with told(database) as story:
        story.site("CP1", "CP2")
        story.card("A")
        connected(story, "CP1", "CP2")
        enabled(story, "CP1")
        asked = Charger(LocalAuthListEnabled="false")
        await round_of(push_of(story, asked))
        assert asked.settings["LocalAuthListEnabled"] == "true"
        assert row_of(story).state == "sent"

        with database.write() as connection:  # it was on by itself when it was last looked at
            setting = {"station_id": "CP2", "key": "LocalAuthListEnabled", "value": "True"}
            connection.execute(insert(ActualSetting).values(**setting, readonly=False, read_at=NOON))
        by_itself = Charger(LocalAuthListEnabled="false")
        push = push_of(story, by_itself)
        assert await round_of(push) == 0  # in its night
        story.now = row_of(story, "CP2").due_at
        for _ in range(2):
            await round_of(push)
        assert (row_of(story, "CP2").state, by_itself.updates()) == ("failed", [])
        assert not [one for one in by_itself.sent if isinstance(one, ChangeConfiguration) and one.station_id == "CP2"]


@pytest.mark.parametrize("outcome", [Outcome.REJECTED, Outcome.REBOOT_REQUIRED, Outcome.NOT_SUPPORTED])
async def test_a_list_that_cannot_be_switched_on_is_a_failure(database: Database, outcome: Outcome) -> None:  # D04
    async with told(database) as story:
        story.site("CP1")
        connected(story, "CP1")
        enabled(story, "CP1")
        charger = Charger(LocalAuthListEnabled="false")
        charger.answers[ChangeConfiguration] = [Answer(outcome=outcome)]
        await round_of(push_of(story, charger))
        row = row_of(story)
        assert (row.state, row.detail) == ("failed", f"cannot be switched on: {outcome.value}")
        assert row.due_at == NOON + timedelta(minutes=15)


async def test_a_station_that_is_away_catches_up_when_it_is_back(database: Database) -> None:  # D04
    async with told(database) as story:
        story.site("CP1")
        story.card("A")
        connected(story, "CP1")
        enabled(story, "CP1")
        charger = Charger()
        push = push_of(story, charger)
        await round_of(push)
        connected(story, "CP1", here=False)
        story.card("B")
        story.now = row_of(story).due_at
        assert await round_of(push) == 0
        assert (row_of(story).state, row_of(story).succeeded_at) == ("offline", NOON)
        story.pass_time(hours=30)
        connected(story, "CP1")
        assert await round_of(push) == 0  # it has other things to say first
        story.pass_time(seconds=15)
        assert await round_of(push) == 1
        assert row_of(story).state == "sent"
        assert set(charger.entries) == {"a", "b"}


async def test_a_line_that_breaks_leaves_it_due(database: Database) -> None:  # D04
    async with told(database) as story:
        story.site("CP1")
        connected(story, "CP1")
        enabled(story, "CP1")
        charger = Charger()
        charger.answers[GetLocalListVersion] = [ListVersionAnswer(outcome=Outcome.OFFLINE)]
        push = push_of(story, charger)
        await round_of(push)
        assert row_of(story).state == "offline"
        story.pass_time(minutes=1)
        assert await round_of(push) == 1
        assert row_of(story).state == "sent"


async def test_a_blocked_card_is_taken_off_at_once(database: Database) -> None:  # D04
    async with told(database) as story:
        story.site("CP1", "CP2")
        story.card("A")
        story.card("B")
        connected(story, "CP1", "CP2")
        enabled(story, "CP1")
        charger = Charger()
        push = push_of(story, charger)
        await round_of(push)
        story.pass_time(seconds=1)
        with database.write() as connection:
            assert tokens.block(connection, "a", story.now) == 1
        assert await round_of(push) == 1
        assert shape(charger.updates()[1:]) == [(2, False, ["a"])]
        assert set(charger.entries) == {"b"}
        assert row_of(story).asked_at is None


async def test_a_card_that_is_blocked_while_its_list_is_told_is_told_again(database: Database) -> None:  # D04
    async with told(database) as story:
        story.site("CP1")
        story.card("A")
        connected(story, "CP1")
        enabled(story, "CP1")
        charger = Charger()
        push = push_of(story, charger)
        [job] = await push.due()
        await push._fresh_roll(job)
        story.pass_time(seconds=1)
        with database.write() as connection:
            tokens.block(connection, "A", story.now)
        assert await push.due() == []  # one list at a time on its way to a station
        await push.tell(job)
        assert set(charger.entries) == {"a"}
        assert await round_of(push) == 1
        assert charger.entries == {}


async def test_a_failure_of_what_cannot_wait_is_tried_again_before_the_night(database: Database) -> None:  # D04
    async with told(database) as story:
        story.site("CP1")
        connected(story, "CP1")
        enabled(story, "CP1")
        charger = Charger()
        push = push_of(story, charger)
        charger.answers[GetLocalListVersion] = [ListVersionAnswer(outcome=Outcome.TIMEOUT)] * 100
        for _ in range(24):
            assert await round_of(push) == 1
            story.pass_time(minutes=15)
        assert await round_of(push) == 1
        assert row_of(story).due_at == next_night("CP1", "Europe/Brussels", story.now)


async def test_a_list_is_emptied_before_it_is_left_alone(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        story.card("A")
        connected(story, "CP1")
        enabled(story, "CP1")
        charger = Charger()
        push = push_of(story, charger)
        await round_of(push)
        with database.write() as connection:
            lists.disable(connection, "CP1", story.now)
        assert await round_of(push) == 1
        assert charger.entries == {}
        story.pass_time(days=3)
        assert await round_of(push) == 0
        with database.write() as connection:
            assert lists.push_all(connection, story.now) == 0


async def test_a_station_that_is_not_let_in_is_told_no_cards(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        story.card("A")
        connected(story, "CP1")
        enabled(story, "CP1")
        with database.write() as connection:
            connection.execute(update(Station).values(registered="rejected"))  # another box under its name (T1)
        assert await round_of(push_of(story, Charger())) == 0
        with database.write() as connection, pytest.raises(UnknownStation):
            lists.enable(connection, "CP9", NOON)
        with database.write() as connection, pytest.raises(NoList):
            lists.push(connection, "CP9", NOON)


async def test_a_few_at_a_time_share_the_cards_they_read(database: Database) -> None:  # D04
    async with told(database) as story:
        stations = [f"CP{number}" for number in range(30)]
        story.site(*stations, evses=1)
        story.card("A")
        connected(story, *stations)
        with database.write() as connection:
            assert lists.enable_all(connection, story.now) == 30
        reads = 0

        class Counting(ListPush):
            def _read_roll(self) -> Any:
                nonlocal reads
                reads += 1
                return super()._read_roll()

        chargers = {station_id: Charger() for station_id in stations}
        busy = most = 0

        async def send(command: Any, /, *, timeout_s: float) -> Any:
            nonlocal busy, most
            busy += 1
            most = max(most, busy)
            answer = await chargers[command.station_id].send(command, timeout_s=timeout_s)
            busy -= 1
            return answer

        push = Counting(database, send=send, clock=lambda: story.now, at_once=20)
        assert await round_of(push) == 20
        assert await round_of(push) == 10
        assert reads == 1
        assert 1 < most <= 20
        assert all(set(charger.entries) == {"a"} for charger in chargers.values())


async def test_a_process_that_died_meanwhile_holds_nobody_up(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        connected(story, "CP1")
        enabled(story, "CP1")
        charger = Charger()
        assert len(await push_of(story, charger).due()) == 1  # and never told
        assert await push_of(story, charger).due() == []
        story.pass_time(minutes=31)
        assert await round_of(push_of(story, charger)) == 1


async def test_a_fault_of_ours_is_a_failure_of_that_station_only(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1", "CP2")
        connected(story, "CP1", "CP2")
        enabled(story, "CP1", "CP2")
        charger = Charger()

        async def send(command: Any, /, *, timeout_s: float) -> Any:
            if command.station_id == "CP1":
                raise ValueError(command.station_id)
            return await charger.send(command, timeout_s=timeout_s)

        await round_of(ListPush(database, send=send, clock=lambda: story.now))
        assert [(row.state, row.detail) for row in story.rows(LocalList)] == [("failed", "ValueError"), ("sent", None)]
