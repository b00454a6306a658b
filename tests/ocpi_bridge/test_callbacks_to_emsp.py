"""The result of a command, posted to the response_url of a simulated eMSP."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from adapters.commands import RESULT
from crud.models import CommandCallback
from csms.commands import Outcome
from csms.database import Database
from csms.models import RemoteRequest, Reservation
from ocpi_bridge.callbacks import Callbacks, Result
from ocpi_bridge.emsp_simulator import EmspSimulator, Fault
from tests.ocpi_bridge.roaming_world import PARTY, World, running, until, world_of

only_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
TIMEOUT_S = 30


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with world_of(database) as world:
        yield world


@pytest.fixture
async def emsp() -> AsyncIterator[EmspSimulator]:
    async with EmspSimulator(party=PARTY) as emsp:
        yield emsp


def callbacks(world: World) -> Callbacks:
    return Callbacks(
        world.database,
        world.partners,
        world.client,
        wake=world.wake,
        clock=world.clock,
        poll_s=0.02,
        retry_after_s=0.01,
    )


def commanded(
    world: World, emsp: EmspSimulator, partner: int, *, url: str | None = None, command: str = "START_SESSION"
) -> str:
    """A command was accepted; returns the request's id, under which the partner waits too."""
    uid = str(uuid.uuid4())
    emsp.commands[uid] = "ACCEPTED"
    now = world.clock()
    world.keep(
        RemoteRequest(
            id=uid,
            kind="start_remotely",
            station_id="CP001",
            command={},
            state="sent",
            requested_by=f"partner:{partner}",
            created_at=now,
            deadline_at=now + timedelta(seconds=TIMEOUT_S),
        ),
        CommandCallback(
            request_id=uid,
            partner_id=partner,
            command=command,
            response_url=url or f"{emsp.base_url}/2.2.1/commands/{command}/{uid}",
            country_code=PARTY[0],
            party_id=PARTY[1],
            created_at=now,
        ),
    )
    return uid


def answered(world: World, request_id: str, outcome: Outcome, detail: str | None = None) -> None:
    which = RemoteRequest.id == request_id
    world.change(RemoteRequest, which, outcome=outcome.value, detail=detail, finished_at=world.clock())
    world.wake()


def results(emsp: EmspSimulator) -> list[Any]:
    return [request for request in emsp.requests if "/commands/" in request.path]


@only_sqlite
@pytest.mark.parametrize("outcome", list(Outcome))
async def test_every_outcome_has_its_result(world: World, emsp: EmspSimulator, outcome: Outcome) -> None:  # CM-05
    uid = commanded(world, emsp, world.trust(emsp))
    async with running(callbacks(world).run()):
        answered(world, uid, outcome)
        await emsp.wait_for(lambda: uid in emsp.command_results)
    assert emsp.command_results[uid] == {"result": RESULT[outcome]}
    assert emsp.complaints == []


RESERVING = {
    Outcome.ACCEPTED: "ACCEPTED",
    Outcome.OCCUPIED: "EVSE_OCCUPIED",
    Outcome.INOPERATIVE: "EVSE_INOPERATIVE",
    Outcome.REJECTED: "REJECTED",
    Outcome.NOT_SUPPORTED: "NOT_SUPPORTED",
    Outcome.OFFLINE: "EVSE_INOPERATIVE",
    Outcome.TIMEOUT: "TIMEOUT",
    Outcome.FAILED: "FAILED",
}
CANCELLING = RESERVING | {Outcome.REJECTED: "UNKNOWN_RESERVATION", Outcome.NOT_FOUND: "UNKNOWN_RESERVATION"}


@only_sqlite
@pytest.mark.parametrize(
    ("command", "outcome", "result"),
    [
        *(("RESERVE_NOW", outcome, result) for outcome, result in RESERVING.items()),
        *(("CANCEL_RESERVATION", outcome, result) for outcome, result in CANCELLING.items()),
    ],
)
async def test_what_became_of_a_reservation(  # CM-05, CM-46
    world: World, emsp: EmspSimulator, command: str, outcome: Outcome, result: str
) -> None:
    uid = commanded(world, emsp, world.trust(emsp), command=command)
    async with running(callbacks(world).run()):
        answered(world, uid, outcome)
        await emsp.wait_for(lambda: uid in emsp.command_results)
    assert emsp.command_results[uid] == {"result": result}
    assert emsp.complaints == []


