"""Frames arrive however the network cuts them; the short way for whole frames and the library's parser agree."""

import asyncio
import os
from typing import Any

import orjson
import pytest
from websockets.frames import Frame, Opcode

from tests.csms.gateway.gateway_rig import Rig, gateway_running, until

HANDSHAKE = (
    "GET /ocpp/CP1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Protocol: ocpp1.6\r\n\r\n"
)


def text(payload: bytes, *, fin: bool = True, opcode: Opcode = Opcode.TEXT) -> bytes:
    return Frame(opcode, payload, fin).serialize(mask=True)


def call(number: int, padding: int = 0) -> bytes:
    return orjson.dumps([2, str(number), "DataTransfer", {"vendorId": "v", "data": "x" * padding}])


async def connected(rig: Rig) -> asyncio.StreamWriter:
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    writer.write(HANDSHAKE.encode())
    await reader.readuntil(b"\r\n\r\n")
    return writer


async def hears(rig: Rig, writer: asyncio.StreamWriter, *chunks: bytes, count: int) -> list[str]:
    """The message ids that arrive."""
    for chunk in chunks:
        writer.write(chunk)
        await writer.drain()
    await until(lambda: len(rig.frames.having(direction="in")) >= count)
    return [row.message_id for row in rig.frames.having(direction="in")]


async def test_however_the_bytes_are_cut_each_message_arrives_once_and_whole(rig: Rig) -> None:
    writer = await connected(rig)
    (link,) = rig.gateway._links
    one, two, three = text(call(1)), text(call(2)), text(call(3))
    for cut in range(1, len(one)):
        rig.frames.rows.clear()
        for chunk in (one[:cut], one[cut:] + two[:cut], two[cut:], three):
            link.socket.data_received(chunk)  # what the event loop does with what it read
        assert [row.message_id for row in rig.frames.having(direction="in")] == ["1", "2", "3"]
        assert {row.result for row in rig.frames.having(direction="in")} == {"ok"}
    writer.close()


@pytest.mark.parametrize("size", [0, 60, 61, 62, 63, 1000, 65_470, 65_480, 65_490, 65_500, 70_000])
async def test_messages_of_every_length_class_arrive_and_are_answered(rig: Rig, size: int) -> None:
    async with rig.charger(max_size=None) as charger:
        for number in range(2):
            await charger.send(call(number, size).decode())
            assert orjson.loads(await asyncio.wait_for(charger.recv(), 5))[:2] == [3, str(number)]
        long_id = os.urandom(size // 2).hex()
        await charger.send(orjson.dumps([2, long_id, "Heartbeat", {}]).decode())
        assert orjson.loads(await asyncio.wait_for(charger.recv(), 5))[1] == long_id


async def test_pings_between_fragments_and_whole_frames_after_them(rig: Rig) -> None:
    writer = await connected(rig)
    message = call(1)
    ids = await hears(
        rig,
        writer,
        text(message[:9], fin=False),
        text(b"are you there", opcode=Opcode.PING),
        text(message[9:], opcode=Opcode.CONT),
        text(call(2)),
        text(call(3)) + text(call(4)),
        text(call(5), opcode=Opcode.BINARY),
        text(call(6)),
        count=6,
    )
    assert ids == ["1", "2", "3", "4", "5", "6"]
    writer.close()


async def test_an_unmasked_frame_is_a_protocol_error(rig: Rig) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    writer.write(HANDSHAKE.encode())
    await reader.readuntil(b"\r\n\r\n")
    writer.write(Frame(Opcode.TEXT, call(1)).serialize(mask=False))
    async with asyncio.timeout(30):
        close = await reader.read()
    assert close[:1] == b"\x88"
    assert int.from_bytes(close[2:4], "big") == 1002
    assert rig.core.events == []
    writer.close()


async def test_compression_is_possible_where_a_setting_allows_it() -> None:  # J04
    async with gateway_running(compression=True) as rig, rig.charger(compression="deflate") as charger:
        assert charger.response is not None
        assert "permessage-deflate" in charger.response.headers["Sec-WebSocket-Extensions"]
        for number in range(3):
            await charger.send(call(number, 500).decode())
            assert orjson.loads(await asyncio.wait_for(charger.recv(), 5))[:2] == [3, str(number)]


async def test_compression_is_off_unless_a_setting_allows_it(rig: Rig) -> None:  # J04
    async with rig.charger(compression="deflate") as charger:
        assert charger.response is not None
        assert "Sec-WebSocket-Extensions" not in charger.response.headers


async def test_who_does_not_read_is_not_read_from(rig: Rig) -> None:
    """Otherwise a charger that only talks would fill our memory with its answers."""
    writer = await connected(rig)
    (link,) = rig.gateway._links
    link.socket.pause_writing()
    assert link._reading is False
    link.socket.resume_writing()
    assert link._reading is True
    assert await hears(rig, writer, text(call(1)), count=1) == ["1"]
    writer.close()


async def test_nothing_of_the_handshake_is_kept(rig: Rig) -> None:
    password = "Authorization: Basic Q1AxOnNlY3JldA==\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    writer.write(HANDSHAKE.removesuffix("\r\n").encode() + password.encode())
    await reader.readuntil(b"\r\n\r\n")
    await until(lambda: len(rig.gateway._links) == 1)
    (link,) = rig.gateway._links
    parser: Any = link.socket.protocol.parser
    assert link.socket.request is not None
    assert (link.socket.request.path, link.socket.response) == ("", None)
    assert not parser.gi_frame.f_locals["request"].headers  # the library's parser goes on in the same frame
    assert await hears(rig, writer, text(call(1)), count=1) == ["1"]
    writer.close()
