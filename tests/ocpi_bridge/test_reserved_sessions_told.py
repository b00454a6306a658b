"""The partner that reserved hears of its Session at once, and of what becomes of it under the same id."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from csms.database import Database
from csms.journal import FactType
from csms.models import Reservation, Tariff
from csms.watch import Watch
from ocpi_bridge.emsp_simulator import EmspSimulator
from tests.crud.test_reserved_sessions import reservation
from tests.csms.billing.test_charge_records import bill_all
from tests.ocpi_bridge.roaming_world import PARTY, SESSION, World, world_of
from tests.ocpi_bridge.test_registration_both_ways import card

FEE = {"type": "FLAT", "price": "4", "vat": "20", "step_size": 1}


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with world_of(database) as world:
        world.site()
        yield world


@pytest.fixture
async def emsp() -> AsyncIterator[EmspSimulator]:
    async with EmspSimulator(party=PARTY, strict=True) as emsp:
        yield emsp


def told(emsp: EmspSimulator) -> list[tuple[str, Any]]:
    return [(each.method, each.body["status"]) for each in emsp.requests if "/sessions/" in each.path]


async def reserved(world: World, emsp: EmspSimulator) -> None:
    world.keep(reservation(owner_id=world.trust(emsp)))
    world.happened(FactType.RESERVATION_CHANGED, "1")
    await emsp.wait_for(lambda: told(emsp) == [("PUT", "RESERVATION")])
    await world.told("sessions", SESSION)


def over(world: World, state: str, **changes: Any) -> None:
    at = world.clock.advance(minutes=10)
    world.change(Reservation, Reservation.number == 1, state=state, finished_at=at, last_updated=at, **changes)


async def test_a_reservation_becomes_a_charge_under_its_id(world: World, emsp: EmspSimulator) -> None:  # SE-14
    async with world.delivering():
        await reserved(world, emsp)
        over(world, "used", transaction_id=SESSION)
        world.session(1, started_at=world.clock(), last_updated=world.clock(), energy_mwh=0)
        world.happened(FactType.RESERVATION_CHANGED, "1")
        await emsp.wait_for(lambda: emsp.sessions[SESSION]["status"] == "ACTIVE")
        await world.told("sessions", SESSION)
        world.clock.advance(minutes=30)
        world.end(energy_mwh=2_000_000)
        await emsp.wait_for(lambda: emsp.sessions[SESSION]["status"] == "COMPLETED")
        await world.all_told()
    assert told(emsp)[0] == ("PUT", "RESERVATION")
    assert {status for _, status in told(emsp)[1:]} <= {"ACTIVE", "COMPLETED"}
    assert emsp.sessions[SESSION]["start_date_time"] == "2026-03-04T12:10:00Z"
    assert emsp.complaints == []


@pytest.mark.parametrize("state", ["expired", "cancelled"])
async def test_one_that_nobody_used_is_completed_and_then_left_alone(
    world: World, emsp: EmspSimulator, state: str
) -> None:  # CM-44, SE-11, SE-14
    async with world.delivering():
        await reserved(world, emsp)
        over(world, state)
        world.happened(FactType.RESERVATION_CHANGED, "1")
        await emsp.wait_for(lambda: emsp.sessions[SESSION]["status"] == "COMPLETED")
        await world.told("sessions", SESSION)
        over(world, "used")  # its driver came, and we were told late
        world.happened(FactType.RESERVATION_CHANGED, "1")
        await world.all_told()
    assert told(emsp) == [("PUT", "RESERVATION"), ("PATCH", "COMPLETED")]
    assert emsp.sessions[SESSION]["end_date_time"] == "2026-03-04T12:10:00Z"
    assert emsp.complaints == []


async def test_what_was_never_granted_is_told_to_nobody(world: World, emsp: EmspSimulator) -> None:  # CM-43
    kept = reservation(owner_id=world.trust(emsp), public_id=None, state="refused", expires_at=world.clock())
    world.keep(kept, reservation(number=2, owner_id=None, reference=None, public_id=None))
    world.clock.advance(seconds=timedelta(minutes=1).seconds)
    world.happened(FactType.RESERVATION_CHANGED, "1", "2")
    assert world.due() == []


async def test_its_bill_follows_and_its_session_stays_as_it_was(world: World, emsp: EmspSimulator) -> None:
    """CD-05, CD-27, SE-11, SE-14, TC-26"""
    elements = [{"price_components": [FEE], "restrictions": {"reservation": "RESERVATION_EXPIRES"}}]
    world.change(Tariff, Tariff.id == 1, elements=elements)
    async with world.delivering():
        await reserved(world, emsp)
        world.keep(card(world.partner().id))
        world.change(Reservation, Reservation.number == 1, token_id=1)
        over(world, "expired")
        world.happened(FactType.RESERVATION_CHANGED, "1")
        await emsp.wait_for(lambda: emsp.sessions[SESSION]["status"] == "COMPLETED")
        before = dict(emsp.sessions[SESSION])
        world.clock.advance(days=1)
        watch = Watch(world.database, wake=world.wake, clock=world.clock)
        assert watch.apply("reservations_unused") == 1
        bill_all(world.database)
        world.heard()
        await emsp.wait_for(lambda: emsp.cdrs)
        await world.all_told()
    (cdr,) = emsp.cdrs
    assert (cdr["session_id"], cdr["total_energy"], cdr["total_cost"]["excl_vat"]) == (SESSION, 0, 4)
    assert emsp.sessions[SESSION] == before
    assert told(emsp) == [("PUT", "RESERVATION"), ("PATCH", "COMPLETED")]
    with world.database.read() as connection:
        assert world.render(connection, "sessions", SESSION, world.partner().id)["status"] == "COMPLETED"
    assert emsp.complaints == []
