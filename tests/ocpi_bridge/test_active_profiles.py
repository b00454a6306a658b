"""Who set a charging profile hears when what it may draw changes."""

from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest

from crud.charging_profiles import SET
from crud.models import CommandCallback
from csms.database import Database
from csms.journal import FactType
from csms.models import InstalledProfile, RemoteRequest
from csms.smart_charging.profile import (
    ChargingProfile,
    ChargingSchedule,
    ProfileKind,
    ProfilePurpose,
    RateUnit,
    SchedulePeriod,
)
from ocpi_bridge.emsp_simulator import EmspSimulator, Fault
from tests.ocpi_bridge.roaming_world import PARTY, SESSION, World, world_of

TAKEN = ChargingProfile(
    profile_id=7,
    stack_level=0,
    purpose=ProfilePurpose.TX,
    kind=ProfileKind.RELATIVE,
    transaction_ref="2",
    schedule=ChargingSchedule(unit=RateUnit.AMPERE, periods=(SchedulePeriod(start_s=0, limit=Decimal(10)),)),
)


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with world_of(database) as world:
        world.site()
        yield world


@pytest.fixture
async def emsp() -> AsyncIterator[EmspSimulator]:
    async with EmspSimulator(party=PARTY, strict=True) as emsp:
        yield emsp


def profile_set(world: World, partner: int, outcome: str = "accepted") -> None:
    """Its partner asked for a profile, and this became of it."""
    now = world.clock()
    world.keep(
        RemoteRequest(
            id=f"r-{partner}",
            kind="set_charging_profile",
            station_id="CP001",
            command={},
            state=outcome,
            outcome=outcome,
            requested_by=f"partner:{partner}",
            created_at=now,
            deadline_at=now + timedelta(seconds=30),
        ),
        CommandCallback(
            request_id=f"r-{partner}",
            partner_id=partner,
            command=SET,
            response_url="https://emsp.example/",
            country_code=PARTY[0],
            party_id=PARTY[1],
            created_at=now,
            sent_at=now,
            session_id=SESSION,
        ),
    )
    if outcome == "accepted":
        world.keep(
            InstalledProfile(
                number=7,
                station_id="CP001",
                evse=1,
                purpose=TAKEN.purpose.value,
                stack_level=0,
                profile=msgspec.to_builtins(TAKEN),
                transaction_id=SESSION,
                state="installed",
                requested_by=f"partner:{partner}",
                created_at=now,
            )
        )


def limits(emsp: EmspSimulator) -> list[list[Decimal]]:
    return [
        [period["limit"] for period in told["charging_profile"]["charging_profile_period"]]
        for told in emsp.active_profiles.get(SESSION, [])
    ]


async def test_each_change_is_put_where_the_sender_of_profiles_listens(world: World, emsp: EmspSimulator) -> None:
    # CP-06, CP-07, ER-12: it is ours to PUT, at the sender's address
    world.session(world.trust(emsp))
    profile_set(world, 1)
    async with world.delivering():
        world.happened(FactType.PROFILES_CHANGED, "CP001")
        await emsp.wait_for(lambda: limits(emsp) == [[10]])
        world.change(InstalledProfile, InstalledProfile.number == 7, state="cleared")
        world.happened(FactType.PROFILES_CHANGED, "CP001")
        await emsp.wait_for(lambda: limits(emsp) == [[10], [32]])  # the EVSE's own
        await world.all_told()
    puts = [request for request in emsp.requests if "/chargingprofiles/" in request.path]
    assert [(put.method, put.path) for put in puts] == [("PUT", f"/2.2.1/chargingprofiles/{SESSION}")] * 2
    assert (puts[0].headers["ocpi-from-party-id"], puts[0].headers["ocpi-to-party-id"]) == ("BEC", PARTY[1])
    assert emsp.complaints == []


async def test_a_partner_that_is_away_is_told_the_newest_later(world: World, emsp: EmspSimulator) -> None:  # CP-06
    world.session(world.trust(emsp))
    profile_set(world, 1)
    emsp.fault("chargingprofiles", Fault.ERROR_500, times=2)
    async with world.delivering():
        world.happened(FactType.PROFILES_CHANGED, "CP001")
        await world.all_told(pass_time=True)
    assert limits(emsp) == [[10]]


@pytest.mark.parametrize("outcome", [None, "rejected"])
async def test_who_never_set_one_with_success_hears_nothing(
    world: World, emsp: EmspSimulator, outcome: str | None
) -> None:  # CP-06
    world.session(world.trust(emsp))
    if outcome is not None:
        profile_set(world, 1, outcome)
    world.happened(FactType.PROFILES_CHANGED, "CP001")
    assert [due for due in world.due() if due[0] == "chargingprofiles"] == []


async def test_a_partner_that_sends_no_profiles_is_not_told(world: World, emsp: EmspSimulator) -> None:  # PU-16
    world.session(world.trust(emsp, without=("chargingprofiles",)))
    profile_set(world, 1)
    world.happened(FactType.PROFILES_CHANGED, "CP001")
    assert [due for due in world.due() if due[0] == "chargingprofiles"] == []
