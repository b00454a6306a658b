"""Cards that nobody has listed are asked about at the partners that agreed to it, and at nobody else."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import select

from csms.authorization import OwnerAnswer, Stranger
from csms.database import Database
from csms.events import AuthorizationStatus
from csms.models import Token
from ocpi_bridge.emsp_simulator import Allow, Authorization, EmspSimulator
from ocpi_bridge.token_finder import TokenFinderAtPartners
from tests.ocpi_bridge.cli_answers import objects
from tests.ocpi_bridge.conftest import Cli
from tests.ocpi_bridge.roaming_world import PARTY, World, world_of

only_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
UID = "04A1B2C3"
STRANGER = Stranger(uid=UID, station_id="CP001", location_id="LOC1", evse_uids=("CP001-1",))


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with world_of(database) as world:
        yield world


@pytest.fixture
async def emsp() -> AsyncIterator[EmspSimulator]:
    async with EmspSimulator(party=PARTY) as emsp:
        emsp.issue_token(UID, whitelist="NEVER")
        yield emsp


def agreed(world: World, emsp: EmspSimulator, name: str = "emsp") -> int:
    partner = world.trust(emsp, name)
    with world.database.write() as connection:
        world.partners.ask_of_strangers(connection, partner, True)
    return partner


async def find(world: World, stranger: Stranger = STRANGER) -> OwnerAnswer | None:
    finder = TokenFinderAtPartners(world.database, world.partners, world.client, clock=world.clock)
    return await finder.find(stranger, timeout_s=60.0)


def cards(world: World) -> list[tuple[int, str]]:
    with world.database.read() as connection:
        return [(row.owner_id, row.uid) for row in connection.execute(select(Token.owner_id, Token.uid))]


async def test_a_stranger_that_its_owner_allows_is_known_from_then_on(
    world: World, emsp: EmspSimulator
) -> None:  # TK-35
    partner = agreed(world, emsp)
    emsp.authorization = Authorization(reference="REF-1")
    async with EmspSimulator(party=("NL", "OTH")) as other:
        other.authorization = Authorization(allowed=Allow.HANG)  # one that is silent delays nobody
        agreed(world, other, "other")
        async with asyncio.timeout(30):
            answer = await find(world)
    assert answer == OwnerAnswer(status=AuthorizationStatus.ACCEPTED, authorization_reference="REF-1")
    assert cards(world) == [(partner, UID)]
    (asked,) = emsp.requests
    assert (asked.path, asked.query) == (f"/2.2.1/tokens/{UID}/authorize", "type=RFID")
    assert asked.body == {"location_id": "LOC1", "evse_uids": ["CP001-1"]}


@only_sqlite
async def test_who_did_not_agree_is_not_asked(world: World, emsp: EmspSimulator) -> None:  # TK-35
    world.trust(emsp)
    assert await find(world) is None
    assert emsp.requests == []


@only_sqlite
@pytest.mark.parametrize("allow", [Allow.BLOCKED, Allow.UNKNOWN_TOKEN, Allow.NO_CREDIT])
async def test_what_is_not_allowed_stays_unknown(world: World, emsp: EmspSimulator, allow: Allow) -> None:  # TK-35
    agreed(world, emsp)
    emsp.authorization = Authorization(allowed=allow)
    assert await find(world) is None
    assert cards(world) == []


@only_sqlite
@pytest.mark.parametrize("odd", [{"party_id": "XXX"}, {"uid": "OTHER"}, {"contract_id": None}])
async def test_an_answer_about_another_card_counts_for_nothing(
    world: World, emsp: EmspSimulator, odd: dict[str, Any]
) -> None:  # TK-35, CR-34
    agreed(world, emsp)
    emsp.tokens[UID.casefold(), "RFID"].update(odd)
    assert await find(world) is None
    assert cards(world) == []


def test_the_operator_says_who_is_asked(cli: Cli, database: Database) -> None:  # TK-35
    cli("partner", "invite", "Acme")
    assert cli("partner", "strangers", "Acme").stdout == "Acme is asked about cards that nobody has listed\n"
    assert objects(cli("partner", "show", "Acme", "--json"))[0]["asked_of_strangers"] is True
    assert "not asked" in cli("partner", "strangers", "Acme", "--never").stdout
    assert cli("partner", "strangers", "Nobody").exit_code != 0
