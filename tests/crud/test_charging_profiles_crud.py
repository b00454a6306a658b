"""What a partner wishes of a running session's power: judged, asked of the charger, and what its answer is told as."""

import asyncio
from datetime import datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from sqlalchemy import select, update

from crud import Crud
from crud.caller import Refusal
from crud.charging_profiles import CLEAR, GET, SET, ActiveProfiles, ChargingProfilesCrud, followers, result_body
from crud.models import CommandCallback
from csms.commands import (
    Answer,
    ClearChargingProfile,
    GetCompositeSchedule,
    Outcome,
    ScheduleAnswer,
    SetChargingProfile,
)
from csms.journal import Listener
from csms.models import ActualSetting, Connector, InstalledProfile, RemoteRequest, Station, Transaction
from csms.remote import RemoteControl
from csms.smart_charging import profiles
from csms.smart_charging.profile import (
    ChargingProfile,
    ChargingSchedule,
    ProfileKind,
    ProfilePurpose,
    RateUnit,
    SchedulePeriod,
)
from tests.adapters.field_tables import problems
from tests.adapters.rows import NOON, transaction
from tests.crud.network import OTHER, TNM, add, asked_by, partners, site

URL = "https://emsp.example/results/1?x=1"
SESSION = "5f0f8a2e-7c1b-4a55-9d0e-2b6f1f3c9a10"
WISH = {"charging_rate_unit": "A", "charging_profile_period": [{"start_period": 0, "limit": 16}]}


class Charger:
    """Takes every command, and says what it was given."""

    def __init__(self):
        self.got = []
        self.answer = Answer(outcome=Outcome.ACCEPTED)

    async def send(self, command, *, timeout_s):
        self.got.append(command)
        return self.answer


class Desk:
    def __init__(self, database):
        self.database = database
        self.charger = Charger()
        self.settled = Listener()
        self.at = NOON + timedelta(minutes=10)
        self.remote = RemoteControl(
            database, send=self.charger.send, wake=self.settled.set, clock=self.clock, poll_s=0.01
        )
        self.queue = asyncio.create_task(self.remote.run())
        profiles_crud = ChargingProfilesCrud(database, url_allowed=self.url_allowed, clock=self.clock)
        self.crud = self.profiles = Crud({"chargingprofiles": profiles_crud})

    def clock(self) -> datetime:
        return self.at

    async def url_allowed(self, url):
        return url.startswith("https://emsp.example/")

    async def asks(self, action, data=None, *, session=SESSION, url=URL, caller=TNM):
        with asked_by(caller):
            told = await self.crud.do(
                "chargingprofiles", None, action, data or {}, session_id=session, response_url=url
            )
        assert problems(told, "ChargingProfileResponse") == []
        return told["result"]

    async def sent(self):
        async with asyncio.timeout(30):
            while any(row.outcome is None for row in self.rows(RemoteRequest)):
                await self.settled.news(poll_s=5, gather_s=0)
        return self.charger.got

    def rows(self, model):
        with self.database.read() as connection:
            return connection.execute(select(model.__table__)).all()

    def change(self, model, **values):
        with self.database.write() as connection:
            connection.execute(update(model).values(**values))

    def operator_sets(self, limit, purpose=ProfilePurpose.TX_DEFAULT, **changes):
        profile = ChargingProfile(
            profile_id=0,
            stack_level=0,
            purpose=purpose,
            kind=ProfileKind.RELATIVE,
            schedule=ChargingSchedule(unit=RateUnit.AMPERE, periods=(SchedulePeriod(start_s=0, limit=Decimal(limit)),)),
        )
        profile = msgspec.structs.replace(profile, **changes)
        with self.database.write() as connection:
            return profiles.install(
                connection, station_id="CP001", evse=1, profile=profile, requested_by="cli:eve", now=self.at
            )

    def result(self, action=GET):
        """As it is posted to the response_url of the last such request."""
        row, waiting = RemoteRequest.__table__.c, CommandCallback.__table__.c
        query = (
            select(CommandCallback.__table__, row.outcome, row.answer)
            .join(RemoteRequest, row.id == waiting.request_id)
            .where(waiting.command == action)
        )
        with self.database.read() as connection:
            found = connection.execute(query.order_by(row.created_at.desc())).first()
            return result_body(connection, found, Outcome(found.outcome), self.at)