@pytest.mark.parametrize("who", ["cli:eve", "partner"])
async def test_a_reservation_that_we_cancel_is_told_where_it_was_granted(  # CM-45
    world: World, emsp: EmspSimulator, who: str
) -> None:
    partner = world.trust(emsp)
    uid = commanded(world, emsp, partner, command="RESERVE_NOW")
    granted(world, uid)
    async with running(callbacks(world).run()):
        answered(world, uid, Outcome.ACCEPTED)
        await emsp.wait_for(lambda: uid in emsp.command_results)
        by = who if who != "partner" else f"partner:{partner}"
        world.keep(cancelling(world, by))
        world.change(Reservation, Reservation.number == 1, state="cancelled", finished_at=world.clock())
        world.wake()
        await until(lambda: callback(world, uid).withdrawn_at)
        other = commanded(world, emsp, partner)
        answered(world, other, Outcome.REJECTED)
        await emsp.wait_for(lambda: other in emsp.command_results)
        await until(lambda: len(results(emsp)) == (3 if who == "cli:eve" else 2))
    told = [request.body["result"] for request in results(emsp) if uid in request.path]
    assert told == (["ACCEPTED", "CANCELED_RESERVATION"] if who == "cli:eve" else ["ACCEPTED"])


def callback(world: World, request_id: str) -> Any:
    with world.database.read() as connection:
        query = select(CommandCallback.__table__).where(CommandCallback.request_id == request_id)
        return connection.execute(query).one()


def granted(world: World, request_id: str) -> None:
    now = world.clock()
    world.keep(
        Reservation(
            number=1,
            station_id="CP001",
            evse=1,
            reference="r1",
            tag="T",
            tag_key="t",
            state="active",
            requested_by="partner:1",
            remote_request_id=request_id,
            created_at=now,
            expires_at=now + timedelta(hours=1),
        )
    )


def cancelling(world: World, who: str) -> RemoteRequest:
    now = world.clock()
    return RemoteRequest(
        id="c",
        kind="cancel_reservation",
        station_id="CP001",
        command={"reservation_id": 1},
        state="accepted",
        outcome="accepted",
        requested_by=who,
        created_at=now,
        deadline_at=now,
    )


async def test_a_result_comes_once_after_the_charger_answered(world: World, emsp: EmspSimulator) -> None:  # CM-04
    uid = commanded(world, emsp, world.trust(emsp))
    async with running(callbacks(world).run()), running(callbacks(world).run()):
        assert results(emsp) == []
        answered(world, uid, Outcome.ACCEPTED, "Accepted")
        await emsp.wait_for(lambda: uid in emsp.command_results)
        other = commanded(world, emsp, world.partner().id)
        answered(world, other, Outcome.REJECTED)
        await emsp.wait_for(lambda: other in emsp.command_results)
    assert len(results(emsp)) == 2
    headers = results(emsp)[0].headers  # RT-13
    assert (headers["ocpi-from-country-code"], headers["ocpi-from-party-id"]) == ("BE", "BEC")
    assert (headers["ocpi-to-country-code"], headers["ocpi-to-party-id"]) == PARTY
    assert emsp.complaints == []


async def test_a_command_whose_process_died_is_a_timeout_after_its_deadline(  # CM-06
    world: World, emsp: EmspSimulator
) -> None:
    uid = commanded(world, emsp, world.trust(emsp))
    async with running(callbacks(world).run()):
        world.clock.advance(seconds=TIMEOUT_S - 1)
        still = commanded(world, emsp, world.partner().id)
        answered(world, still, Outcome.ACCEPTED)
        await emsp.wait_for(lambda: still in emsp.command_results)
        assert uid not in emsp.command_results
        world.clock.advance(seconds=4)
        await emsp.wait_for(lambda: uid in emsp.command_results)
    assert emsp.command_results[uid]["result"] == "TIMEOUT"


@only_sqlite
@pytest.mark.parametrize("fault", [Fault.ERROR_500, Fault.GARBAGE, Fault.REDIRECT, Fault.LOST_ANSWER, Fault.DISCONNECT])
async def test_an_answer_in_doubt_is_not_tried_again(world: World, emsp: EmspSimulator, fault: Fault) -> None:  # CM-08
    partner = world.trust(emsp)
    first = commanded(world, emsp, partner)
    emsp.fault("commands", fault)
    async with running(callbacks(world).run()):
        answered(world, first, Outcome.ACCEPTED)
        await until(lambda: results(emsp))
        second = commanded(world, emsp, partner)
        answered(world, second, Outcome.ACCEPTED)
        await emsp.wait_for(lambda: second in emsp.command_results)
    assert len(results(emsp)) == 2


