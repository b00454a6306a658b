"""An answer to credentials that is lost costs no registration: the old token asks again, until the new one is used."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from crud.partners import REPEATED_FOR, PartnerState
from csms.database import Database
from ocpi_bridge.emsp_simulator import EmspSimulator, Fault
from ocpi_bridge.introductions import Introductions
from ocpi_bridge.registration import Registration, RegistrationFailed
from tests.ocpi_bridge.our_door import open_door
from tests.ocpi_bridge.roaming_world import PARTY, World, running, until, world_of

only_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)

Door = tuple[Registration, str]


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with world_of(database) as world:
        world.site()
        yield world


@pytest.fixture
async def door(world: World) -> AsyncIterator[Door]:
    async with open_door(world) as door:
        yield door


@pytest.fixture
async def emsp() -> AsyncIterator[EmspSimulator]:
    async with EmspSimulator(party=PARTY) as emsp:
        yield emsp


def invite(world: World) -> str:
    with world.database.write() as connection:
        return world.partners.invite(connection, "emsp", ("BE", "BEC"), world.clock())


async def ask(emsp: EmspSimulator, method: str, url: str, token: str, body: Any = None) -> Any:
    return await emsp.call(method, url, body, token=token, configuration=True)


# ---- ours was lost --------------------------------------------------------------------------------------------------


async def test_a_post_whose_answer_was_lost_may_be_repeated_until_the_new_token_is_used(
    world: World, door: Door, emsp: EmspSimulator
) -> None:  # CR-05, CR-06
    token_a = invite(world)
    first = (await emsp.register(door[1], token_a))["token"]  # committed here, and the partner never hears of it
    emsp.registered, emsp.outbound = False, None
    again = (await emsp.register(door[1], token_a))["token"]
    assert world.partner().token_in == again != first
    credentials = emsp.cpo_endpoints["credentials", ""]
    assert (await ask(emsp, "GET", credentials, first)).http_status == 401
    assert (await ask(emsp, "GET", credentials, again)).ok
    with pytest.raises(Exception, match="401"):
        await emsp.register(door[1], token_a)
    assert world.partner().token_in == again


@only_sqlite
async def test_a_put_whose_answer_was_lost_may_be_repeated(
    world: World, door: Door, emsp: EmspSimulator
) -> None:  # CR-13
    old = (await emsp.register(door[1], invite(world)))["token"]
    url = emsp.cpo_endpoints["credentials", ""]
    emsp.inbound |= {"B-2", "B-3"}
    lost = await ask(emsp, "PUT", url, old, emsp.credentials("B-2"))
    assert (await ask(emsp, "DELETE", url, old)).http_status == 401
    assert (await ask(emsp, "POST", url, old, emsp.credentials("B-3"))).http_status == 401
    assert (await ask(emsp, "GET", door[1], old)).ok  # as who rotates begins
    heard = await ask(emsp, "PUT", url, old, emsp.credentials("B-3"))
    assert world.partner().token_out == "B-3"
    assert (await ask(emsp, "GET", door[1], lost.data["token"])).http_status == 401
    assert (await ask(emsp, "GET", door[1], heard.data["token"])).ok
    assert (await ask(emsp, "GET", door[1], old)).http_status == 401


@only_sqlite
async def test_an_old_token_is_dead_after_an_hour_whatever_was_heard(
    world: World, door: Door, emsp: EmspSimulator
) -> None:  # CR-05
    token_a = invite(world)
    await emsp.register(door[1], token_a)
    world.clock.advance(seconds=REPEATED_FOR.total_seconds())
    assert (await ask(emsp, "GET", door[1], token_a)).ok
    world.clock.advance(seconds=1)
    assert (await ask(emsp, "GET", door[1], token_a)).http_status == 401


# ---- the partner's was lost -----------------------------------------------------------------------------------------


def introductions(world: World, door: Door, knows: Any = None) -> Introductions:
    return Introductions(
        world.database,
        world.partners,
        door[0],
        offer=lambda version: knows,
        rotate_after=timedelta(days=30),
        clock=world.clock,
        start_after_s=0,
        poll_s=0.02,
    )


async def test_a_rotation_whose_answer_is_lost_is_repeated_with_the_same_token(
    world: World, door: Door, emsp: EmspSimulator
) -> None:  # CR-27
    emsp.overlap = True
    before = await door[0].register_at("emsp", emsp.versions_url, emsp.invite())
    assert (await emsp.call("GET", emsp.cpo_endpoints["credentials", ""], configuration=True)).ok
    emsp.fault("credentials", Fault.LOST_ANSWER, method="PUT")
    world.clock.advance(days=30)
    async with running(introductions(world, door).run()):
        doubted = await until(lambda: world.partner().pending_sent and world.partner())
        after = await until(
            lambda: (world.clock.advance(seconds=20), world.partner().token_in != before.token_in and world.partner())[
                1
            ],
        )
    assert after.token_in == doubted.pending_in == emsp.outbound
    assert {after.token_out} == emsp.inbound
    assert (after.pending_in, after.pending_sent) == (None, False)


@only_sqlite
async def test_a_partner_that_took_our_new_token_goes_on_with_it_and_mends_its_own_by_a_put(
    world: World, door: Door, emsp: EmspSimulator
) -> None:
    """CR-13, CR-27: it voided the token by which we called at once, and what it gave instead was lost."""
    before = await door[0].register_at("emsp", emsp.versions_url, emsp.invite())
    emsp.fault("credentials", Fault.LOST_ANSWER, method="PUT")
    with pytest.raises(RegistrationFailed):
        await door[0].rotate("emsp")
    assert before.token_in is not None
    assert (await ask(emsp, "GET", door[1], before.token_in)).ok  # it may not have taken the new one
    assert (await emsp.push_token(emsp.issue_token("04A1"))).ok  # it has
    assert world.partner().token_in == emsp.outbound
    assert (await ask(emsp, "GET", door[1], before.token_in)).http_status == 401
    assert introductions(world, door, knows={}).reason(world.partner()) == "changed"
    with pytest.raises(RegistrationFailed):
        await door[0].rotate("emsp")  # our old token is void there
    assert (await emsp.push_token(emsp.issue_token("04A2"))).ok  # and a failure takes nothing from it
    emsp.inbound = {"B-mended"}
    put = await emsp.call(
        "PUT", emsp.cpo_endpoints["credentials", ""], emsp.credentials("B-mended"), configuration=True
    )
    emsp.outbound = put.data["token"]
    assert world.partner().token_out == "B-mended"
    assert (await door[0].rotate("emsp")).state is PartnerState.REGISTERED


@only_sqlite
async def test_a_refusal_leaves_no_second_token(world: World, door: Door, emsp: EmspSimulator) -> None:  # CR-26
    await door[0].register_at("emsp", emsp.versions_url, emsp.invite())
    before = world.partner()
    for fault in (Fault.ERROR_3001, Fault.ERROR_2001, Fault.STALE_TOKEN):
        emsp.fault("credentials", fault, method="PUT")
        with pytest.raises(RegistrationFailed):
            await door[0].rotate("emsp")
        assert world.partner() == before


@only_sqlite
async def test_a_rotation_that_is_killed_after_the_put_is_in_doubt(
    world: World, door: Door, emsp: EmspSimulator
) -> None:  # CR-27
    await door[0].register_at("emsp", emsp.versions_url, emsp.invite())
    emsp.fault("credentials", Fault.WITHHELD, method="PUT")
    rotation = asyncio.create_task(door[0].rotate("emsp"))
    await emsp.wait_for(lambda: emsp.outbound != world.partner().token_in)
    rotation.cancel()
    await asyncio.gather(rotation, return_exceptions=True)
    assert world.partner().pending_sent
    assert introductions(world, door).reason(world.partner()) == "answer lost"