@pytest.fixture
async def desk(database):
    add(database, *partners())
    site(database)
    add(
        database,
        transaction(),
        ActualSetting(
            station_id="CP001",
            key="SupportedFeatureProfiles",
            value="Core,SmartCharging",
            readonly=True,
            read_at=NOON,
        ),
    )
    desk = Desk(database)
    yield desk
    await desk.sent()
    desk.queue.cancel()
    await asyncio.gather(desk.queue, return_exceptions=True)
    await desk.remote.stop()


async def test_a_profile_reaches_the_charger_as_its_transactions_own(desk):  # CP-01, CP-09, CP-11
    wish = WISH | {"start_date_time": "2026-03-04T12:30:00Z", "duration": 900}
    assert await desk.asks(SET, wish, session=SESSION.upper()) == "ACCEPTED"

    (command,) = await desk.sent()
    assert isinstance(command, SetChargingProfile)
    profile = command.profile
    assert (command.station_id, command.evse, profile.transaction_ref) == ("CP001", 1, "1")
    assert (profile.purpose, profile.kind) == (ProfilePurpose.TX, ProfileKind.ABSOLUTE)
    assert (profile.schedule.starts_at, profile.schedule.duration_s) == (NOON + timedelta(minutes=30), 900)
    (row,) = desk.rows(InstalledProfile)
    assert (row.number, row.state, row.transaction_id) == (profile.profile_id, "installed", SESSION)
    (callback,) = desk.rows(CommandCallback)
    assert (callback.session_id, callback.response_url, callback.partner_id) == (SESSION, URL, 1)
    assert (callback.country_code, callback.party_id) == ("DE", "TNM")
    assert desk.result(SET) == {"result": "ACCEPTED"}


async def test_of_what_several_set_the_lowest_holds(desk):  # CP-10
    desk.operator_sets(10)
    desk.operator_sets(8, ProfilePurpose.TX, stack_level=3)
    await desk.sent()

    assert await desk.asks(SET, WISH) == "ACCEPTED"

    *_, command = await desk.sent()
    assert command.profile.stack_level == 4  # where the charger looks first
    assert command.profile.schedule.periods[0].limit == 8


async def test_a_second_wish_takes_the_place_of_the_first(desk):  # CP-01
    await desk.asks(SET, WISH)
    await desk.sent()
    lower = WISH | {"charging_profile_period": [{"start_period": 0, "limit": 6}]}
    assert await desk.asks(SET, lower) == "ACCEPTED"
    first, second = await desk.sent()
    assert second.profile.stack_level == first.profile.stack_level
    assert second.profile.schedule.periods[0].limit == 6  # and is not held down by the first
    assert [row.state for row in desk.rows(InstalledProfile)] == ["replaced", "installed"]


@pytest.mark.parametrize(
    ("units", "unit", "limit"), [("Current", RateUnit.AMPERE, "15.9"), ("Current,Power", RateUnit.WATT, "11000")]
)
async def test_watts_become_amperes_only_where_the_station_takes_none(desk, units, unit, limit):  # CP-11
    add(
        desk.database,
        ActualSetting(station_id="CP001", key=profiles.UNITS, value=units, readonly=True, read_at=NOON),
    )
    wish = {"charging_rate_unit": "W", "charging_profile_period": [{"start_period": 0, "limit": 11000}]}
    assert await desk.asks(SET, wish) == "ACCEPTED"
    (command,) = await desk.sent()
    assert (command.profile.schedule.unit, command.profile.schedule.periods[0].limit) == (unit, Decimal(limit))


@pytest.mark.parametrize(
    "periods",
    [
        [],
        [{"start_period": 5, "limit": 1}],
        [{"start_period": 0, "limit": 1}, {"start_period": 900, "limit": 2}, {"start_period": 300, "limit": 3}],
        [{"start_period": n * 60, "limit": n} for n in range(7)],
    ],
)
async def test_a_profile_that_the_charger_could_not_take_is_rejected(desk, periods):  # CP-04
    most = ActualSetting(station_id="CP001", key=profiles.MOST_PERIODS, value="6", readonly=True, read_at=NOON)
    add(desk.database, most)
    assert await desk.asks(SET, WISH | {"charging_profile_period": periods}) == "REJECTED"
    assert await desk.sent() == []
    assert desk.rows(CommandCallback) == []


