"""Each partner's health is known and shown; what does not answer is left alone for a while, and costs nobody else anything."""

import json
from collections.abc import AsyncIterator

import pytest

from crud.partner_reports import CLOSED, HALF_OPEN, OPEN, Report, reports, state, troubled
from crud.partners import Partners
from csms.database import Database
from csms.journal import FactType
from csms.models import Location
from csms.sealing import Vault
from ocpi_bridge.delivery import AT_ONCE
from ocpi_bridge.emsp_client import Delivery, Reply
from ocpi_bridge.emsp_simulator import EmspSimulator, Fault
from ocpi_bridge.health import FIRST_OPEN, LAST_OPEN, OPENS_AFTER, Health
from ocpi_bridge.push import resync
from tests.adapters import rows
from tests.ocpi_bridge.conftest import SECRET_KEY, Cli
from tests.ocpi_bridge.roaming_world import PARTY, Clock, World, running, until, world_of

SITES = 12


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with world_of(database) as world:
        world.site()
        for number in range(2, SITES + 1):
            world.keep(rows.location(id=number, location_id=f"LOC{number}", location_key=f"loc{number}"))
        yield world


@pytest.fixture
async def emsp() -> AsyncIterator[EmspSimulator]:
    async with EmspSimulator(party=PARTY, strict=True) as emsp:
        yield emsp


only_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


def heard(health: Health, delivery: Delivery, times: int = 1) -> None:
    for _ in range(times):
        health.heard(1, "locations", Reply(delivery=delivery, at=health._clock(), http_status=500))


def report(world: World, name: str = "emsp") -> Report:
    world.health.keep(world.database)
    with world.database.read() as connection:
        (found,) = reports(connection, world.clock(), name=name)
    return found


# ---- the circuit ----------------------------------------------------------------------------------------------------


def test_a_circuit_opens_after_failures_in_a_row_and_half_opens_with_growing_waits() -> None:
    clock = Clock()
    health = Health(clock=clock, chance=lambda: 0.5)
    heard(health, Delivery.UNSURE, OPENS_AFTER - 1)
    heard(health, Delivery.CONFIRMED)
    heard(health, Delivery.UNREACHABLE, OPENS_AFTER - 1)
    assert health.room(1, "locations") is None
    heard(health, Delivery.UNSURE)
    waits = []
    for _ in range(9):
        assert health.room(1, "locations") == 0
        heard(health, Delivery.UNSURE)  # one that was out already makes nothing longer
        began = clock()
        while health.room(1, "locations") == 0:
            clock.advance(seconds=1)
        assert health.room(1, "locations") == 1
        waits.append(clock() - began)
        heard(health, Delivery.UNSURE)
    assert waits[0] == FIRST_OPEN
    assert waits == sorted(waits)
    assert waits[-1] == waits[-2] == LAST_OPEN
    clock.advance(minutes=5)
    heard(health, Delivery.REFUSED)  # a refusal is an answer
    assert health.room(1, "locations") is None
    assert (health.recovered(), health.recovered()) == ({(1, "locations")}, set())
    assert health.room(1, "sessions") is None is health.room(2, "locations")


# ---- what is sent ---------------------------------------------------------------------------------------------------


async def test_a_partner_that_is_down_is_tried_by_one_call_and_hears_all_when_it_is_back(
    world: World, emsp: EmspSimulator
) -> None:
    """PU-08, PU-09, PU-15: the present state of each object once, whatever happened meanwhile."""
    partner = world.trust(emsp, without=("tariffs",))
    emsp.fault("locations", Fault.ERROR_500, times=None)
    with world.database.write() as connection:
        resync(connection, partner, world.clock())
    async with world.delivering() as deliveries:
        quiet = lambda: world.health.room(partner, "locations") == 0 and not deliveries._busy.total()  # noqa: E731
        await until(quiet)
        tries = len(emsp.requests)
        assert OPENS_AFTER <= tries < OPENS_AFTER + AT_ONCE
        for hours in range(4, 25, 4):  # a day in which each site changes again and again
            for number in range(1, SITES + 1):
                world.change(Location, Location.id == number, name=f"Name {hours}", last_updated=world.clock())
            world.happened(FactType.LOCATION_CHANGED, *(str(number) for number in range(1, SITES + 1)))
            before = len(emsp.requests)
            world.clock.advance(hours=4)
            await until(lambda before=before: len(emsp.requests) > before)
            await until(quiet)
            assert len(emsp.requests) == before + 1
        found = report(world)
        assert (found.circuit, found.waiting, found.lag_s >= 24 * 3600) == (OPEN, SITES, True)
        assert found.error_rate > 0.5
        emsp.clear_faults()
        emsp.requests.clear()
        world.clock.advance(minutes=6)
        await world.all_told()
    assert sorted(request.path.rpartition("/")[2] for request in emsp.requests) == sorted(
        f"LOC{number}" for number in range(1, SITES + 1)
    )
    assert {location["name"] for location in emsp.locations.values()} == {"Name 24"}
    assert (report(world).circuit, report(world).waiting, report(world).lag_s) == (CLOSED, 0, 0.0)


