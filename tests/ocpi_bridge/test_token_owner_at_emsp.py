"""The question "is this card good?", asked at a simulated eMSP."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from crud.models import Partner
from csms.authorization import OwnerAnswer, Question
from csms.database import Database
from csms.events import AuthorizationStatus as Status
from csms.tokens import TokenRecord, find, put
from ocpi_bridge.emsp_client import Delivery, Reply
from ocpi_bridge.emsp_simulator import Allow, Authorization, EmspSimulator, Fault
from ocpi_bridge.token_owner import TokenOwnerAtPartner, understood
from tests.ocpi_bridge.roaming_world import NOON, PARTY, World, world_of

only_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
LIMIT_S = 5.0


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with world_of(database) as world:
        yield world


@pytest.fixture
async def emsp() -> AsyncIterator[EmspSimulator]:
    async with EmspSimulator(party=PARTY) as emsp:
        emsp.issue_token("04A1/b2%")
        yield emsp


def owner(world: World) -> TokenOwnerAtPartner:
    return TokenOwnerAtPartner(world.database, world.partners, world.client, clock=world.clock)


def question(owner_id: int, **changes: Any) -> Question:
    asked: dict[str, Any] = {
        "token_id": 1,
        "owner_id": owner_id,
        "uid": "04A1/b2%",
        "type": "RFID",
        "country_code": "DE",
        "party_id": "TNM",
        "station_id": "CP001",
        "location_id": "LOC1",
        "evse_uids": ("CP001-1",),
    }
    return Question(**asked | changes)


async def ask(world: World, emsp: EmspSimulator, told: Authorization, **changes: Any) -> OwnerAnswer:
    partner = world.trust(emsp)
    emsp.authorization = told
    return await owner(world).ask(question(partner, **changes), timeout_s=LIMIT_S)


ANSWERS = [
    (Allow.ALLOWED, Status.ACCEPTED),
    (Allow.BLOCKED, Status.BLOCKED),
    (Allow.EXPIRED, Status.EXPIRED),
    (Allow.NO_CREDIT, Status.NO_CREDIT),  # R02
    (Allow.NOT_ALLOWED, Status.NOT_ALLOWED),
    (Allow.UNKNOWN_TOKEN, Status.INVALID),  # TK-38
]


@only_sqlite
@pytest.mark.parametrize(("allow", "status"), ANSWERS)
async def test_the_emsps_word_decides(world: World, emsp: EmspSimulator, allow: Allow, status: Status) -> None:
    answer = await ask(world, emsp, Authorization(allowed=allow))  # TK-39
    assert answer.status is status


async def test_the_place_is_asked_with_ocpis_ids_and_the_answer_kept_whole(world: World, emsp: EmspSimulator) -> None:
    answer = await ask(world, emsp, Authorization(reference="REF-1", info="Welcome"))  # TK-36, TK-41, TK-44
    assert answer == OwnerAnswer(status=Status.ACCEPTED, authorization_reference="REF-1", message="Welcome")
    request = emsp.requests[-1]
    assert (request.method, request.path, request.query) == (
        "POST",
        "/2.2.1/tokens/04A1%2Fb2%25/authorize",
        "type=RFID",
    )
    assert request.body == {"location_id": "LOC1", "evse_uids": ["CP001-1"]}
    assert emsp.complaints == []


@only_sqlite
async def test_a_station_that_no_site_knows_is_asked_without_place(world: World, emsp: EmspSimulator) -> None:
    answer = await ask(world, emsp, Authorization(), location_id=None, evse_uids=())
    assert answer.status is Status.ACCEPTED
    assert emsp.requests[-1].raw == b""


@only_sqlite
@pytest.mark.parametrize(
    ("returned", "status"),
    [
        (("CP001-2",), Status.NOT_ALLOWED),
        (("cp001-1", "CP001-2"), Status.ACCEPTED),
        ((), Status.ACCEPTED),
    ],
)
async def test_only_the_evses_in_the_answer_are_allowed(
    world: World, emsp: EmspSimulator, returned: tuple[str, ...], status: Status
) -> None:  # TK-40
    answer = await ask(world, emsp, Authorization(evse_uids=returned))
    assert answer.status is status


@only_sqlite
@pytest.mark.parametrize(
    "fault",
    [Fault.ERROR_500, Fault.ERROR_401, Fault.ERROR_3000, Fault.REDIRECT, Fault.GARBAGE, Fault.DISCONNECT, Fault.HUGE],
)
async def test_trouble_at_the_emsp_is_no_answer(world: World, emsp: EmspSimulator, fault: Fault) -> None:  # TK-31
    emsp.fault("tokens", fault)
    assert (await ask(world, emsp, Authorization())).status is None


@only_sqlite
@pytest.mark.parametrize("fault", [Fault.HANG, Fault.DRIP])
async def test_an_answer_that_does_not_come_in_time_is_none(
    world: World, emsp: EmspSimulator, fault: Fault
) -> None:  # TK-42
    partner = world.trust(emsp)
    emsp.fault("tokens", fault)
    started = asyncio.get_running_loop().time()
    answer = await owner(world).ask(question(partner), timeout_s=0.3)
    assert answer.status is None
    assert asyncio.get_running_loop().time() - started < 3


@only_sqlite
async def test_who_left_or_offers_no_authorization_is_not_asked(world: World, emsp: EmspSimulator) -> None:
    without = world.trust(emsp, "without", without=("tokens",))
    left = world.trust(emsp, "left")
    with world.database.write() as connection:
        world.partners.leave(connection, left)
    for partner in (without, left, 4711):
        assert (await owner(world).ask(question(partner), timeout_s=LIMIT_S)).status is None
    assert emsp.requests == []


UNDERSTOOD = [
    (Delivery.CONFIRMED, {"allowed": "allowed"}, Status.ACCEPTED),
    (Delivery.CONFIRMED, {"allowed": "SOMETHING_NEW"}, Status.NOT_ALLOWED),
    (Delivery.CONFIRMED, {"allowed": "ALLOWED", "location": {"location_id": "LOC1"}}, Status.ACCEPTED),
    (Delivery.CONFIRMED, {"allowed": "ALLOWED", "location": {"evse_uids": None}}, Status.ACCEPTED),
    (Delivery.CONFIRMED, {"allowed": "ALLOWED", "location": "nonsense", "info": "nonsense"}, Status.ACCEPTED),
    (Delivery.CONFIRMED, {"allowed": True}, None),
    (Delivery.CONFIRMED, None, None),
    (Delivery.CONFIRMED, [], None),
    (Delivery.REFUSED, {"allowed": "ALLOWED"}, Status.NOT_ALLOWED),  # 2002: not enough information
    (Delivery.NOT_FOUND, {"allowed": "ALLOWED"}, Status.INVALID),
    (Delivery.HUB, None, None),
]


@pytest.mark.parametrize(("delivery", "data", "status"), UNDERSTOOD)
def test_what_an_answer_means(delivery: Delivery, data: Any, status: Status | None) -> None:
    assert understood(question(1), Reply(delivery=delivery, at=NOON, data=data)).status is status


async def test_the_card_in_the_answer_replaces_our_copy_but_not_what_the_operator_says(
    world: World, emsp: EmspSimulator
) -> None:  # TK-43
    partner = world.trust(emsp)
    key: dict[str, Any] = {"owner_id": partner, "country_code": "DE", "party_id": "TNM", "uid": "04A1/b2%"}
    with world.database.write() as connection:
        old = TokenRecord(**key, contract_id="OLD", issuer="I", valid=False, exempt=True, last_updated=NOON)
        put(connection, old, NOON)
    emsp.issue_token("04A1/b2%", contract_id="NEW", last_updated="2026-03-05T00:00:00Z")
    await owner(world).ask(question(partner), timeout_s=LIMIT_S)
    with world.database.read() as connection:
        row = find(connection, **key)
    assert row is not None
    assert (row.contract_id, row.valid, row.exempt) == ("NEW", True, True)


@only_sqlite
async def test_a_fault_of_ours_is_no_answer_either(world: World, emsp: EmspSimulator) -> None:
    partner = world.trust(emsp)
    world.change(Partner, Partner.id == partner, token_out="sealed with another key")
    assert (await owner(world).ask(question(partner), timeout_s=LIMIT_S)).status is None
