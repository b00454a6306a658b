"""The message log over HTTP: searched, masked, by permalink, and live to any number of readers."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
import uvicorn

from csms import users
from csms.models import Transaction
from csms.users import Role
from ocpi_bridge.api import messages, tail
from ocpi_bridge.listener import QuietServer
from tests.csms.core_story import told
from tests.ocpi_bridge.api.rig import AUTHORIZE, AUTHORIZED, CARD, MASKED, NOW, Rig, frame, problem

RESET = frame("out", "call", "u1", "Reset", '[2,"u1","Reset",{"type":"Soft"}]', ms=10)
REFUSED = frame("in", "error", "u1", "Reset", '[4,"u1","InternalError","",{}]', result="rejected", ms=60)
HEARTBEAT = frame("in", "call", "9", "Heartbeat", '[2,"9","Heartbeat",{}]', station_id="CP2", ms=70)


async def found(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    response = await client.get("/api/v1/messages", params=query)
    assert response.status_code == 200, response.text
    return list(response.json()["items"])


async def test_messages_are_found_by_each_of_their_marks(rig: Rig) -> None:  # P12
    rig.log(AUTHORIZE, AUTHORIZED, RESET, REFUSED, HEARTBEAT)
    async with rig.client(Role.OPERATOR) as client:

        async def actions(**query: Any) -> list[str]:
            return [row["action"] for row in await found(client, **query)]

        assert await actions() == ["Heartbeat", "Reset", "Authorize"]
        assert await actions(station="CP1") == ["Reset", "Authorize"]
        assert await actions(action="heartbeat") == ["Heartbeat"]
        assert await actions(message_id="7") == ["Authorize"]
        assert await actions(direction="out") == ["Reset"]
        assert await actions(errors=True) == ["Reset"]
        assert await actions(text=CARD) == ["Authorize"]
        assert await actions(protocol="1.6J", station="CP2") == ["Heartbeat"]
        assert await actions(protocol="2.0.1") == []
        assert await actions(until=(NOW + timedelta(milliseconds=5)).isoformat()) == ["Authorize"]
        assert await actions(since=(NOW + timedelta(milliseconds=65)).isoformat()) == ["Heartbeat"]
        first = (await client.get("/api/v1/messages?limit=2")).json()
        rest = await found(client, limit=2, after=first["next"])
        assert [row["action"] for row in first["items"] + rest] == ["Heartbeat", "Reset", "Authorize"]


async def test_a_message_is_a_request_with_its_answer_and_an_address_that_stays(rig: Rig) -> None:
    rig.log(AUTHORIZE, AUTHORIZED, HEARTBEAT)
    async with rig.client(Role.OPERATOR) as client:
        waiting, answered = await found(client)
        assert (waiting["result"], waiting["answer"], waiting["latency_ms"]) == ("waiting", None, None)
        assert (answered["result"], answered["latency_ms"], answered["protocol"]) == ("ok", 4.2, "1.6J")
        assert answered["answer"]["text"].startswith("[3,")
        assert (await client.get(answered["href"])).json() == answered
        assert (await client.get(f"/api/v1/messages/{answered['answer']['id']}")).json() == answered
        problem(await client.get("/api/v1/messages/1"), 404, "unknown_message")


async def test_a_viewer_sees_no_card_whole_and_cannot_search_for_one(rig: Rig) -> None:
    rig.log(AUTHORIZE, AUTHORIZED)
    async with rig.client(Role.VIEWER) as client:
        response = await client.get("/api/v1/messages")
        assert CARD not in response.text
        [row] = response.json()["items"]
        assert MASKED in row["request"]["text"]
        assert MASKED in row["answer"]["text"]
        problem(await client.get("/api/v1/messages", params={"text": CARD}), 403, "not_allowed")


async def test_the_messages_of_a_transaction_are_those_that_name_it(rig: Rig) -> None:  # P12
    rig.import_network()
    async with told(rig.database) as story:
        story.now = NOW
        await story.boot()
        number = (await story.start()).transaction_id
        with rig.database.read() as connection:
            id_ = connection.execute(Transaction.__table__.select()).one().id
    rig.log(
        frame("in", "call", "1", "StartTransaction", '[2,"1","StartTransaction",{"connectorId":1}]'),
        frame("out", "result", "1", "StartTransaction", f'[3,"1",{{"transactionId":{number},"idTagInfo":{{}}}}]'),
        frame("in", "call", "2", "MeterValues", f'[2,"2","MeterValues",{{"transactionId": {number}}}]'),
        frame("in", "call", "3", "MeterValues", f'[2,"3","MeterValues",{{"transactionId":{number}7}}]'),
        frame(
            "in", "call", "4", "MeterValues", f'[2,"4","MeterValues",{{"transactionId":{number}}}]', station_id="CP2"
        ),
        frame("in", "call", "5", "Heartbeat", '[2,"5","Heartbeat",{}]'),
        frame("out", "call", "6", "RemoteStop", f'[2,"6","RemoteStop",{{"transactionId":{number}}}]'),
    )
    async with rig.client(Role.VIEWER) as client:
        assert [row["message_id"] for row in await found(client, transaction=id_)] == ["6", "2", "1"]
        assert [row["message_id"] for row in await found(client, transaction=id_, action="metervalues")] == ["2"]
        assert await found(client, transaction=id_, station="CP2") == []
        problem(await client.get("/api/v1/messages?transaction=none"), 404, "unknown_transaction")


# ---- live -------------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def served(rig: Rig) -> AsyncIterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = QuietServer(uvicorn.Config(rig.app, log_config=None, access_log=False, lifespan="off"))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/api/v1/messages/stream"
    finally:
        await rig.api.tail.close()
        server.should_exit = True
        async with asyncio.timeout(30):
            await task


class Listener:
    """Reads events as a browser does."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.aiter_lines()

    async def event(self) -> dict[str, str]:
        """The next event, comments left out; empty at the end."""
        told: dict[str, str] = {}
        async with asyncio.timeout(30):
            async for line in self._lines:
                if line.startswith(":"):
                    continue
                if line:
                    name, _, value = line.partition(": ")
                    told[name] = value
                elif told:
                    return told
        return told

    async def opened(self) -> None:
        """The server says so once it listens for what comes."""
        async with asyncio.timeout(30):
            assert (await anext(self._lines)).startswith(":")