@only_sqlite
async def test_one_partner_never_delays_another_nor_one_module_the_next(world: World, emsp: EmspSimulator) -> None:
    async with EmspSimulator(party=("NL", "BAD")) as bad:
        broken, whole = world.trust(bad, "bad"), world.trust(emsp, "emsp")
        bad.fault("locations", Fault.HANG, times=None)
        world.session(broken)
        with world.database.write() as connection:
            resync(connection, broken, world.clock())
            resync(connection, whole, world.clock())
        async with world.delivering():
            await emsp.wait_for(lambda: len(emsp.locations) == SITES)
            assert not bad.locations
            await until(lambda: (world.clock.advance(seconds=10), bad.sessions)[1])
        assert emsp.complaints == []


@only_sqlite
async def test_a_lost_answer_among_good_ones_opens_nothing(world: World, emsp: EmspSimulator) -> None:
    partner = world.trust(emsp)
    emsp.fault("locations", Fault.LOST_ANSWER, times=3)
    with world.database.write() as connection:
        resync(connection, partner, world.clock())
    async with world.delivering():
        await world.all_told(pass_time=True)
    assert len(emsp.locations) == SITES
    assert report(world).circuit == CLOSED


# ---- what is shown --------------------------------------------------------------------------------------------------


@only_sqlite
async def test_health_outlives_the_process(world: World, emsp: EmspSimulator) -> None:
    partner = world.trust(emsp)
    for _ in range(OPENS_AFTER):
        world.health.heard(partner, "sessions", Reply(delivery=Delivery.UNREACHABLE, at=world.clock()))
    async with running(world.health.run(world.database)):
        await until(lambda: report(world).modules)
    again = Health(clock=world.clock)
    again.load(world.database)
    assert again.room(partner, "sessions") == 0
    (module,) = report(world).modules
    assert (module.calls, module.errors, module.failures, module.last_error) == (5, 5, 5, "no answer")
    assert state(module, world.clock()) == OPEN
    assert state(module, world.clock.advance(minutes=1)) == HALF_OPEN


@only_sqlite
async def test_a_permanent_refusal_is_kept_and_shown(world: World, emsp: EmspSimulator) -> None:  # PU-17
    partner = world.trust(emsp)
    emsp.fault("sessions", Fault.ERROR_2001)
    world.session(partner)
    async with world.delivering():
        row = await until(lambda: world.failed("sessions", "5f0f8a2e-7c1b-4a55-9d0e-2b6f1f3c9a10"))
    with world.database.read() as connection:
        (shown,) = troubled(connection, partner)
    assert shown.stopped == row.stopped
    assert shown.stopped.startswith("refused: HTTP 200 OCPI 2001")
    assert (report(world).given_up, report(world).waiting) == (1, 0)


def test_the_command_shows_it(cli: Cli, database: Database) -> None:
    world = World(database)
    partners = Partners(database, Vault(SECRET_KEY), clock=world.clock)
    with database.write() as connection:
        partners.invite(connection, "Acme", ("BE", "BEC"), world.clock())
        partner = partners.named(connection, "Acme")
    heard(world.health, Delivery.CONFIRMED)
    for _ in range(OPENS_AFTER):
        world.health.heard(partner.id, "cdrs", Reply(delivery=Delivery.UNSURE, at=world.clock(), http_status=503))
    world.health.keep(database)
    row = json.loads(cli("partner", "list", "--json").stdout)
    assert (row["circuit"], row["waiting"], row["given_up"]) == ("half-open", 0, 0)  # its wait was over long ago
    row = json.loads(cli("partner", "show", "Acme", "--json").stdout)
    assert [(module["module"], module["circuit"]) for module in row["modules"]] == [
        ("cdrs", "half-open"),
        ("locations", "closed"),
    ]
    shown = cli("partner", "show", "Acme").stdout
    assert "unsure: HTTP 503" in " ".join(shown.split())
