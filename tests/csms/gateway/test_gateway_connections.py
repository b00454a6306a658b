"""How long a connection lives, which one counts, and what becomes of those who wait for a charger."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed as SocketClosed

from csms import bus, commands, events
from csms.commands import Answer, Command, ConfigurationAnswer, Outcome
from csms.gateway import sweeper
from csms.gateway.frames import Call, Json
from csms.gateway.ocpp16.control import TRIGGER
from csms.gateway.ocpp16.translator import Ocpp16
from tests.csms.gateway.gateway_rig import Rig, ask, gateway_running, receive, send, until

UNLOCK = commands.UnlockConnector(station_id="CP1", evse=1)
HANDSHAKE = (
    "GET /ocpp/CP1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Protocol: ocpp1.6\r\n\r\n"
)


class DeafCharger:
    """Reads and writes bytes by hand: it answers no ping and no close."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def say(self, frame: Any) -> None:
        data = orjson.dumps(frame)
        assert len(data) < 126
        self.writer.write(bytes([0x81, 0x80 | len(data), 0, 0, 0, 0]) + data)

    async def hear(self) -> tuple[int, bytes]:
        """The next frame's opcode and payload, ping and close included."""
        async with asyncio.timeout(30):
            first, length = await self.reader.readexactly(2)
            if length == 126:
                (length,) = struct.unpack("!H", await self.reader.readexactly(2))
            return first & 0x0F, await self.reader.readexactly(length)

    async def hear_result(self) -> Json:
        while True:
            opcode, data = await self.hear()
            if opcode == 1:
                return orjson.loads(data)

    async def sent_away(self) -> None:
        """Returns when the other end has dropped the connection."""
        async with asyncio.timeout(30):
            with contextlib.suppress(ConnectionResetError):
                while await self.reader.read(1000):
                    pass