@contextlib.asynccontextmanager
async def listening(rig: Rig, url: str, role: Role = Role.OPERATOR, **options: Any) -> AsyncIterator[Listener]:
    headers = {"Authorization": f"Bearer {rig.keys[role]}", **options.pop("headers", {})}
    async with (
        httpx.AsyncClient(timeout=20) as client,
        client.stream("GET", url, headers=headers, **options) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        listener = Listener(response)
        await listener.opened()
        yield listener


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "LOOK_S", 0.05)
    monkeypatch.setattr(tail, "HELD_BACK", timedelta(milliseconds=20))


async def test_what_crosses_the_wire_is_told_live_to_each_as_it_asked(rig: Rig) -> None:  # P12
    rig.log(HEARTBEAT)  # before anybody listened
    async with (
        served(rig) as url,
        listening(rig, url) as all_,
        listening(rig, url, Role.VIEWER, params={"station": "CP1", "action": "authorize"}) as some,
        listening(rig, url, params={"errors": True}) as errors,
    ):
        rig.log(AUTHORIZE, AUTHORIZED, RESET, REFUSED)
        texts = [json.loads((await all_.event())["data"])["text"] for _ in range(4)]
        assert texts == [f.text for f in (AUTHORIZE, AUTHORIZED, RESET, REFUSED)]
        for _ in range(2):
            event = await some.event()
            assert event["event"] == "frame"
            assert event["id"] == json.loads(event["data"])["id"]
            assert MASKED in event["data"]
            assert CARD not in event["data"]
        assert json.loads((await errors.event())["data"])["result"] == "rejected"


async def test_a_reader_that_comes_back_goes_on_where_it_was(rig: Rig) -> None:
    async with served(rig) as url:
        async with listening(rig, url) as listener:
            rig.log(AUTHORIZE)
            last = (await listener.event())["id"]
        rig.log(AUTHORIZED, RESET)
        await asyncio.sleep(0.03)  # as long as ids are held back
        async with listening(rig, url, headers={"Last-Event-ID": last}) as listener:
            rig.log(REFUSED)
            told_ = [json.loads((await listener.event())["data"])["text"] for _ in range(3)]
        assert told_ == [f.text for f in (AUTHORIZED, RESET, REFUSED)]


async def test_many_readers_cost_one_look(rig: Rig) -> None:
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(served(rig))
        readers = [await stack.enter_async_context(listening(rig, url)) for _ in range(20)]
        looks = rig.api.tail.looks
        began = asyncio.get_running_loop().time()
        rig.log(AUTHORIZE)
        for reader in readers:
            assert (await reader.event())["event"] == "frame"
        spent = asyncio.get_running_loop().time() - began
        assert rig.api.tail.looks - looks <= spent / tail.EVERY_S + 1
    async with asyncio.timeout(30):
        while rig.api.tail._readers:  # noqa: ASYNC110 - a closed socket has no event here
            await asyncio.sleep(0.01)


async def test_a_reader_that_takes_nothing_is_told_what_it_missed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "HELD_AT_MOST", 2)
    async with served(rig) as url, listening(rig, url) as listener:
        rig.log(AUTHORIZE, AUTHORIZED, RESET, REFUSED)
        event = await listener.event()
        assert (event["event"], event["data"]) == ("missed", "2")
        assert [(await listener.event())["event"] for _ in range(2)] == ["frame", "frame"]


async def test_a_revoked_key_hears_no_more(rig: Rig) -> None:
    async with served(rig) as url, listening(rig, url, Role.VIEWER) as listener:
        with rig.database.write() as connection:
            [prefix] = [key.prefix for key in users.keys(connection) if key.role is Role.VIEWER]
            users.revoke_key(connection, prefix, NOW)
        assert await listener.event() == {}


async def test_no_more_readers_than_can_be_served(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "READERS_AT_MOST", 0)
    async with rig.client() as client:
        problem(await client.get("/api/v1/messages/stream"), 503, "too_many_readers")
        problem(await client.get("/api/v1/messages/stream?limit=1"), 400, "unknown_parameter")
