"""A driver's wish for a running session: answered with one word, and sent to the charger as a profile of ours."""

from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import update

from crud import Crud
from crud.caller import Refusal
from crud.charging_preferences import ChargingPreferencesCrud
from crud.charging_profiles import SET
from crud.models import ChargingPreference
from csms.commands import ClearChargingProfile, SetChargingProfile
from csms.models import ActualSetting, Connector, Evse, InstalledProfile, Station, Transaction
from csms.smart_charging import profiles
from csms.smart_charging.profile import ProfileKind, ProfilePurpose, RateUnit
from tests.adapters.field_tables import tables
from tests.adapters.rows import NOON, tariff
from tests.crud.network import OTHER, TNM, add, asked_by
from tests.crud.test_charging_profiles_crud import SESSION, WISH, Desk, desk
from tests.crud.test_reserved_sessions import reservation

__all__ = ["desk"]

ABLE = {"capabilities": ["CHARGING_PROFILE_CAPABLE", "CHARGING_PREFERENCES_CAPABLE", "REMOTE_START_STOP_CAPABLE"]}
CHEAP = {"profile_type": "CHEAP", "departure_time": "2026-03-04T16:10:00Z", "energy_need": 23.345678}
NIGHT = [
    {
        "price_components": [{"type": "ENERGY", "price": "0.10", "step_size": 1}],
        "restrictions": {"start_time": "15:10", "end_time": "17:00"},  # of Brussels
    },
    {"price_components": [{"type": "ENERGY", "price": "0.50", "step_size": 1}]},
]


@pytest.fixture
def able(desk: Desk) -> Desk:
    """Its operator offers preferences there, with a tariff for three of the types; the car has had 12.345678 kWh."""
    add(
        desk.database,
        tariff(elements=NIGHT),
        tariff(id=2, tariff_id="cheap", tariff_key="cheap", type="PROFILE_CHEAP"),
        tariff(id=3, tariff_id="green", tariff_key="green", type="PROFILE_GREEN"),
        tariff(id=4, tariff_id="fast", tariff_key="fast", type="PROFILE_FAST", details={"partners": ["other"]}),
    )
    desk.change(Evse, details=ABLE)
    desk.change(Connector, tariff_ids=["standard-ac", "cheap", "green", "fast"], max_electric_power=11000)
    desk.change(Transaction, tariff_row=1)
    desk.crud = Crud({"charging_preferences": ChargingPreferencesCrud(desk.database, clock=desk.clock)})
    return desk


async def asks(desk, wish, *, session=SESSION, caller=TNM):
    with asked_by(caller):
        answer = await desk.crud.do("charging_preferences", None, "set", wish, session_id=session)
    assert answer in tables()["enums"]["ChargingPreferencesResponse"]["values"]
    return answer


def kept(desk):
    (row,) = desk.rows(ChargingPreference)
    return row.transaction_id, row.preferences["profile_type"], row.response


