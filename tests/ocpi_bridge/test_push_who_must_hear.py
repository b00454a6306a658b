"""Which partner must hear of which fact."""

from collections.abc import AsyncIterator

import pytest

from crud.models import Delivery
from csms.database import Database
from csms.events import ConnectorStatus
from csms.journal import FactType
from csms.models import Tariff
from ocpi_bridge.emsp_simulator import EmspSimulator
from ocpi_bridge.push import resync
from tests.adapters import rows
from tests.ocpi_bridge.roaming_world import RECORD, SESSION, World, world_of


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with world_of(database) as world:
        world.site()
        yield world


@pytest.fixture
def emsp() -> EmspSimulator:
    """Registered with nothing to serve: push writes rows, it sends nothing."""
    return EmspSimulator()


async def test_places_and_tariffs_are_for_every_partner(world: World, emsp: EmspSimulator) -> None:  # PU-16
    one, other = world.trust(emsp, "one"), world.trust(emsp, "other")
    world.status(ConnectorStatus.CHARGING)
    world.happened(FactType.LOCATION_CHANGED, "1")
    world.happened(FactType.TARIFF_CHANGED, "1")
    assert world.deliveries() == {
        (partner, module, "1") for partner in (one, other) for module in ("evses", "locations", "tariffs")
    }


async def test_a_session_and_its_cdr_are_for_the_owner_of_the_card_alone(  # SE-02, CD-05
    world: World, emsp: EmspSimulator
) -> None:
    world.trust(emsp, "one")
    owner = world.trust(emsp, "owner")
    world.session(owner)
    world.bill(owner)
    assert world.deliveries() == {(owner, "sessions", SESSION), (owner, "cdrs", RECORD)}


async def test_a_module_that_a_partner_does_not_receive_is_not_pushed(world: World, emsp: EmspSimulator) -> None:
    owner = world.trust(emsp, without=("locations", "cdrs"))  # PU-16
    world.status(ConnectorStatus.CHARGING)
    world.happened(FactType.LOCATION_CHANGED, "1")
    world.session(owner)
    world.bill(owner)
    assert world.deliveries() == {(owner, "sessions", SESSION)}


async def test_what_was_refused_is_no_session_of_the_partner(world: World, emsp: EmspSimulator) -> None:
    owner = world.trust(emsp)
    world.session(owner, "refused", state="refused", authorization="concurrent_tx")
    world.happened(FactType.TRANSACTION_REFUSED, "refused")
    world.progress("refused", energy_mwh=5_000_000)
    assert world.deliveries() == set()


async def test_the_operators_own_cards_and_strangers_concern_no_partner(world: World, emsp: EmspSimulator) -> None:
    world.trust(emsp)
    world.session(0, "own")
    world.session(4711, "gone")
    assert world.deliveries() == set()


async def test_many_changes_are_one_delivery_that_counts_them(world: World, emsp: EmspSimulator) -> None:  # PU-09
    owner = world.trust(emsp)
    world.session(owner)
    due_at = world.delivery("sessions", SESSION).next_attempt_at
    for minute in range(3):
        world.clock.advance(minutes=1)
        world.progress(energy_mwh=13_000_000 + minute)
    row = world.delivery("sessions", SESSION)
    assert (row.wanted, row.told, row.next_attempt_at) == (4, 0, due_at)


async def test_a_partner_that_is_behind_is_not_asked_sooner_for_a_new_change(world: World, emsp: EmspSimulator) -> None:
    owner = world.trust(emsp)
    world.session(owner)
    later = world.clock.advance(minutes=10)
    world.clock.advance(minutes=-9)
    world.change(Delivery, Delivery.module == "sessions", attempts=7, next_attempt_at=later)
    world.progress()
    row = world.delivery("sessions", SESSION)
    assert (row.attempts, row.next_attempt_at) == (7, later)


async def test_a_change_lets_a_stopped_delivery_try_again(world: World, emsp: EmspSimulator) -> None:  # PU-17
    owner = world.trust(emsp)
    world.session(owner)
    world.change(Delivery, Delivery.module == "sessions", stopped="refused", attempts=3)
    now = world.clock.advance(minutes=1)
    world.progress()
    row = world.delivery("sessions", SESSION)
    assert (row.stopped, row.attempts, row.next_attempt_at) == (None, 0, now)


async def test_a_tariff_is_one_object_through_all_its_versions(world: World, emsp: EmspSimulator) -> None:
    partner = world.trust(emsp)
    world.happened(FactType.TARIFF_CHANGED, "1")
    world.new_tariff_version()
    assert world.deliveries() == {(partner, "tariffs", "1")}


async def test_a_partner_that_left_hears_nothing(world: World, emsp: EmspSimulator) -> None:  # CR-10
    partner = world.trust(emsp)
    with world.database.write() as connection:
        world.partners.leave(connection, partner)
    world.status(ConnectorStatus.CHARGING)
    assert world.deliveries() == set()


async def test_a_resync_is_all_tariffs_in_force_and_all_locations(world: World, emsp: EmspSimulator) -> None:  # PU-18
    partner = world.trust(emsp)
    world.change(Tariff, Tariff.id == 1, current=False)
    world.keep(rows.tariff(id=7, version=2), rows.location(id=2, location_id="LOC2", location_key="loc2"))
    with world.database.write() as connection:
        resync(connection, partner, world.clock())
    assert world.deliveries() == {(partner, "tariffs", "1"), (partner, "locations", "1"), (partner, "locations", "2")}


async def test_thousands_of_facts_are_a_few_statements(world: World, emsp: EmspSimulator) -> None:
    world.trust(emsp)
    world.happened(FactType.LOCATION_CHANGED, *map(str, range(1, 1201)))
    assert len(world.deliveries()) == 1200