@asynccontextmanager
async def deaf_charger(rig: Rig) -> AsyncIterator[DeafCharger]:
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    writer.write(HANDSHAKE.encode())
    await reader.readuntil(b"\r\n\r\n")
    try:
        yield DeafCharger(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def heartbeat(charger: ClientConnection) -> None:
    assert (await ask(charger, [2, "h", "Heartbeat", {}]))[:2] == [3, "h"]


async def closed_with(charger: ClientConnection) -> int:
    with pytest.raises(SocketClosed) as closed:
        await asyncio.wait_for(charger.recv(), 5)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


# ---- presence -------------------------------------------------------------------------------------------------------


async def test_a_connection_is_told_of_with_its_first_frame_and_at_its_end(rig: Rig) -> None:  # H03, X11
    async with rig.charger() as charger:
        assert rig.presence.story == []
        await heartbeat(charger)
        (opened,) = rig.presence.story
        assert (opened.station_id, opened.ocpp_version, opened.peer) == ("CP1", "1.6", "127.0.0.1")
        assert opened.replaced is None
        assert list(rig.connections.connected()) == ["CP1"]
    await until(lambda: len(rig.presence.story) == 2)
    closed = rig.presence.story[1]
    assert isinstance(closed, bus.ConnectionClosed)
    assert (closed.connection_id, closed.code) == (opened.connection_id, 1000)
    assert opened.opened_at <= closed.last_frame_at <= closed.closed_at
    assert list(rig.connections.connected()) == []


async def test_every_frame_is_a_sign_of_life(rig: Rig) -> None:  # T8
    async with rig.charger() as charger:
        await heartbeat(charger)
        await send(charger, "not json")
        await receive(charger)
        await send(charger, [3, "nobody-asked", {}])
        await heartbeat(charger)
    assert [station_id for station_id, _ in rig.presence.seen_at] == ["CP1"] * 4


async def test_a_silent_socket_that_outlives_a_probe_is_told_of() -> None:  # X11
    async with gateway_running(probe_grace_s=0, ping_interval_s=(0.02, 0.02)) as rig, rig.charger():
        await until(lambda: rig.presence.of(bus.ConnectionOpened))


async def test_a_lost_connection_is_1006(rig: Rig) -> None:
    async with rig.charger() as charger:
        await heartbeat(charger)
        charger.transport.abort()
        await until(lambda: rig.presence.of(bus.ConnectionClosed))
    assert rig.presence.of(bus.ConnectionClosed)[0].code == 1006


async def test_a_last_message_is_reported_even_when_the_charger_does_not_wait_for_the_answer(rig: Rig) -> None:  # E01
    async with rig.charger() as charger:
        await send(charger, [2, "1", "StopTransaction", {"transactionId": 1, "meterStop": 1, "timestamp": "x"}])
        await send(charger, [2, "2", "Heartbeat", {}])
    await until(lambda: len(rig.core.events) == 2)


# ---- the newest wins  # T9, B13 -------------------------------------------------------------------------------------


async def test_the_newest_socket_is_served_at_once_and_a_living_older_one_is_an_alarm(rig: Rig) -> None:  # T9, B13
    async with rig.charger() as older, rig.charger() as newer:
        await heartbeat(older)
        await heartbeat(newer)
        assert await closed_with(older) == 1008
        await until(lambda: len(rig.presence.story) == 4)
        first, second, duplicate, closed = rig.presence.story
        assert second.replaced == first.connection_id
        assert duplicate == ("duplicate", "CP1", first.connection_id, second.connection_id)
        assert closed.connection_id == first.connection_id
        await heartbeat(newer)
        assert list(rig.connections.connected()) == ["CP1"]


async def test_a_dead_older_socket_is_no_alarm_and_keeps_nobody_out(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:  # T9
    monkeypatch.setattr("csms.gateway.server.PROBE_OF_OLDER_S", 0.1)
    async with deaf_charger(rig) as older, rig.charger() as newer:
        older.say([2, "1", "Heartbeat", {}])
        await older.hear_result()
        await heartbeat(newer)
        while (await older.hear())[0] != 8:  # the ping, then the close
            pass
        await until(lambda: rig.presence.of(bus.ConnectionClosed))
        assert rig.presence.of(tuple) == []
        await heartbeat(newer)


async def test_commands_go_to_the_newest_socket_and_those_at_the_older_fail_at_once(rig: Rig) -> None:  # T9
    async with rig.charger() as older:
        await heartbeat(older)
        waiting = asyncio.create_task(rig.connections.send(UNLOCK, timeout_s=20))
        assert (await receive(older))[2] == "UnlockConnector"
        async with rig.charger() as newer:
            await heartbeat(newer)
            answer = await asyncio.wait_for(waiting, 5)
            assert answer.outcome is Outcome.FAILED
            sent = asyncio.create_task(rig.connections.send(UNLOCK, timeout_s=30))
            _, message_id, action, _ = await receive(newer)
            assert action == "UnlockConnector"
            await send(newer, [3, message_id, {"status": "Unlocked"}])
            assert (await sent).outcome is Outcome.ACCEPTED


async def test_a_probe_gives_the_station_back_to_the_socket_it_found(rig: Rig) -> None:  # X11
    async with rig.charger() as charger:
        await heartbeat(charger)
        async with rig.charger(), rig.charger():
            pass
        await until(lambda: len(rig.gateway._links) == 1)
        sent = asyncio.create_task(rig.connections.send(UNLOCK, timeout_s=30))
        _, message_id, _, _ = await receive(charger)
        await send(charger, [3, message_id, {"status": "Unlocked"}])
        assert (await sent).outcome is Outcome.ACCEPTED


# ---- commands  # X08 ------------------------------------------------------------------------------------------------


async def test_a_station_that_is_not_connected_is_offline_at_once(rig: Rig) -> None:  # X08
    assert await rig.connections.send(UNLOCK, timeout_s=30) == Answer(outcome=Outcome.OFFLINE, detail="not connected")
    configuration = await rig.connections.send(commands.GetConfiguration(station_id="CP1"), timeout_s=30)
    assert isinstance(configuration, ConfigurationAnswer)


async def test_one_call_at_a_time_first_in_first_out(rig: Rig) -> None:  # X08
    async with rig.charger() as charger:
        await heartbeat(charger)
        kinds = list(TRIGGER)
        sent = [
            asyncio.create_task(
                rig.connections.send(commands.TriggerMessage(station_id="CP1", kind=kind), timeout_s=30)
            )
            for kind in kinds
        ]
        asked = []
        for _ in kinds:
            _, message_id, _, payload = await receive(charger)
            asked.append(payload["requestedMessage"])
            await heartbeat(charger)  # its next frame is our answer: no second call of ours came before
            await send(charger, [3, message_id, {"status": "Accepted"}])
        assert {(await answer).outcome for answer in sent} == {Outcome.ACCEPTED}
        assert asked == [
            "BootNotification",
            "Heartbeat",
            "StatusNotification",
            "MeterValues",
            "FirmwareStatusNotification",
            "DiagnosticsStatusNotification",
        ]


async def test_the_deadline_covers_the_wait_for_the_turn(rig: Rig) -> None:  # X08
    async with rig.charger() as charger:
        await heartbeat(charger)
        first = asyncio.create_task(rig.connections.send(UNLOCK, timeout_s=1.5))
        await receive(charger)
        second = await rig.connections.send(commands.ResetStation(station_id="CP1"), timeout_s=0.05)
        assert second == Answer(outcome=Outcome.TIMEOUT, detail="not sent: an earlier call was unanswered")
        assert await first == Answer(outcome=Outcome.TIMEOUT, detail="no answer")
        await heartbeat(charger)  # nothing else was sent
    (row,) = rig.frames.having(result="timeout")
    assert (row.action, row.station_id) == ("UnlockConnector", "CP1")
    assert row.latency_ms is not None
    assert row.latency_ms >= 500


async def test_an_unanswered_call_holds_the_next_no_longer_than_its_own_deadline() -> None:  # X08
    async with gateway_running(call_timeout_s=1.0) as rig, rig.charger() as charger:
        await heartbeat(charger)
        first = asyncio.create_task(rig.connections.send(UNLOCK, timeout_s=30))
        _, late, _, _ = await receive(charger)
        second = asyncio.create_task(rig.connections.send(commands.ResetStation(station_id="CP1"), timeout_s=30))
        _, message_id, action, _ = await receive(charger)
        assert action == "Reset"
        assert (await first).outcome is Outcome.TIMEOUT
        await send(charger, [3, late, {"status": "Unlocked"}])  # too late: it answers nothing any more
        await send(charger, [3, message_id, {"status": "Rejected"}])
        assert (await second).outcome is Outcome.REJECTED
        assert len(rig.frames.having(result="unsolicited")) == 1


async def test_a_lost_charger_fails_what_was_sent_and_what_waited(rig: Rig) -> None:  # X08
    async with rig.charger() as charger:
        await heartbeat(charger)
        first = asyncio.create_task(rig.connections.send(UNLOCK, timeout_s=30))
        await receive(charger)
        second = asyncio.create_task(rig.connections.send(commands.ResetStation(station_id="CP1"), timeout_s=30))
        await asyncio.sleep(0)
        charger.transport.abort()
        assert (await asyncio.wait_for(first, 5)).outcome is Outcome.FAILED
        assert (await asyncio.wait_for(second, 5)).outcome is Outcome.OFFLINE


async def test_a_callerror_and_an_unreadable_answer_are_failures(rig: Rig) -> None:
    async with rig.charger() as charger:
        await heartbeat(charger)
        sent = asyncio.create_task(rig.connections.send(UNLOCK, timeout_s=30))
        _, message_id, _, _ = await receive(charger)
        await send(charger, [4, message_id, "InternalError", "motor", {}])
        assert await sent == Answer(outcome=Outcome.FAILED, detail="InternalError motor")
        sent = asyncio.create_task(rig.connections.send(UNLOCK, timeout_s=30))
        _, message_id, _, _ = await receive(charger)
        await send(charger, [3, message_id, "Unlocked"])
        assert (await sent).outcome is Outcome.FAILED
    assert [row.result for row in rig.frames.having(direction="in", action="UnlockConnector")] == [
        "rejected",
        "violation",
    ]


async def test_what_1_6_cannot_say_fails_without_a_frame(rig: Rig) -> None:
    async with rig.charger() as charger:
        await heartbeat(charger)
        command = commands.StartRemotely(station_id="CP1", id_token="x" * 21)
        assert (await rig.connections.send(command, timeout_s=30)).outcome is Outcome.FAILED
        await heartbeat(charger)
    assert rig.frames.having(direction="out", message_type="call") == []


async def test_a_station_can_be_sent_away(rig: Rig) -> None:
    async with rig.charger() as charger:
        await heartbeat(charger)
        rig.connections.close_station("CP1", 1000, "refused by the operator")
        rig.connections.close_station("CP2", 1000, "is not here")
        assert await closed_with(charger) == 1000
        await until(lambda: not rig.connections.connected())


# ---- calls of the charger -------------------------------------------------------------------------------------------


async def test_calls_beyond_the_queue_wait_in_the_network_and_are_answered_in_order(rig: Rig) -> None:
    held = asyncio.Event()

    async def answer(event: Any) -> Any:
        await held.wait()
        return rig.core.replies[type(event)]

    rig.core.answer = answer
    count = 3000
    async with rig.charger() as charger:
        padding = "x" * 2000

        async def say() -> None:
            for number in range(count):
                await send(charger, [2, f"{number}-{padding}", "Heartbeat", {}])

        saying = asyncio.create_task(say())
        (link,) = rig.gateway._links
        await until(lambda: not link._reading)
        waiting = len(link._calls)
        assert waiting < count
        held.set()
        heard = [(await receive(charger))[1].partition("-")[0] for _ in range(count)]
        await saying
    assert heard == [str(number) for number in range(count)]


async def test_a_report_that_takes_too_long_closes_with_1012_so_that_the_charger_sends_again() -> None:  # X01
    async def never(_event: Any) -> Any:
        await asyncio.get_running_loop().create_future()

    async with gateway_running(report_timeout_s=0.05, ping_interval_s=(0.05, 0.05)) as rig, rig.charger() as charger:
        rig.core.answer = never
        await send(charger, [2, "1", "Heartbeat", {}])
        assert await closed_with(charger) == 1012
        await until(lambda: rig.presence.of(bus.ConnectionClosed))


async def test_who_stops_answers_first_and_then_sends_everybody_away() -> None:
    held = asyncio.Event()
    async with gateway_running() as rig, rig.charger() as busy, rig.charger("CP2") as idle:
        await heartbeat(busy)
        await heartbeat(idle)

        async def answer(event: Any) -> Any:
            await held.wait()
            return rig.core.replies[type(event)]

        rig.core.answer = answer
        await send(busy, [2, "1", "Heartbeat", {}])
        await until(lambda: len(rig.core.events) == 3)
        stopping = asyncio.create_task(rig.gateway.stop())
        assert await closed_with(idle) == 1012
        held.set()
        assert (await receive(busy))[:2] == [3, "1"]
        assert await closed_with(busy) == 1012
        await asyncio.wait_for(stopping, 10)
        with pytest.raises(OSError, match=r"refused|failed"):
            await asyncio.open_connection("127.0.0.1", rig.port)


async def test_a_gateway_that_was_stopped_serves_again() -> None:
    async with gateway_running() as rig:
        await rig.gateway.stop()
        await rig.gateway.start()
        async with rig.charger() as charger:
            await heartbeat(charger)
            stopping = asyncio.create_task(rig.gateway.stop())
            assert await closed_with(charger) == 1012
            await stopping


# ---- signs of life  # T7, B07, B09, B10 -----------------------------------------------------------------------------


async def test_keepalive_of_accepted_sockets(rig: Rig) -> None:  # B07
    async with rig.charger() as charger:
        await heartbeat(charger)
        (link,) = rig.gateway._links
        accepted = link.socket.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 4
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 120_000


QUICK: Mapping[str, Any] = {"ping_interval_s": (0.04, 0.05), "pong_timeout_s": 5}


async def test_a_charger_that_gives_no_sign_of_life_after_a_ping_is_dropped() -> None:  # T7, B09
    async with gateway_running(**QUICK | {"pong_timeout_s": 0.1}) as rig, deaf_charger(rig) as charger:
        charger.say([2, "1", "Heartbeat", {}])
        await charger.hear_result()
        assert (await charger.hear())[0] == 9
        await charger.sent_away()
        await until(lambda: rig.presence.of(bus.ConnectionClosed))
        assert rig.presence.of(bus.ConnectionClosed)[0].reason == "no sign of life after a ping"


async def test_of_many_chargers_each_is_looked_at_though_not_all_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # T7, X07
    monkeypatch.setattr(sweeper, "AT_ONCE", 2)
    async with gateway_running(**QUICK) as rig, contextlib.AsyncExitStack() as stack:
        for number in range(5):
            await heartbeat(await stack.enter_async_context(rig.charger(f"CP{number}")))
        links = list(rig.gateway._links)
        for link in links:
            pinged_at = link.pinged_at
            await until(lambda: link.pinged_at > pinged_at)  # noqa: B023 - awaited here
        assert len(links) == len(rig.connections.connected()) == 5


async def test_a_charger_that_ignores_pings_but_talks_survives() -> None:  # T7
    async with gateway_running(**QUICK) as rig, deaf_charger(rig) as charger:
        pings = 0
        while pings < 5:
            opcode, _ = await charger.hear()
            if opcode == 9:
                pings += 1
                charger.say([2, "1", "Heartbeat", {}])
        assert list(rig.connections.connected()) == ["CP1"]


async def test_a_charger_that_only_answers_pings_stays_but_shows_no_life_of_its_application() -> None:  # T7, B09
    async with gateway_running(**QUICK) as rig, rig.charger() as charger:
        await heartbeat(charger)
        (link,) = rig.gateway._links
        for _ in range(3):
            pinged_at = link.pinged_at
            await until(lambda: link.pinged_at > pinged_at)  # noqa: B023 - awaited here
            await until(lambda: link.last_life > link.pinged_at)
        await heartbeat(charger)
        assert len(rig.presence.seen_at) == 2


async def test_pings_are_spread_between_forty_and_fifty_seconds(rig: Rig) -> None:  # T7
    async with contextlib.AsyncExitStack() as stack:
        for number in range(20):
            await heartbeat(await stack.enter_async_context(rig.charger(f"CP{number}")))
        waits = {link.ping_after_s for link in rig.gateway._links}
    assert len(waits) == 20
    assert min(waits) >= 40
    assert max(waits) <= 50


# ---- another version  # A10 -----------------------------------------------------------------------------------------


class OcppX:
    """A version that says Hello where 1.6 says Heartbeat."""

    version = "X"

    def __init__(self) -> None:
        self._ocpp16 = Ocpp16()

    def read(self, call: Call, station_id: str, received_at: Any) -> events.Event[Any]:
        assert call.action == "Hello"
        return events.HeartbeatReceived(station_id=station_id, ocpp_version="X", received_at=received_at)

    def read_usual(self, _data: bytes | bytearray, _station_id: str, _received_at: Any) -> None:
        """It has no frames that are more frequent than others."""

    def reply(self, _action: str, reply: Any, /) -> Json:
        return {"now": reply.current_time.isoformat()}

    def request(self, _command: Command[Any], /) -> tuple[str, Json]:
        return "Do", {}

    def answer(self, _command: Command[Any], payload: Json, /) -> Any:
        return Answer(outcome=Outcome.ACCEPTED, detail=payload)

    def failure(self, _command: Command[Any], code: str, _description: str, /) -> Any:
        return Answer(outcome=Outcome.FAILED, detail=code)


async def test_another_version_is_a_row_in_a_table() -> None:  # A10
    async with gateway_running(versions={"ocpp1.6": Ocpp16, "ocppX": OcppX}) as rig:
        async with rig.charger(subprotocols=["ocppX", "ocpp1.6"]) as charger:
            assert charger.subprotocol == "ocppX"
            assert (await ask(charger, [2, "1", "Hello", {}]))[2] == {"now": "2025-06-01T12:00:00.123000+00:00"}
            sent = asyncio.create_task(rig.connections.send(UNLOCK, timeout_s=30))
            _, message_id, action, _ = await receive(charger)
            assert action == "Do"
            await send(charger, [3, message_id, "done"])
            assert (await sent).detail == "done"
            assert rig.presence.story[0].ocpp_version == "X"
            assert {row.ocpp_version for row in rig.frames.rows} == {"X"}
        async with rig.charger(subprotocols=["ocpp1.6"]) as charger:
            await heartbeat(charger)
