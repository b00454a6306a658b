"""Whatever a partner does to our pushes, in the end it holds what we hold: each fault, at each module, in each story."""

from collections.abc import AsyncIterator

import pytest

from csms.database import Database
from csms.events import ConnectorStatus
from ocpi_bridge.emsp_simulator import EmspSimulator, Fault
from ocpi_bridge.push import resync
from tests.ocpi_bridge.equal_views import ours, theirs
from tests.ocpi_bridge.roaming_world import PARTY, SHORT_S, World, world_of

only_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)

MODULES = ("tariffs", "locations", "sessions", "cdrs")
# What the partner says of the object itself: it is left alone until it changes, or until an operator says so (PU-17).
REFUSALS = {Fault.ERROR_2001}


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with world_of(database, call_limit_s=SHORT_S) as world:
        world.site(evses=2)
        yield world


def again(world: World, partner: int) -> None:
    with world.database.write() as connection:
        resync(connection, partner, world.clock())


async def a_whole_charge(world: World, emsp: EmspSimulator, partner: int, fault: Fault) -> None:
    """Each module is spoilt at its first request, and at one of those that follow."""

    def spoil(*modules: str) -> None:
        for module in modules:
            emsp.fault(module, fault)

    spoil(*MODULES)
    again(world, partner)
    async with world.delivering():
        await world.all_told(pass_time=True)
        world.status(ConnectorStatus.CHARGING)
        world.session(partner, energy_mwh=1_000_000)
        await world.all_told(pass_time=True)
        spoil("locations", "sessions")
        world.clock.advance(minutes=1)
        world.progress(energy_mwh=2_500_000)
        world.status(ConnectorStatus.FINISHING)
        await world.all_told(pass_time=True)
        spoil("sessions", "tariffs")
        world.clock.advance(minutes=1)
        world.new_tariff_version(currency="CHF")
        world.end(energy_mwh=3_200_000)
        world.bill(partner)
        await world.all_told(pass_time=True)
        if fault in REFUSALS:
            again(world, partner)
            await world.all_told(pass_time=True)


@only_sqlite
@pytest.mark.parametrize("fault", list(Fault))
async def test_a_partner_with_a_fault_holds_what_we_hold_in_the_end(world: World, fault: Fault) -> None:  # XT-05, PU-09
    async with EmspSimulator(party=PARTY, strict=True) as emsp:
        emsp.slow_s = 2 * SHORT_S  # we have given it up by then
        partner = world.trust(emsp)
        await a_whole_charge(world, emsp, partner, fault)
        assert emsp.faults == []  # each has struck
        view = ours(world, partner)
        assert theirs(emsp) == view
        assert {module: len(objects) for module, objects in view.items()} == dict.fromkeys(MODULES, 1)
        assert emsp.complaints == []
