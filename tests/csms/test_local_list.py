"""The list that a station keeps is the one we want, whatever it takes at once; told at night, or when nobody can wait."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, update

from csms import tokens
from csms.commands import (
    Answer,
    ChangeConfiguration,
    GetLocalListVersion,
    ListVersionAnswer,
    Outcome,
    SendLocalList,
)
from csms.database import Database
from csms.local_list import lists
from csms.local_list.lists import NoList
from csms.local_list.night import next_night
from csms.local_list.plan import Limits
from csms.local_list.push import ListPush
from csms.models import ActualSetting, LocalList, Station
from csms.stations import UnknownStation
from tests.csms.core_story import NOON, told
from tests.csms.local_list_story import Charger, connected, enabled, listed, push_of, ready, round_of, row_of, shape


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
        ready(story, "A")
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
        ready(story, "A")
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
        ready(story, "A", "B", "C")
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
        ready(story, "A")
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
        ready(story)
        charger = Charger(LocalAuthListEnabled="false")
        charger.answers[ChangeConfiguration] = [Answer(outcome=outcome)]
        await round_of(push_of(story, charger))
        row = row_of(story)
        assert (row.state, row.detail) == ("failed", f"cannot be switched on: {outcome.value}")
        assert row.due_at == NOON + timedelta(minutes=15)


async def test_a_station_that_is_away_catches_up_when_it_is_back(database: Database) -> None:  # D04
    async with told(database) as story:
        ready(story, "A")
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
        ready(story)
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
        ready(story, "A")
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
        ready(story)
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
        ready(story, "A")
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
        ready(story, "A")
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
        ready(story)
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
