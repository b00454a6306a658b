"""Quirks on real sockets: known at the Boot, or from the last one when a station reconnects without."""

import asyncio

import pytest
from websockets.exceptions import InvalidStatus

from csms import events
from csms.bus import Admission, StationCredentials
from csms.commands import StartRemotely
from csms.events import ConnectorStatusReported, IdTokenPresented, MeterSampled
from csms.gateway.quirks.catalogue import load
from tests.csms.gateway.gateway_rig import Rig, ask, gateway_running, receive, send

QUIRKS = load()
KEBA = {"chargePointVendor": "KEBA", "chargePointModel": "P30"}
TAP = [2, "7", "Authorize", {"idTag": "04A2DAA2_17619300"}]


def status(connector: int, word: str = "Charging") -> list[object]:
    return [2, "1", "StatusNotification", {"connectorId": connector, "status": word, "errorCode": "NoError"}]


def last_booted_as(vendor: str, model: str = "", firmware: str = "") -> StationCredentials:
    return StationCredentials(admission=Admission.KNOWN, vendor=vendor, model=model, firmware_version=firmware)


async def test_a_boot_tells_which_quirks_apply() -> None:  # Q06, D02
    async with gateway_running(quirks=QUIRKS) as rig, rig.charger() as charger:
        await ask(charger, TAP)
        await ask(charger, [2, "1", "BootNotification", KEBA])
        await ask(charger, TAP)
        await ask(charger, [2, "1", "BootNotification", {**KEBA, "chargePointVendor": "Acme"}])
        await ask(charger, TAP)
        taps = [event.id_token for event in rig.core.events if isinstance(event, IdTokenPresented)]
        assert taps == ["04A2DAA2_17619300", "04A2DAA2", "04A2DAA2_17619300"]
        assert rig.gateway.counts["quirk:keba-serial-behind-the-card"] == 1
        logged = rig.frames.having(direction="in", action="Authorize")
        assert all("04A2DAA2_17619300" in row.text for row in logged)


async def test_a_station_that_reconnects_without_a_boot_keeps_its_quirks() -> None:  # Q06, T1
    rig = Rig()
    rig.stations.known["CP1"] = last_booted_as("Keba AG", "KC-P30", "1.10")
    async with gateway_running(rig, quirks=QUIRKS), rig.charger() as charger:
        await ask(charger, TAP)
        (tap,) = rig.core.events
        assert tap.id_token == "04A2DAA2"


async def test_a_station_nobody_has_an_entry_for_is_told_as_it_speaks() -> None:
    rig = Rig()
    rig.stations.known["CP1"] = last_booted_as("Acme")
    async with gateway_running(rig, quirks=QUIRKS), rig.charger() as charger:
        for connector in (1, 0):
            assert await ask(charger, status(connector)) == [3, "1", {}]
        assert [event.evse for event in rig.core.events] == [1, 0]
        assert not [name for name in rig.gateway.counts if name.startswith("quirk:")]


async def test_a_twin_is_answered_and_logged_and_told_once() -> None:  # Q01, T6
    rig = Rig()
    rig.stations.known["CP1"] = last_booted_as("Unnamed vendor A")
    async with gateway_running(rig, quirks=QUIRKS), rig.charger() as charger:
        await ask(
            charger, [2, "1", "BootNotification", {"chargePointVendor": "Unnamed vendor A", "chargePointModel": "1"}]
        )
        for connector in (1, 0):
            assert await ask(charger, status(connector)) == [3, "1", {}]
        assert await ask(charger, status(0, "Faulted")) == [3, "1", {}]
        told = [(event.evse, event.status) for event in rig.core.events if isinstance(event, ConnectorStatusReported)]
        assert told == [(1, "charging"), (0, "faulted")]
        assert len(rig.frames.having(direction="in", action="StatusNotification")) == 3
        assert rig.gateway.counts["quirk:connector-zero-repeats-connector-one"] == 1


