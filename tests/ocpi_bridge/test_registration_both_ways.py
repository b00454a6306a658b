"""Credentials between us and a simulated eMSP, over real HTTP, whichever side begins."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from crud.partners import AlreadyRegistered, PartnerState
from csms.database import Database
from csms.models import Token
from ocpi_bridge.emsp_simulator import CpoRefused, EmspSimulator, Fault
from ocpi_bridge.registration import Registration, RegistrationFailed
from ocpi_bridge.terms import read_endpoints
from tests.ocpi_bridge.our_door import odd_partner, open_door
from tests.ocpi_bridge.roaming_world import NOON, PARTY, World, world_of

only_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)

US = ("BE", "BEC")


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
    async with EmspSimulator(party=PARTY) as emsp:
        yield emsp


def invite(world: World, name: str = "emsp") -> str:
    with world.database.write() as connection:
        return world.partners.invite(connection, name, US, world.clock())


async def ask(emsp: EmspSimulator, method: str, url: str, token: str, body: Any = None) -> Any:
    return await emsp.call(method, url, body, token=token, configuration=True)


# ---- the partner begins ---------------------------------------------------------------------------------------------


async def test_a_partner_registers_and_both_may_call(
    world: World, door: tuple[Registration, str], emsp: EmspSimulator
) -> None:  # CR-03, CR-04, CR-25
    token_a = invite(world)
    _, versions_url = door
    credentials = await emsp.register(versions_url, token_a)
    partner = world.partner()
    assert partner.state is PartnerState.REGISTERED
    assert partner.token_in == credentials["token"] == emsp.outbound
    assert {partner.token_out} == emsp.inbound
    assert credentials["url"] == versions_url
    assert credentials["roles"] == [
        {"role": "CPO", "country_code": "BE", "party_id": "BEC", "business_details": {"name": "Operator"}}
    ]
    assert partner.roles[0]["party_id"] == "TNM"
    assert partner.endpoint("sessions", "RECEIVER") == emsp.endpoints["sessions", "RECEIVER"]
    assert emsp.complaints == []
    assert world.deliveries() == {(partner.id, "tariffs", "1"), (partner.id, "locations", "1")}  # PU-18


async def test_no_token_stands_in_the_clear_in_the_database(
    world: World, door: tuple[Registration, str], emsp: EmspSimulator
) -> None:
    token_a = invite(world)
    await emsp.register(door[1], token_a)
    partner = world.partner()
    with world.database.read() as connection:
        row = str(connection.exec_driver_sql("SELECT * FROM partners").all())
    for token in (token_a, partner.token_in, partner.token_out):
        assert token is not None
        assert token not in row


@only_sqlite
async def test_token_a_is_dead_after_success_and_opens_no_module_before(
    world: World, door: tuple[Registration, str], emsp: EmspSimulator
) -> None:  # TR-08, CR-05
    token_a = invite(world)
    _, versions_url = door
    tokens = versions_url.replace("versions", "cpo/2.2.1/tokens/DE/TNM/X")
    assert (await ask(emsp, "GET", versions_url, token_a)).http_status == 200
    assert (await ask(emsp, "GET", tokens, token_a)).http_status == 401
    credentials = await emsp.register(versions_url, token_a)
    assert (await ask(emsp, "GET", tokens, token_a)).http_status == 401
    assert (await ask(emsp, "GET", emsp.cpo_endpoints["credentials", ""], token_a)).http_status == 401
    assert (await ask(emsp, "GET", tokens, credentials["token"])).http_status == 404
    assert (await ask(emsp, "GET", versions_url, token_a)).http_status == 401
    reply = await ask(emsp, "POST", emsp.cpo_endpoints["credentials", ""], token_a, emsp.credentials("B"))
    assert reply.http_status == 401


@only_sqlite
async def test_a_second_post_and_early_put_and_delete_are_405(
    world: World, door: tuple[Registration, str], emsp: EmspSimulator
) -> None:  # CR-07, CR-09
    token_a = invite(world)
    credentials_url = door[1].replace("versions", "cpo/2.2.1/credentials")
    body = emsp.credentials("B")
    assert (await ask(emsp, "PUT", credentials_url, token_a, body)).http_status == 405
    assert (await ask(emsp, "DELETE", credentials_url, token_a)).http_status == 405
    credentials = await emsp.register(door[1], token_a)
    assert (await ask(emsp, "POST", credentials_url, credentials["token"], body)).http_status == 405


@only_sqlite
async def test_get_shows_the_partner_the_token_it_uses(
    world: World, door: tuple[Registration, str], emsp: EmspSimulator
) -> None:  # CR-11
    credentials = await emsp.register(door[1], invite(world))
    reply = await emsp.call("GET", emsp.cpo_endpoints["credentials", ""], configuration=True)
    assert reply.data == credentials


DETAILS: dict[str, Any] = {
    "version": "2.2.1",
    "endpoints": [{"identifier": "tokens", "role": "SENDER", "url": "{base}/tokens"}],
}
VERSIONS = [{"version": "2.2.1", "url": "{base}/details"}]
ODD: list[tuple[str, dict[str, Any], int]] = [
    ("nothing answers there", {}, 3001),
    ("no JSON", {"/versions": "<html>"}, 3001),
    ("an object for a list", {"/versions": {"version": "2.2.1"}}, 3001),
    ("other versions", {"/versions": [{"version": "2.1.1", "url": "{base}/x"}, {"version": "9.9", "url": 3}]}, 3002),
    ("no details", {"/versions": VERSIONS}, 3001),
    ("details without endpoints", {"/versions": VERSIONS, "/details": {"version": "2.2.1"}}, 3001),
    ("nothing of use", {"/versions": VERSIONS, "/details": DETAILS | {"endpoints": []}}, 3003),
    (
        "a CPO's endpoints",
        {"/versions": VERSIONS, "/details": DETAILS | {"endpoints": [{"identifier": "tokens", "role": "RECEIVER"}]}},
        3003,
    ),
]


@only_sqlite
@pytest.mark.parametrize(("answers", "code"), [case[1:] for case in ODD], ids=[case[0] for case in ODD])
async def test_a_partner_that_cannot_be_used_is_told_why_and_may_try_again(
    world: World, door: tuple[Registration, str], emsp: EmspSimulator, answers: dict[str, Any], code: int
) -> None:  # CR-06
    token_a = invite(world)
    credentials_url = door[1].replace("versions", "cpo/2.2.1/credentials")
    async with odd_partner(answers) as base:
        body = emsp.credentials("token-B") | {"url": f"{base}/versions"}
        reply = await ask(emsp, "POST", credentials_url, token_a, body)
    assert (reply.http_status, reply.status_code) == (200, code)
    assert world.partner().state is PartnerState.INVITED
    await emsp.register(door[1], token_a)


@only_sqlite
@pytest.mark.parametrize("fault", [Fault.HANG, Fault.DRIP, Fault.ERROR_500, Fault.REDIRECT, Fault.GARBAGE, Fault.HUGE])
async def test_a_bad_versions_endpoint_is_3001_in_time(database: Database, emsp: EmspSimulator, fault: Fault) -> None:
    async with world_of(database, call_limit_s=0.5) as world, open_door(world) as (_, versions_url):
        token_a = invite(world)
        emsp.fault("versions", fault)
        with pytest.raises(CpoRefused) as refused:
            await emsp.register(versions_url, token_a)
        assert refused.value.reply.status_code == 3001


@only_sqlite
async def test_a_versions_url_inside_our_network_is_not_called(
    world: World, door: tuple[Registration, str], emsp: EmspSimulator
) -> None:  # TR-35
    body = emsp.credentials("token-B") | {"url": "http://10.0.0.1/versions"}
    reply = await ask(emsp, "POST", door[1].replace("versions", "cpo/2.2.1/credentials"), invite(world), body)
    assert reply.status_code == 3001


async def test_posts_at_the_same_time_register_once(
    world: World, door: tuple[Registration, str], emsp: EmspSimulator
) -> None:  # CR-12
    token_a = invite(world)
    url = door[1].replace("versions", "cpo/2.2.1/credentials")
    tokens = ["token-1", "token-2", "token-3"]
    emsp.inbound |= set(tokens)
    emsp.slow_s = 0.3  # none is done before all have begun
    emsp.fault("versions", Fault.SLOW, times=None)
    replies = await asyncio.gather(*(ask(emsp, "POST", url, token_a, emsp.credentials(token)) for token in tokens))
    won = [reply for reply in replies if reply.ok]
    assert len(won) == 1
    assert {reply.http_status for reply in replies if not reply.ok} <= {401, 405}
    assert world.partner().token_in == won[0].data["token"]


async def test_nobody_waits_for_a_registration_that_hangs(
    world: World, door: tuple[Registration, str], emsp: EmspSimulator
) -> None:  # CR-12
    token_a, other_a = invite(world), invite(world, "other")
    emsp.fault("versions", Fault.HANG, times=None)
    hanging = asyncio.create_task(emsp.register(door[1], token_a))
    async with EmspSimulator(party=("FR", "OTH")) as other:
        await other.register(door[1], other_a)
    assert not hanging.done()
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)


async def test_put_gives_new_tokens_and_the_old_one_is_void_at_once(
    world: World, door: tuple[Registration, str], emsp: EmspSimulator
) -> None:  # CR-08, CR-13
    old = (await emsp.register(door[1], invite(world)))["token"]
    url = emsp.cpo_endpoints["credentials", ""]
    emsp.inbound.add("fresh-B")
    before = len(emsp.requests)
    reply = await emsp.call("PUT", url, emsp.credentials("fresh-B"), configuration=True)
    assert reply.ok
    assert [request.path for request in emsp.requests[before:]] == ["/versions", "/2.2.1"]
    assert world.partner().token_out == "fresh-B"
    tokens = door[1].replace("versions", "cpo/2.2.1/tokens/DE/TNM/X")
    assert (await ask(emsp, "GET", url, old)).http_status == 401
    assert (await ask(emsp, "GET", tokens, old)).http_status == 401
    assert (await ask(emsp, "GET", url, reply.data["token"])).http_status == 200
    assert (await ask(emsp, "GET", door[1], old)).http_status == 401
    assert (await ask(emsp, "PUT", url, old, emsp.credentials("fresh-B"))).http_status == 401


@only_sqlite
async def test_a_put_that_fails_changes_nothing(
    world: World, door: tuple[Registration, str], emsp: EmspSimulator
) -> None:  # CR-08
    await emsp.register(door[1], invite(world))
    before = world.partner()
    emsp.fault("versions", Fault.ERROR_500)
    url = emsp.cpo_endpoints["credentials", ""]
    reply = await emsp.call("PUT", url, emsp.credentials("fresh-B"), configuration=True)
    assert reply.status_code == 3001
    assert world.partner() == before


async def test_delete_ends_both_directions(world: World, door: tuple[Registration, str], emsp: EmspSimulator) -> None:
    credentials = await emsp.register(door[1], invite(world))  # CR-10
    partner = world.partner()
    world.keep(card(partner.id))
    await emsp.unregister()
    assert (await ask(emsp, "GET", door[1], credentials["token"])).http_status == 401
    left = world.partner()
    assert (left.state, left.token_in, left.token_out) == (PartnerState.LEFT, None, None)
    with world.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM tokens WHERE valid").scalar() == 0
    await emsp.register(door[1], invite(world))
    assert world.partner().id == partner.id


def card(owner_id: int) -> Token:
    return Token(
        owner_id=owner_id,
        country_code="DE",
        party_id="TNM",
        uid="04A1",
        uid_key="04a1",
        contract_id="C",
        issuer="I",
        valid=True,
        created_at=NOON,
        last_updated=NOON,
    )


# ---- we begin -------------------------------------------------------------------------------------------------------


async def test_we_register_at_a_partner_that_calls_back_meanwhile(
    world: World, door: tuple[Registration, str], emsp: EmspSimulator
) -> None:  # CR-20 to CR-25
    token_a = emsp.invite()
    partner = await door[0].register_at("emsp", emsp.versions_url, token_a)
    assert partner.state is PartnerState.REGISTERED
    assert {partner.token_out} == emsp.inbound
    assert partner.token_in == emsp.outbound
    assert partner.pending_in is None
    assert token_a not in (partner.token_in, partner.token_out)
    assert [request.path for request in emsp.requests] == ["/versions", "/2.2.1", "/2.2.1/credentials"]
    assert emsp.complaints == []
    assert (await emsp.call("GET", emsp.cpo_endpoints["credentials", ""], configuration=True)).ok
    assert world.deliveries() == {(partner.id, "tariffs", "1"), (partner.id, "locations", "1")}


@only_sqlite
async def test_the_token_of_the_call_back_opens_no_module(
    world: World, door: tuple[Registration, str], emsp: EmspSimulator
) -> None:  # CR-22, TR-08
    with world.database.write() as connection:
        partner_id = world.partners.offer(connection, "emsp", US, world.clock())
        token = world.partners.open_pending(connection, partner_id)
    assert (await ask(emsp, "GET", door[1], token)).http_status == 200
    tokens = door[1].replace("versions", "cpo/2.2.1/tokens/DE/TNM/X")
    assert (await ask(emsp, "GET", tokens, token)).http_status == 401


FAILING = [("versions", Fault.ERROR_500), ("2.2.1", Fault.GARBAGE), ("credentials", Fault.ERROR_3000)]


@only_sqlite
@pytest.mark.parametrize(("place", "fault"), FAILING)
async def test_a_failed_attempt_leaves_nothing_and_may_be_repeated(
    world: World, door: tuple[Registration, str], emsp: EmspSimulator, place: str, fault: Fault
) -> None:  # CR-26
    token_a = emsp.invite()
    emsp.fault(place, fault)
    with pytest.raises(RegistrationFailed) as failed:
        await door[0].register_at("emsp", emsp.versions_url, token_a)
    assert token_a not in str(failed.value)
    with world.database.read() as connection:
        assert world.partners.all(connection) == []
    assert (await door[0].register_at("emsp", emsp.versions_url, token_a)).state is PartnerState.REGISTERED


@only_sqlite
async def test_a_partner_without_useful_endpoints_gets_no_post(
    world: World, door: tuple[Registration, str]
) -> None:  # CR-21
    async with odd_partner({"/versions": VERSIONS, "/details": DETAILS | {"endpoints": []}}) as base:
        with pytest.raises(RegistrationFailed, match="modules"):
            await door[0].register_at("emsp", f"{base}/versions", "A")


@only_sqlite
async def test_a_registered_partner_is_not_registered_twice(
    world: World, door: tuple[Registration, str], emsp: EmspSimulator
) -> None:
    await door[0].register_at("emsp", emsp.versions_url, emsp.invite())
    with pytest.raises(AlreadyRegistered):
        await door[0].register_at("emsp", emsp.versions_url, emsp.invite())


async def test_rotation_gives_both_sides_new_tokens(
    world: World, door: tuple[Registration, str], emsp: EmspSimulator
) -> None:  # CR-27
    before = await door[0].register_at("emsp", emsp.versions_url, emsp.invite())
    after = await door[0].rotate("emsp")
    assert after.token_in == emsp.outbound != before.token_in
    assert {after.token_out} == emsp.inbound != {before.token_out}
    assert after.pending_in is None
    assert before.token_in is not None
    assert (await ask(emsp, "GET", door[1], before.token_in)).http_status == 401


@only_sqlite
async def test_a_failed_rotation_leaves_the_tokens_as_they_were(
    world: World, door: tuple[Registration, str], emsp: EmspSimulator
) -> None:
    before = await door[0].register_at("emsp", emsp.versions_url, emsp.invite())
    emsp.fault("credentials", Fault.ERROR_3000)
    with pytest.raises(RegistrationFailed):
        await door[0].rotate("emsp")
    assert world.partner() == before


@only_sqlite
async def test_unregistering_tells_the_partner_and_ends_here_in_any_case(
    world: World, door: tuple[Registration, str], emsp: EmspSimulator
) -> None:  # CR-10
    await door[0].register_at("emsp", emsp.versions_url, emsp.invite())
    assert await door[0].unregister("emsp") is True
    assert not emsp.registered
    await door[0].register_at("emsp", emsp.versions_url, emsp.invite())
    emsp.fault("credentials", Fault.ERROR_500)
    assert await door[0].unregister("emsp") is False
    assert world.partner().state is PartnerState.LEFT
    with pytest.raises(RegistrationFailed, match="no partner"):
        await door[0].unregister("nobody")


@only_sqlite
async def test_those_who_push_and_pull_are_woken(world: World, emsp: EmspSimulator) -> None:
    woken: list[str] = []
    async with open_door(world, changed=lambda: woken.append("woken")) as (registration, versions_url):
        await registration.register_at("emsp", emsp.versions_url, emsp.invite())
        async with EmspSimulator(party=("FR", "OTH")) as other:
            await other.register(versions_url, invite(world, "other"))
    assert woken == ["woken", "woken"]


# ---- reading generously ---------------------------------------------------------------------------------------------


def test_endpoints_are_read_generously() -> None:  # VE-03, VE-05, VE-09
    details = {
        "endpoints": [
            {"identifier": " Tokens ", "role": "sender", "url": "https://a"},
            {"identifier": "credentials", "role": "WHATEVER", "url": "https://b"},
            {"identifier": "credentials", "url": "https://c"},
            {"identifier": "sessions", "url": "https://without.a.role"},
            {"identifier": "cdrs", "role": "RECEIVER", "url": None},
            "nonsense",
        ]
    }
    assert read_endpoints(details) == [
        {"identifier": "tokens", "role": "SENDER", "url": "https://a"},
        {"identifier": "credentials", "role": "SENDER", "url": "https://b"},
        {"identifier": "credentials", "role": "SENDER", "url": "https://c"},
    ]
