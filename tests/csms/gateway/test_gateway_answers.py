"""Answers leave in the order of the calls, whether the core knows the reply at once or only after a commit (H02)."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import orjson

from csms.bus import Told
from csms.events import Ack, HeartbeatReceived, HeartbeatReply, MeterSampled
from tests.csms.gateway.gateway_rig import NOON, Rig, gateway_running, until

STATUS = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}
SAMPLE = {"connectorId": 1, "meterValue": [{"timestamp": "2025-06-01T12:00:00Z", "sampledValue": [{"value": "1"}]}]}


class Slow:
    """Knows Heartbeats at once; all else when the test says so."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.futures: list[asyncio.Future[Any]] = []
        self.failing: type[Any] | None = None

    def report(self, event: Any) -> Awaitable[Any]:
        if type(event) is self.failing:
            raise RuntimeError("no core")
        self.events.append(event)
        if type(event) is HeartbeatReceived:
            return Told(HeartbeatReply(NOON))
        future = asyncio.get_running_loop().create_future()
        self.futures.append(future)
        return future


def frame(id: str, action: str, payload: object) -> str:
    return orjson.dumps([2, id, action, payload]).decode()


async def test_what_is_known_at_once_waits_for_the_answer_before_it() -> None:
    rig, core = Rig(), Slow()
    rig.core = core  # type: ignore[assignment]
    async with gateway_running(rig), rig.charger() as charger:
        await charger.send(frame("a", "StatusNotification", STATUS))
        await charger.send(frame("b", "Heartbeat", {}))
        await charger.send(frame("c", "StatusNotification", STATUS))
        await charger.send(frame("d", "Heartbeat", {}))
        await until(lambda: len(rig.frames.having(direction="in")) == 4)
        assert len(core.events) == 1
        assert not rig.frames.having(direction="out")
        core.futures[0].set_result(Ack())
        assert [orjson.loads(await charger.recv())[1] for _ in range(2)] == ["a", "b"]
        assert len(core.futures) == 2
        core.futures[1].set_result(Ack())
        assert [orjson.loads(await charger.recv())[1] for _ in range(2)] == ["c", "d"]
    assert [row.message_id for row in rig.frames.having(direction="out")] == ["a", "b", "c", "d"]


async def test_a_charger_that_left_while_it_was_reported_is_told_of_only_after_that() -> None:
    rig, core = Rig(), Slow()
    rig.core = core  # type: ignore[assignment]
    async with gateway_running(rig):
        async with rig.charger() as charger:
            await charger.send(frame("a", "StatusNotification", STATUS))
            await charger.send(frame("b", "StatusNotification", STATUS))
            await until(lambda: len(rig.frames.having(direction="in")) == 2)
        assert rig.connections.connected()
        core.futures[0].set_result(Ack())
        await until(lambda: len(core.futures) == 2)
        assert rig.connections.connected()  # what it said before it left is still reported
        core.futures[1].set_result(Ack())
        await until(lambda: not rig.connections.connected())


async def test_a_core_that_fails_as_it_is_asked_is_no_answer_and_no_silence() -> None:
    rig, core = Rig(), Slow()
    rig.core = core  # type: ignore[assignment]
    async with gateway_running(rig), rig.charger() as charger:
        core.failing = HeartbeatReceived
        await charger.send(frame("a", "Heartbeat", {}))
        assert orjson.loads(await charger.recv())[:3] == [4, "a", "InternalError"]
        core.failing = MeterSampled
        await charger.send(frame("b", "MeterValues", SAMPLE))
        await charger.wait_closed()
        assert charger.close_code == 1012