@pytest.mark.parametrize("start", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
async def test_no_profile_begins_where_no_time_can_be_reckoned(desk, start):
    assert await desk.asks(SET, WISH | {"start_date_time": start}) == "REJECTED"
    assert await desk.sent() == []


async def test_no_profile_pushes_the_operators_from_the_stack(desk):  # CP-10
    highest = ActualSetting(station_id="CP001", key=profiles.HIGHEST_LEVEL, value="0", readonly=True, read_at=NOON)
    add(desk.database, highest)
    desk.operator_sets(10, ProfilePurpose.TX)
    await desk.sent()
    assert await desk.asks(SET, WISH) == "REJECTED"
    assert await desk.asks(CLEAR) == "REJECTED"
    assert [row.state for row in desk.rows(InstalledProfile)] == ["installed"]


@pytest.mark.parametrize("action", [GET, SET, CLEAR])
@pytest.mark.parametrize(
    ("model", "changes", "caller", "result"),
    [
        (Transaction, {}, OTHER, "UNKNOWN_SESSION"),
        (Transaction, {"authorization": "invalid"}, TNM, "UNKNOWN_SESSION"),
        (Transaction, {"state": "ended", "ended_at": NOON}, TNM, "REJECTED"),
        (Transaction, {"state": "orphaned"}, TNM, "REJECTED"),
        (Station, {"connection_id": None}, TNM, "REJECTED"),
        (ActualSetting, {"value": "Core,Reservation"}, TNM, "NOT_SUPPORTED"),
    ],
)
async def test_what_cannot_be_asked_is_said_at_once(desk, action, model, changes, caller, result):
    # CP-04, CP-08, CP-12, XT-06
    if changes:
        desk.change(model, **changes)
    data = WISH if action == SET else {"duration": 900}
    assert await desk.asks(action, data, caller=caller) == result
    assert await desk.sent() == []


async def test_an_unknown_session_and_a_forbidden_address(desk):  # CP-04, TR-35
    assert await desk.asks(CLEAR, session="S-9") == "UNKNOWN_SESSION"
    with pytest.raises(Refusal) as refusal:
        await desk.asks(CLEAR, url="http://10.0.0.1/")
    assert refusal.value.status_code == 2001
    assert await desk.sent() == []


async def test_one_question_at_a_time(desk):  # CP-04
    desk.queue.cancel()
    await asyncio.gather(desk.queue, return_exceptions=True)
    assert await desk.asks(GET, {"duration": 900}) == "ACCEPTED"
    assert await desk.asks(SET, WISH) == "TOO_OFTEN"
    desk.at += timedelta(seconds=31)  # whatever became of it, nobody waits any more
    assert await desk.asks(SET, WISH) == "ACCEPTED"
    desk.queue = asyncio.create_task(desk.remote.run())
    with desk.database.write() as connection:  # the first is lost: its deadline is over
        connection.execute(update(RemoteRequest).where(RemoteRequest.deadline_at < desk.at).values(outcome="timeout"))


async def test_what_the_charger_tells_is_told(desk):  # CP-02, CP-05, CP-11
    desk.charger.answer = ScheduleAnswer(
        outcome=Outcome.ACCEPTED,
        evse=1,
        starts_at=desk.at,
        schedule=ChargingSchedule(
            unit=RateUnit.WATT,
            periods=(SchedulePeriod(start_s=0, limit=Decimal("4140.55")), SchedulePeriod(start_s=60, limit=Decimal(0))),
            duration_s=900,
        ),
    )
    assert await desk.asks(GET, {"duration": 900}) == "ACCEPTED"
    (command,) = await desk.sent()
    assert isinstance(command, GetCompositeSchedule)
    assert (command.evse, command.duration_s, command.unit) == (1, 900, None)

    told = desk.result()

    assert problems(told, "ActiveChargingProfileResult") == []
    assert told["profile"]["start_date_time"] == "2026-03-04T12:10:00Z"
    assert told["profile"]["charging_profile"] == {
        "start_date_time": "2026-03-04T12:10:00Z",
        "duration": 900,
        "charging_rate_unit": "W",
        "charging_profile_period": [
            {"start_period": 0, "limit": Decimal("4140.5")},
            {"start_period": 60, "limit": 0},
        ],
    }


async def test_where_the_charger_tells_no_schedule_it_is_what_we_know(desk):  # CP-05, CP-07
    await desk.asks(GET, {"duration": 900})
    await desk.sent()
    told = desk.result()
    assert problems(told, "ActiveChargingProfileResult") == []
    maximum = told["profile"]["charging_profile"]["charging_profile_period"]
    assert (told["profile"]["charging_profile"]["charging_rate_unit"], maximum) == (
        "W",
        [{"start_period": 0, "limit": 3 * 230 * 32}],
    )


@pytest.mark.parametrize(
    ("outcome", "result"),
    [
        (Outcome.REJECTED, "REJECTED"),
        (Outcome.NOT_SUPPORTED, "REJECTED"),
        (Outcome.TIMEOUT, "REJECTED"),
        (Outcome.NOT_FOUND, "UNKNOWN"),
    ],
)
@pytest.mark.parametrize("action", [GET, SET, CLEAR])
async def test_a_charger_that_does_not_is_told_so(desk, action, outcome, result):  # CP-05
    desk.charger.answer = Answer(outcome=outcome)
    assert await desk.asks(action, WISH if action == SET else {"duration": 60}) == "ACCEPTED"
    await desk.sent()
    assert desk.result(action) == {"result": result}


async def test_what_a_partner_set_is_cleared_by_its_number(desk):  # CP-02, CP-11
    await desk.asks(SET, WISH)
    (installed,) = await desk.sent()
    assert await desk.asks(CLEAR) == "ACCEPTED"
    _, command = await desk.sent()
    assert isinstance(command, ClearChargingProfile)
    assert command.profile_id == installed.profile.profile_id
    assert [row.state for row in desk.rows(InstalledProfile)] == ["cleared"]


async def test_where_we_know_of_none_the_charger_says_so(desk):  # CP-05
    desk.charger.answer = Answer(outcome=Outcome.NOT_FOUND)
    assert await desk.asks(CLEAR) == "ACCEPTED"
    (command,) = await desk.sent()
    assert (command.profile_id, command.evse, command.purpose) == (None, 1, ProfilePurpose.TX)
    assert desk.result(CLEAR) == {"result": "UNKNOWN"}


# ---- what is told of it later ---------------------------------------------------------------------------------------


def who_follows(desk):
    with desk.database.read() as connection:
        return list(followers(connection, {"CP001"}))


async def test_a_partner_follows_once_it_has_set_a_profile(desk):  # CP-06
    await desk.asks(GET, {"duration": 60})
    await desk.sent()
    assert who_follows(desk) == []
    desk.charger.answer = Answer(outcome=Outcome.REJECTED)
    await desk.asks(SET, WISH)
    await desk.sent()
    assert who_follows(desk) == []

    desk.charger.answer = Answer(outcome=Outcome.ACCEPTED)
    await desk.asks(SET, WISH)
    await desk.sent()
    assert who_follows(desk) == [(SESSION, 1)]
    desk.change(Transaction, state="ended", ended_at=NOON)
    assert who_follows(desk) == []


def told_now(desk):
    with desk.database.read() as connection:
        found = ActiveProfiles(desk.clock).current(connection, SESSION)
    if found is None:
        return None
    assert problems(found["profile"], "ActiveChargingProfile") == []
    assert (found["country_code"], found["party_id"], found["id"]) == ("BE", "BEC", SESSION)
    active = found["profile"]["charging_profile"]
    return active["duration"], active["charging_rate_unit"], active["charging_profile_period"]


async def test_the_next_hour_is_told(desk):  # CP-06, CP-07
    wish = {
        "charging_rate_unit": "A",
        "charging_profile_period": [{"start_period": 0, "limit": 16}, {"start_period": 1200, "limit": 40}],
    }
    await desk.asks(SET, wish)
    await desk.sent()
    assert told_now(desk) == (3600, "A", [{"start_period": 0, "limit": 16}, {"start_period": 600, "limit": 32}])

    await desk.asks(CLEAR)
    await desk.sent()
    assert told_now(desk) == (3600, "A", [{"start_period": 0, "limit": 32}])
    desk.change(Connector, max_electric_power=11000)
    assert told_now(desk) == (3600, "A", [{"start_period": 0, "limit": Decimal("15.9")}])
    desk.change(Transaction, state="ended", ended_at=NOON)
    assert told_now(desk) is None