async def test_cheap_becomes_a_profile_of_the_cheapest_quarters(able):  # SE-30, SE-32
    assert await asks(able, CHEAP, session=SESSION.upper()) == "ACCEPTED"

    (command,) = await able.sent()
    assert isinstance(command, SetChargingProfile)
    profile, schedule = command.profile, command.profile.schedule
    assert (command.evse, profile.purpose, profile.kind) == (1, ProfilePurpose.TX, ProfileKind.ABSOLUTE)
    assert profile.transaction_ref == "1"
    assert (schedule.unit, schedule.starts_at, schedule.duration_s) == (RateUnit.WATT, able.at, 4 * 3600)
    periods = [(period.start_s // 60, period.limit) for period in schedule.periods]
    assert periods == [
        (0, 0),
        (120, 11000),
        (180, 0),
    ]  # from 15:10 in Brussels on, for the 11 kWh that are still needed
    (row,) = able.rows(InstalledProfile)
    assert (row.requested_by, row.state) == ("preferences:1", "installed")
    assert kept(able) == (SESSION, "CHEAP", "ACCEPTED")


async def test_a_new_wish_takes_the_place_of_the_last(able):  # SE-30
    await asks(able, CHEAP)
    assert await asks(able, CHEAP | {"profile_type": "GREEN"}) == "ACCEPTED"
    _, green = await able.sent()
    assert [period.limit for period in green.profile.schedule.periods] == [Decimal(4140)]
    assert [row.state for row in able.rows(InstalledProfile)] == ["replaced", "installed"]

    assert await asks(able, {"profile_type": "REGULAR"}) == "ACCEPTED"
    *_, command = await able.sent()
    assert isinstance(command, ClearChargingProfile)
    assert command.profile_id == green.profile.profile_id
    assert [row.state for row in able.rows(InstalledProfile)] == ["replaced", "cleared"]
    assert kept(able) == (SESSION, "REGULAR", "ACCEPTED")


async def test_it_never_allows_more_than_the_operator_does(able):  # CP-10
    able.operator_sets(8, ProfilePurpose.TX)
    await able.sent()
    assert await asks(able, CHEAP) == "ACCEPTED"
    *_, command = await able.sent()
    limits = {period.limit for period in command.profile.schedule.periods}
    assert limits == {Decimal(0), Decimal(8 * 3 * 230)}
    assert command.profile.stack_level == 1


@pytest.mark.parametrize(
    ("wish", "answer"),
    [
        ({"profile_type": "CHEAP", "energy_need": 20}, "DEPARTURE_REQUIRED"),
        ({"profile_type": "GREEN", "departure_time": "2026-03-04T16:10:00Z"}, "ENERGY_NEED_REQUIRED"),
        (CHEAP | {"departure_time": "2026-03-04T12:09:59Z"}, "NOT_POSSIBLE"),
        (CHEAP | {"energy_need": 80}, "NOT_POSSIBLE"),
        ({"profile_type": "FAST"}, "PROFILE_TYPE_NOT_SUPPORTED"),  # that tariff is for another partner
        ({"profile_type": "REGULAR", "discharge_allowed": True}, "ACCEPTED"),
    ],
)
async def test_each_wish_has_its_answer(able, wish, answer):  # SE-32, SE-33, LO-50
    assert await asks(able, wish) == answer
    assert await able.sent() == []
    assert kept(able) == (SESSION, wish["profile_type"], answer)


async def test_a_type_without_a_tariff_is_not_offered(able):  # SE-33, LO-50
    able.change(Connector, tariff_ids=["standard-ac"])
    assert await asks(able, CHEAP) == "PROFILE_TYPE_NOT_SUPPORTED"
    able.change(Connector, tariff_ids=[])
    assert await asks(able, {"profile_type": "REGULAR"}) == "PROFILE_TYPE_NOT_SUPPORTED"


@pytest.mark.parametrize(
    ("model", "changes", "caller"),
    [
        (Transaction, {}, OTHER),
        (Evse, {"details": {}}, TNM),  # the operator does not offer it
        (ActualSetting, {"value": "Core"}, TNM),  # and where it does, the station may not be able to
    ],
)
async def test_where_it_cannot_be_there_is_nothing_at_this_address(able, model, changes, caller):  # SE-31, SE-33
    if changes:
        able.change(model, **changes)
    with pytest.raises(Refusal) as refusal:
        await asks(able, CHEAP, caller=caller)
    assert (refusal.value.http_status, refusal.value.status_code) == (404, 2001)
    assert able.rows(ChargingPreference) == []


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        (Transaction, {"state": "ended", "ended_at": NOON}),
        (Transaction, {"state": "orphaned"}),
        (Station, {"connection_id": None}),
    ],
)
async def test_what_nobody_can_fulfil_now_is_not_possible(able, model, changes):  # SE-32
    able.change(model, **changes)
    assert await asks(able, CHEAP) == "NOT_POSSIBLE"
    assert await able.sent() == []


async def test_a_station_that_takes_no_such_profile_cannot(able):  # SE-32
    few = ActualSetting(station_id="CP001", key=profiles.MOST_PERIODS, value="2", readonly=True, read_at=NOON)
    add(able.database, few)
    assert await asks(able, CHEAP) == "NOT_POSSIBLE"
    assert able.rows(InstalledProfile) == []


async def test_in_a_reservation_nobody_charges_yet(able):  # SE-32
    add(able.database, reservation(public_id="r-1"))
    assert await asks(able, CHEAP, session="R-1") == "NOT_POSSIBLE"


@pytest.mark.parametrize("change", [{"energy_need": -1}, {"energy_need": 1e9}, {"departure_time": "soon"}])
async def test_what_cannot_be_read_is_2001(able, change):  # SE-30
    with pytest.raises(Refusal) as refusal:
        await asks(able, CHEAP | change)
    assert (refusal.value.http_status, refusal.value.status_code) == (200, 2001)


async def test_the_partners_own_profile_is_not_held_down_by_its_drivers_wish(able):  # CP-01
    await asks(able, CHEAP)
    await able.sent()
    with able.database.write() as connection:
        connection.execute(update(Transaction).values(last_updated=able.at + timedelta(seconds=1)))
    able.crud = able.profiles
    assert await able.asks(SET, WISH) == "ACCEPTED"
    *_, command = await able.sent()
    assert [period.limit for period in command.profile.schedule.periods] == [Decimal(16)]
