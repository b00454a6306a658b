"""What stations hold of charging profiles follows from what they answered, and from nothing else (G01, G07)."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert

from csms.commands import Answer, Outcome, ScheduleAnswer
from csms.database import Database
from csms.journal import Wake
from csms.models import ActualSetting, InstalledProfile, RemoteRequest
from csms.smart_charging import profiles
from csms.smart_charging.composite import Limit
from csms.smart_charging.profile import (
    ChargingProfile,
    ChargingSchedule,
    ProfileKind,
    ProfilePurpose,
    RateUnit,
    Recurrency,
    SchedulePeriod,
)
from csms.watch import Watch
from tests.csms.core_story import NOON, Story, told

PLAIN = ChargingProfile(
    profile_id=0,
    stack_level=0,
    purpose=ProfilePurpose.TX_DEFAULT,
    kind=ProfileKind.ABSOLUTE,
    schedule=ChargingSchedule(
        unit=RateUnit.AMPERE, starts_at=NOON, periods=(SchedulePeriod(start_s=0, limit=Decimal(16)),)
    ),
)


def changed(schedule: dict[str, Any] | None = None, **fields: Any) -> ChargingProfile:
    new = msgspec.structs.replace(PLAIN, **fields)
    return msgspec.structs.replace(new, schedule=msgspec.structs.replace(new.schedule, **(schedule or {})))


async def install(story: Story, profile: ChargingProfile = PLAIN, evse: int = 1) -> int:
    with story.database.write() as connection:
        number = profiles.install(
            connection, station_id="CP1", evse=evse, profile=profile, requested_by="cli:eve", now=story.now
        )
    await carry(story)
    return number


async def carry(story: Story) -> None:
    """What is queued is sent and answered."""
    remote = story.csms.remote
    for request_id, command, _ in remote._take_queued():
        remote._settle(request_id, command, await story._send(command, timeout_s=1))


def states(story: Story) -> dict[int, str]:
    return {row.number: row.state for row in story.rows(InstalledProfile)}


async def test_a_profile_that_the_station_took_is_held_under_our_number(database: Database) -> None:  # G01
    async with told(database) as story:
        story.site("CP1")
        number = await install(story)
        assert story.sent[-1].profile == msgspec.structs.replace(PLAIN, profile_id=number)
        assert states(story) == {number: "installed"}
        with database.read() as connection:
            assert [held.profile.profile_id for held in profiles.held(connection, "CP1")] == [number]


@pytest.mark.parametrize(
    ("outcome", "state"),
    [(Outcome.REJECTED, "refused"), (Outcome.NOT_SUPPORTED, "refused"), (Outcome.TIMEOUT, "unknown")],
)
async def test_what_it_did_not_take_is_not_held(database: Database, outcome: Outcome, state: str) -> None:
    async with told(database) as story:
        story.site("CP1")
        first = await install(story)
        story.answer = Answer(outcome=outcome)
        second = await install(story)
        assert states(story) == {first: "installed", second: state}


async def test_one_of_the_same_purpose_and_level_replaces_the_older(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        first = await install(story)
        other_level = await install(story, changed(stack_level=1))
        other_evse = await install(story, evse=2)
        second = await install(story)
        assert states(story) == {
            first: "replaced",
            other_level: "installed",
            other_evse: "installed",
            second: "installed",
        }


CLEARED: dict[str, tuple[dict[str, Any], set[int]]] = {  # criteria: which of the four below are gone
    "all": ({}, {0, 1, 2, 3}),
    "by number": ({"number": 1}, {0}),
    "by EVSE": ({"evse": 2}, {2}),
    "those of the station": ({"evse": 0}, {3}),
    "by purpose": ({"purpose": ProfilePurpose.STATION_MAX}, {3}),
    "by level": ({"stack_level": 1}, {1}),
    "by several at once": ({"evse": 1, "stack_level": 0}, {0}),
}


@pytest.mark.parametrize("case", CLEARED)
@pytest.mark.parametrize("outcome", [Outcome.ACCEPTED, Outcome.NOT_FOUND])
async def test_profiles_are_cleared_by_what_is_said_of_them(database: Database, case: str, outcome: Outcome) -> None:
    criteria, gone = CLEARED[case]  # G01
    async with told(database) as story:
        story.site("CP1")
        numbers = [
            await install(story),
            await install(story, changed(stack_level=1)),
            await install(story, evse=2),
            await install(story, changed(purpose=ProfilePurpose.STATION_MAX), evse=0),
        ]
        if "number" in criteria:
            criteria = {"number": numbers[0]}
        story.answer = Answer(outcome=outcome)
        with database.write() as connection:
            profiles.clear(connection, station_id="CP1", requested_by="cli:eve", now=story.now, **criteria)
        await carry(story)
        expected = {number: "cleared" if index in gone else "installed" for index, number in enumerate(numbers)}
        assert states(story) == expected


async def test_a_refused_clearing_changes_nothing(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        number = await install(story)
        story.answer = Answer(outcome=Outcome.TIMEOUT)
        with database.write() as connection:
            profiles.clear(connection, station_id="CP1", requested_by="cli:eve", now=story.now)
        await carry(story)
        assert states(story) == {number: "installed"}


async def test_a_transactions_own_profile_names_it_and_ends_with_it(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        story.card()
        reply = await story.start()
        number = await install(story, changed(purpose=ProfilePurpose.TX))
        assert story.sent[-1].profile.transaction_ref == str(reply.transaction_id)
        await story.end(reply.transaction_id, 2_000_000)
        Watch(database, wake=Wake(), clock=lambda: story.now).apply("profiles_over")
        assert states(story) == {number: "ended"}


SENSELESS: dict[str, tuple[ChargingProfile, int, str]] = {
    "no period": (changed({"periods": ()}), 1, "begins at 0"),
    "a first period that begins later": (
        changed({"periods": (SchedulePeriod(start_s=5, limit=Decimal(1)),)}),
        1,
        "at 0",
    ),
    "a limit below nothing": (changed({"periods": (SchedulePeriod(start_s=0, limit=Decimal(-1)),)}), 1, "0 or more"),
    "four phases": (
        changed({"periods": (SchedulePeriod(start_s=0, limit=Decimal(1), phases=4),)}),
        1,
        "phases are 1, 2 or 3",
    ),
    "the station's limit on an EVSE": (changed(purpose=ProfilePurpose.STATION_MAX), 1, "for EVSE 0"),
    "a relative limit of the station": (
        changed({"starts_at": None}, purpose=ProfilePurpose.STATION_MAX, kind=ProfileKind.RELATIVE),
        0,
        "cannot be relative",
    ),
    "a transaction's where none runs": (changed(purpose=ProfilePurpose.TX), 1, "no transaction runs"),
    "a transaction's of the station": (changed(purpose=ProfilePurpose.TX), 0, "names its EVSE"),
    "recurring without saying how": (changed(kind=ProfileKind.RECURRING), 1, "recurrency belongs"),
    "recurring from no moment": (
        changed({"starts_at": None}, kind=ProfileKind.RECURRING, recurrency=Recurrency.DAILY),
        1,
        "says when it begins",
    ),
    "a day longer than a day": (
        changed({"duration_s": 86401}, kind=ProfileKind.RECURRING, recurrency=Recurrency.DAILY),
        1,
        "no longer than its day",
    ),
    "an end before the beginning": (changed(valid_from=NOON, valid_to=NOON - timedelta(days=1)), 1, "ends after"),
    "a level that the station does not have": (changed(stack_level=3), 1, "highest stack level is 2"),
    "more periods than it takes": (
        changed({"periods": tuple(SchedulePeriod(start_s=n, limit=Decimal(n)) for n in range(4))}),
        1,
        "3 periods at most",
    ),
    "watts where it takes amperes": (changed({"unit": RateUnit.WATT}), 1, "limits in current"),
}


@pytest.mark.parametrize("case", SENSELESS)
async def test_what_cannot_be_meant_is_not_sent(database: Database, case: str) -> None:
    profile, evse, why = SENSELESS[case]
    async with told(database) as story:
        story.site("CP1")
        settings = {
            "ChargeProfileMaxStackLevel": "2",
            "ChargingScheduleMaxPeriods": "3",
            "ChargingScheduleAllowedChargingRateUnit": "Current",
        }
        rows = [
            {"station_id": "CP1", "key": key, "value": value, "readonly": True, "read_at": NOON}
            for key, value in settings.items()
        ]
        with database.write() as connection:
            connection.execute(insert(ActualSetting), rows)
        with pytest.raises(profiles.ProfileRefused, match=why):
            await install(story, profile, evse)
        assert story.sent == []
        assert story.rows(RemoteRequest) == []


async def test_our_reckoning_is_compared_with_the_stations(database: Database) -> None:  # G07
    async with told(database) as story:
        story.site("CP1")
        await install(story, changed({"periods": (SchedulePeriod(start_s=0, limit=Decimal(10)),)}))
        await install(story, changed(purpose=ProfilePurpose.STATION_MAX), evse=0)
        with database.read() as connection:
            asked = {"station_id": "CP1", "starts_at": NOON, "duration_s": 60, "unit": RateUnit.AMPERE}
            assert profiles.expected(connection, evse=1, **asked).limits == (Limit(0, Decimal(10)),)
            # the second EVSE has no limit of its own: the station's is what is left
            assert profiles.expected(connection, evse=0, **asked).limits == (Limit(0, Decimal(16)),)
        for limit, differences in (("10", 0), ("32", 1)):
            periods = (SchedulePeriod(start_s=0, limit=Decimal(limit)),)
            schedule = ChargingSchedule(unit=RateUnit.AMPERE, duration_s=60, periods=periods)
            story.answer = ScheduleAnswer(outcome=Outcome.ACCEPTED, evse=1, starts_at=NOON, schedule=schedule)
            with database.write() as connection:
                request_id = profiles.ask_schedule(
                    connection,
                    station_id="CP1",
                    evse=1,
                    duration_s=60,
                    unit=None,
                    requested_by="cli:eve",
                    now=story.now,
                )
            await carry(story)
            with database.read() as connection:
                assert len(profiles.compared(connection, request_id)) == differences
