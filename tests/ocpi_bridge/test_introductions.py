"""Partners hear of what changed about us, and tokens do not grow old: both by a PUT of our credentials."""

import socket
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest

from csms.database import Database
from csms.journal import FactType
from ocpi_bridge.emsp_simulator import EmspSimulator, Fault
from ocpi_bridge.introductions import Introductions, offer_of
from ocpi_bridge.registration import OurRole
from ocpi_bridge.roles.serve import Service
from ocpi_bridge.settings import load
from tests.adapters import rows
from tests.ocpi_bridge.conftest import Cli
from tests.ocpi_bridge.our_door import open_door
from tests.ocpi_bridge.roaming_world import PARTY, World, running, until, world_of

only_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with world_of(database) as world:
        yield world


@pytest.fixture
async def emsp() -> AsyncIterator[EmspSimulator]:
    async with EmspSimulator(party=PARTY) as emsp:
        yield emsp


def puts(emsp: EmspSimulator) -> int:
    return len(
        [request for request in emsp.requests if (request.method, request.path) == ("PUT", "/2.2.1/credentials")]
    )


async def test_what_changed_of_us_and_tokens_that_are_old_bring_a_put(world: World, emsp: EmspSimulator) -> None:
    """VE-07, CR-27, CR-31: and a partner that knows all is left in peace."""
    roles: list[OurRole] = [("BE", "BEC", "Operator")]
    offer = offer_of("https://ocpi.example.com", roles)
    async with open_door(world, offer=offer) as (registration, _):
        await registration.register_at("emsp", emsp.versions_url, emsp.invite())
        introductions = Introductions(
            world.database,
            world.partners,
            registration,
            offer=offer,
            rotate_after=timedelta(days=30),
            clock=world.clock,
            start_after_s=0,
            poll_s=0.02,
        )
        assert introductions.reason(world.partner()) is None
        async with running(introductions.run()):
            world.clock.advance(days=29)
            roles.append(("NL", "SUB", "Operator"))  # sites of another party were imported
            await until(lambda: (world.partner().told_of_us or {}).get("parties") == ["BE-BEC", "NL-SUB"])
            before = world.partner()
            world.clock.advance(days=29)
            assert introductions.reason(before) is None
            world.clock.advance(days=1)
            assert introductions.reason(before) == "old tokens"
            after = await until(lambda: (world.partner().token_in != before.token_in) and world.partner())
    assert puts(emsp) == 2
    assert after.token_out != before.token_out
    assert after.token_in == emsp.outbound
    assert emsp.complaints == []


@only_sqlite
async def test_a_partner_that_does_not_take_it_is_asked_again_later(world: World, emsp: EmspSimulator) -> None:  # VE-07
    async with open_door(world) as (registration, _):
        await registration.register_at("emsp", emsp.versions_url, emsp.invite())
        registration._offer = lambda version: {"parties": [], "endpoints": [version]}  # as after an update
        introductions = Introductions(
            world.database,
            world.partners,
            registration,
            offer=registration._offer,
            rotate_after=None,
            clock=world.clock,
            start_after_s=0,
            poll_s=0.02,
        )
        emsp.fault("credentials", Fault.ERROR_3000, times=2)
        async with running(introductions.run()):
            for tried in (1, 2, 3):
                await until(lambda tried=tried: (world.clock.advance(seconds=30), puts(emsp) >= tried)[1])
            await until(lambda: world.partner().told_of_us == {"parties": [], "endpoints": ["2.2.1"]})
        assert puts(emsp) == 3


@only_sqlite
async def test_an_object_of_a_party_that_the_partner_was_not_told_of_waits(world: World, emsp: EmspSimulator) -> None:
    """PU-03"""
    partner = world.trust(emsp)
    world.site()
    world.keep(rows.location(id=2, party_id="NEW", location_id="LOC2", location_key="loc2"))

    def told(*parties: str) -> None:
        with world.database.write() as connection:
            world.partners.told(connection, partner, {"parties": list(parties), "endpoints": []})

    told("BE-BEC")
    world.happened(FactType.LOCATION_CHANGED, "1", "2")
    async with world.delivering():
        await emsp.wait_for(lambda: "LOC1" in emsp.locations)
        for _ in range(3):
            world.clock.advance(seconds=2)
            await until(lambda: world.delivery("locations", "2").next_attempt_at > world.clock())
        assert [request.path for request in emsp.requests] == ["/2.2.1/locations/BE/BEC/LOC1"]
        emsp.cpo_parties.append(("BE", "NEW"))
        told("BE-BEC", "BE-NEW")
        await until(lambda: (world.clock.advance(seconds=2), "LOC2" in emsp.locations)[1])
    assert world.delivery("locations", "2").attempts == 0


@only_sqlite
async def test_a_service_with_other_endpoints_than_before_tells_its_partners(
    cli: Cli, environment: Callable[..., None], emsp: EmspSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:  # VE-07
    monkeypatch.setattr("ocpi_bridge.introductions.START_AFTER_S", 0.1)
    monkeypatch.setattr(Introductions.__init__, "__kwdefaults__", {"start_after_s": 0.1, "poll_s": 0.1})
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    environment(OCPP_LISTEN="127.0.0.1:0", HTTP_LISTEN=address, PUBLIC_URL=f"http://{address}")
    service = Service(load())
    await service.start()
    try:
        partner = await service.registration.register_at("emsp", emsp.versions_url, emsp.invite())
        assert puts(emsp) == 0
        with service.database.write() as connection:  # as an older release knew fewer modules
            fewer = dict(partner.told_of_us or {})
            fewer["endpoints"] = fewer["endpoints"][:-1]
            service.partners.told(connection, partner.id, fewer)
        await emsp.wait_for(lambda: puts(emsp) == 1)
        await until(lambda: _told(service) == partner.told_of_us)
        assert "hubclientinfo" in {endpoint["identifier"] for endpoint in partner.told_of_us["endpoints"]}
    finally:
        await service.stop()


def _told(service: Service) -> object:
    with service.database.read() as connection:
        return service.partners.named(connection, "emsp").told_of_us