async def test_answers_keep_their_order_around_a_dropped_twin() -> None:
    rig = Rig()
    rig.stations.known["CP1"] = last_booted_as("Unnamed vendor A")
    async with gateway_running(rig, quirks=QUIRKS), rig.charger() as charger:
        for number, frame in enumerate([status(1), status(0), [2, "", "Heartbeat", {}]]):
            await send(charger, [2, str(number), *frame[2:]])
        assert [(await receive(charger))[1] for _ in range(3)] == ["0", "1", "2"]


async def test_a_frame_that_lacks_a_value_is_read() -> None:
    rig = Rig()
    rig.stations.known["CP1"] = last_booted_as("AEFA", "Home OCPP", "SW:A1B_2.8-HW:B07_0.5")
    frame = '[2,"9","MeterValues",{"connectorId":1,"transactionId":,"meterValue":[]}]'
    async with gateway_running(rig, quirks=QUIRKS), rig.charger() as charger, rig.charger("CP2") as other:
        assert await ask(charger, frame) == [3, "9", {}]
        (event,) = rig.core.events
        assert isinstance(event, MeterSampled)
        assert (event.evse, event.transaction_ref) == (1, None)
        assert (await ask(other, frame))[0] == 4
        assert frame in [row.text for row in rig.frames.rows]


async def test_a_command_is_spelled_for_its_station() -> None:  # D02
    rig = Rig()
    rig.stations.known["CP1"] = last_booted_as("Unnamed vendor C")
    async with gateway_running(rig, quirks=QUIRKS), rig.charger() as charger:
        asked = asyncio.create_task(
            rig.connections.send(StartRemotely(station_id="CP1", id_token="04A2DAA2"), timeout_s=30)
        )
        _, number, action, payload = await receive(charger)
        assert (action, payload) == ("RemoteStartTransaction", {"idTag": "A2DAA204"})
        await send(charger, [3, number, {"status": "Accepted"}])
        assert (await asked).outcome == "accepted"


async def test_a_station_that_answers_no_ping_is_left_in_peace() -> None:
    """The others are dropped: here everybody is pinged after 0.1 s and given 0.2 s."""
    rig = Rig()
    rig.stations.known["CP1"] = last_booted_as("EN+", "AC7000-AE-25", "1.0.25.100")
    patient = {"ping_interval_s": (0.1, 0.1), "pong_timeout_s": 0.2, "probe_grace_s": 0.05}
    async with gateway_running(rig, quirks=QUIRKS, **patient):
        quiet = [await _deaf(rig, "CP1"), await _deaf(rig, "CP2")]
        try:
            async with asyncio.timeout(30):
                await quiet[1][0].read()  # until its end: dropped
            assert await ask_heartbeat(*quiet[0])
        finally:
            for _, writer in quiet:
                writer.close()


async def test_who_names_no_subprotocol_is_let_in_by_its_quirk_only() -> None:  # T11
    rig = Rig()
    rig.stations.known["CP1"] = last_booted_as("United Chargers", "Grizzl-E Smart", "05.621")
    async with gateway_running(rig, quirks=QUIRKS):
        async with rig.charger(subprotocols=None) as charger:
            assert (await ask(charger, [2, "1", "Heartbeat", {}]))[0] == 3
        with pytest.raises(InvalidStatus) as refused:
            await rig.charger("CP2", subprotocols=None)
        assert refused.value.response.status_code == 400
        assert isinstance(rig.core.events[0], events.HeartbeatReceived)


# ---- a charger that speaks, and never answers a ping ----------------------------------------------------------------

Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _deaf(rig: Rig, station_id: str) -> Wire:
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    writer.write(
        f"GET /ocpp/{station_id} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: ocpp1.6\r\n\r\n".encode()
    )
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def ask_heartbeat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    text = b'[2,"1","Heartbeat",{}]'
    writer.write(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)  # a text frame, masked with zeros
    async with asyncio.timeout(30):
        return b'[3,"1"' in await reader.read(200)