@only_sqlite
async def test_a_connection_that_is_refused_is_tried_once_more(world: World, emsp: EmspSimulator) -> None:  # CM-08
    connections: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(await reader.read(1))
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()  # nobody listens there now
    tried: list[str] = []
    post = world.client.post_result

    async def counted(peer: Any, url: str, body: Any) -> Any:
        tried.append(url)
        return await post(peer, url, body)

    world.client.post_result = counted  # type: ignore[method-assign]
    uid = commanded(world, emsp, world.trust(emsp), url=f"http://127.0.0.1:{port}/x?y=1")
    async with running(callbacks(world).run()):
        answered(world, uid, Outcome.ACCEPTED)
        await until(lambda: len(tried) == 2)
    assert tried == [f"http://127.0.0.1:{port}/x?y=1"] * 2
    assert connections == []


@only_sqlite
async def test_a_response_url_is_called_as_it_was_given(world: World, emsp: EmspSimulator) -> None:  # CM-07
    partner = world.trust(emsp)
    uid = commanded(world, emsp, partner, url=f"{emsp.base_url}/2.2.1/commands/START_SESSION/x%2Fy?for=%7Bme%7D&n=1")
    async with running(callbacks(world).run()):
        answered(world, uid, Outcome.ACCEPTED)
        await until(lambda: results(emsp))
    assert (results(emsp)[0].path, results(emsp)[0].query) == (
        "/2.2.1/commands/START_SESSION/x%2Fy",
        "for=%7Bme%7D&n=1",
    )


@only_sqlite
async def test_a_response_url_inside_our_network_is_not_called(world: World, emsp: EmspSimulator) -> None:  # TR-35
    partner = world.trust(emsp)
    inside = commanded(world, emsp, partner, url="http://10.0.0.1/steal")
    good = commanded(world, emsp, partner)
    async with running(callbacks(world).run()):
        answered(world, inside, Outcome.ACCEPTED)
        answered(world, good, Outcome.ACCEPTED)
        await emsp.wait_for(lambda: good in emsp.command_results)
    assert len(results(emsp)) == 1


@only_sqlite
async def test_a_hanging_response_url_delays_nobody(world: World, emsp: EmspSimulator) -> None:
    partner = world.trust(emsp)
    first, second = commanded(world, emsp, partner), commanded(world, emsp, partner)
    emsp.fault(f"commands/START_SESSION/{first}", Fault.HANG)
    async with running(callbacks(world).run()):
        answered(world, first, Outcome.ACCEPTED)
        answered(world, second, Outcome.ACCEPTED)
        await emsp.wait_for(lambda: second in emsp.command_results, timeout_s=3)


@only_sqlite
async def test_a_partner_that_left_gets_no_result(world: World, emsp: EmspSimulator) -> None:  # CR-10
    partner = world.trust(emsp)
    uid = commanded(world, emsp, partner)
    with world.database.write() as connection:
        world.partners.leave(connection, partner)
    answered(world, uid, Outcome.ACCEPTED)
    assert callbacks(world).take() == []
    assert callbacks(world).take() == []
    assert emsp.requests == []


class OnceOnly(Callbacks):
    """After its first look that found something the database is away."""

    found = False

    def take(self) -> list[Result]:
        if self.found:
            raise OSError("the database is away")
        results = super().take()
        self.found = bool(results)
        return results


@only_sqlite
async def test_what_counts_as_sent_leaves_although_the_database_goes_away(world: World, emsp: EmspSimulator) -> None:
    uid = commanded(world, emsp, world.trust(emsp))
    answered(world, uid, Outcome.ACCEPTED)
    sending = OnceOnly(
        world.database,
        world.partners,
        world.client,
        wake=world.wake,
        clock=world.clock,
        poll_s=0.01,
        retry_after_s=0.01,
    )
    post = world.client.post_result

    async def slowly(peer: Any, url: str, body: Any) -> Any:
        await until(lambda: sending.found)
        await asyncio.sleep(0.1)  # longer than until the next look
        return await post(peer, url, body)

    world.client.post_result = slowly  # type: ignore[method-assign]
    async with asyncio.timeout(TIMEOUT_S):
        with pytest.raises(OSError, match="the database is away"):
            await sending.run()
    assert emsp.command_results[uid] == {"result": "ACCEPTED"}
