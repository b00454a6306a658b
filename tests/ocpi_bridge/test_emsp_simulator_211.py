"""The simulated partner in OCPI 2.1.1: as strict, as faulty, and in the words of that version."""

from collections.abc import AsyncIterator

import httpx
import pytest

from crud.partners import PartnerState
from csms.database import Database
from csms.events import ConnectorStatus
from csms.journal import FactType
from csms.models import Location
from ocpi_bridge.emsp_simulator import EmspSimulator, Fault
from ocpi_bridge.registration import Registration
from tests.ocpi_bridge.our_door import open_door
from tests.ocpi_bridge.roaming_world import PARTY, RECORD, SESSION, World, world_of

only_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)

CARD = {"uid": "04AABBCC", "auth_id": "DE-TNM-C00000001-X"}  # as the rows' transaction has it


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with world_of(database) as world:
        world.site()
        yield world


@pytest.fixture
async def door(world: World) -> AsyncIterator[tuple[Registration, str]]:
    async with open_door(world) as door:
        yield door


@pytest.fixture
async def emsp() -> AsyncIterator[EmspSimulator]:
    async with EmspSimulator(party=PARTY, strict=True, version="2.1.1") as emsp:
        yield emsp


@only_sqlite
@pytest.mark.parametrize("who", ["partner", "we"])
async def test_either_side_registers_and_its_cards_are_taken(
    world: World, door: tuple[Registration, str], emsp: EmspSimulator, who: str
) -> None:  # V1-01, V1-02, TR-04, XT-01
    if who == "partner":
        with world.database.write() as connection:
            token_a = world.partners.invite(connection, "emsp", ("BE", "BEC"), world.clock())
        await emsp.register(door[1], token_a)
    else:
        await door[0].register_at("emsp", emsp.versions_url, emsp.invite())
    partner = world.partner()
    assert (partner.state, partner.version) == (PartnerState.REGISTERED, "2.1.1")
    assert (partner.token_in, {partner.token_out}) == (emsp.outbound, emsp.inbound)
    assert emsp.cpo_parties == [("BE", "BEC")]
    assert (await emsp.push_token(emsp.issue_token(**CARD))).ok
    assert (await emsp.patch_token(CARD["uid"], valid=False)).ok
    assert (await emsp.push_token(emsp.issue_token("04FF", type="OTHER"))).ok
    await emsp.unregister()
    assert world.partner().state is PartnerState.LEFT
    asked_in_base64 = "GET /versions: unknown token (TR-07)"  # of what version that list is, its address does not say
    assert [str(complaint) for complaint in emsp.complaints] == ([asked_in_base64] if who == "we" else [])


@only_sqlite
async def test_it_holds_what_it_was_told_of_a_charge_through_faults(world: World, emsp: EmspSimulator) -> None:
    """V1-03, V1-09, V1-10, PU-07, PU-11, LO-06"""
    partner = world.trust(emsp)
    emsp.issue_token(**CARD)
    world.happened(FactType.TARIFF_CHANGED, "1")
    world.happened(FactType.LOCATION_CHANGED, "1")
    async with world.delivering():
        await world.all_told()
        world.clock.advance(minutes=1)
        world.change(Location, Location.id == 1, name="Gent Noord", last_updated=world.clock())
        world.happened(FactType.LOCATION_CHANGED, "1")
        await world.all_told()
        world.status(ConnectorStatus.CHARGING)
        emsp.fault("sessions", Fault.LOST_ANSWER)
        world.session(partner, energy_mwh=0)
        await world.all_told(pass_time=True)
        world.clock.advance(minutes=1)
        emsp.fault("sessions", Fault.ERROR_500, method="PATCH")
        world.progress(energy_mwh=500_000)
        await world.all_told(pass_time=True)
        emsp.fault("cdrs", Fault.LOST_ANSWER)
        world.end(energy_mwh=3_200_000)
        world.bill(partner)
        await world.all_told(pass_time=True)
    told = [(request.method, request.path.partition("/2.1.1/")[2]) for request in emsp.requests]
    assert ("PATCH", "locations/BE/BEC/LOC1") in told
    assert told.count(("PUT", f"sessions/BE/BEC/{SESSION}")) >= 3
    assert emsp.locations["LOC1"]["name"] == "Gent Noord"
    assert (emsp.sessions[SESSION]["status"], float(emsp.sessions[SESSION]["kwh"])) == ("COMPLETED", 3.2)
    assert [cdr["id"] for cdr in emsp.cdrs] == [RECORD]
    assert emsp.complaints == []


async def test_what_is_of_221_is_complained_of(emsp: EmspSimulator) -> None:  # V1-03, V1-04, V1-06
    emsp.trust("T", ("BE", "BEC"))
    url = f"{emsp.root}/locations/BE/BEC/LOC1"
    async with httpx.AsyncClient(trust_env=False) as http:
        headers = {"Authorization": "Token T", "X-Request-ID": "1"}
        answer = await http.put(url, headers=headers, json={"id": "LOC1", "country_code": "BE"})
        assert answer.json()["status_code"] == 2001
        answer = await http.put(url, headers={"Authorization": "Token T"}, json={"id": "LOC1", "country_code": "BE"})
        assert answer.json()["status_code"] == 2001
        encoded = await http.get(f"{emsp.base_url}/versions", headers={"Authorization": "Token VA=="})
        assert encoded.status_code == 401
    said = " ".join(map(str, emsp.complaints))
    for words in ("x-request-id is none of 2.1.1", "Location.country_code is no field", "Location.type is missing"):
        assert words in said
