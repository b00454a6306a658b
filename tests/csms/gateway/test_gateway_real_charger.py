"""Each message both ways with a charger that we did not write: the `ocpp` package's own ChargePoint, its validation on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from ocpp.routing import on
from ocpp.v16 import ChargePoint, call, call_result
from websockets.exceptions import ConnectionClosed

from csms import commands, events
from csms.commands import Answer, ConfigurationSetting, Outcome
from csms.events import AuthorizationReply, AuthorizationStatus, StopReason
from tests.csms.gateway.gateway_rig import NOON, Rig

AT = datetime(2025, 6, 1, 10, 30, tzinfo=UTC)
T = "2025-06-01T10:30:00Z"


class Charger(ChargePoint):  # type: ignore[misc]  # the package has no types
    """Accepts what it is asked, and remembers it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.status = "Accepted"

    def _remember(self, action: str, fields: dict[str, Any]) -> None:
        self.asked.append((action, fields))

    @on("RemoteStartTransaction")
    async def remote_start(self, **fields: Any) -> Any:
        self._remember("RemoteStartTransaction", fields)
        return call_result.RemoteStartTransaction(status=self.status)

    @on("RemoteStopTransaction")
    async def remote_stop(self, **fields: Any) -> Any:
        self._remember("RemoteStopTransaction", fields)
        return call_result.RemoteStopTransaction(status=self.status)

    @on("Reset")
    async def reset(self, **fields: Any) -> Any:
        self._remember("Reset", fields)
        return call_result.Reset(status=self.status)

    @on("UnlockConnector")
    async def unlock(self, **fields: Any) -> Any:
        self._remember("UnlockConnector", fields)
        return call_result.UnlockConnector(status="Unlocked")

    @on("ChangeConfiguration")
    async def change_configuration(self, **fields: Any) -> Any:
        self._remember("ChangeConfiguration", fields)
        return call_result.ChangeConfiguration(status="RebootRequired")

    @on("GetConfiguration")
    async def get_configuration(self, **fields: Any) -> Any:
        self._remember("GetConfiguration", fields)
        return call_result.GetConfiguration(
            configuration_key=[
                {"key": "HeartbeatInterval", "readonly": False, "value": "300"},
                {"key": "AuthorizationKey", "readonly": False, "value": "00112233"},
            ],
            unknown_key=["Dance"],
        )

    @on("ChangeAvailability")
    async def change_availability(self, **fields: Any) -> Any:
        self._remember("ChangeAvailability", fields)
        return call_result.ChangeAvailability(status="Scheduled")

    @on("TriggerMessage")
    async def trigger(self, **fields: Any) -> Any:
        self._remember("TriggerMessage", fields)
        return call_result.TriggerMessage(status="NotImplemented")


@asynccontextmanager
async def real_charger(rig: Rig, station_id: str = "CP1") -> AsyncIterator[Charger]:
    async with rig.charger(station_id) as socket:
        charger = Charger(station_id, socket, 5)
        running = asyncio.create_task(charger.start())
        try:
            await charger.call(call.Heartbeat())
            rig.core.events.clear()
            yield charger
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


METER_VALUE = [{"timestamp": T, "sampled_value": [{"value": "1500", "unit": "Wh"}, {"value": "7.2", "unit": "kW"}]}]


@pytest.mark.parametrize(
    ("request_", "kind", "reply", "answer"),
    [
        (
            call.BootNotification(
                charge_point_vendor="Acme", charge_point_model="Wall", charge_point_serial_number="S1"
            ),
            events.StationBooted,
            None,
            call_result.BootNotification(current_time="2025-06-01T12:00:00.123Z", interval=300, status="Accepted"),
        ),
        (
            call.BootNotification(charge_point_vendor="Acme", charge_point_model="Wall"),
            events.StationBooted,
            events.BootReply(status=events.RegistrationStatus.PENDING, current_time=NOON, interval_s=60),
            call_result.BootNotification(current_time="2025-06-01T12:00:00.123Z", interval=60, status="Pending"),
        ),
        (
            call.Heartbeat(),
            events.HeartbeatReceived,
            None,
            call_result.Heartbeat(current_time="2025-06-01T12:00:00.123Z"),
        ),
        (
            call.StatusNotification(connector_id=1, error_code="NoError", status="Charging", timestamp=T),
            events.ConnectorStatusReported,
            None,
            call_result.StatusNotification(),
        ),
        (
            call.StartTransaction(connector_id=1, id_tag="04A1", meter_start=1000, timestamp=T),
            events.TransactionStarted,
            None,
            call_result.StartTransaction(transaction_id=4711, id_tag_info={"status": "Accepted"}),
        ),
        (
            call.MeterValues(connector_id=1, transaction_id=4711, meter_value=METER_VALUE),
            events.MeterSampled,
            None,
            call_result.MeterValues(),
        ),
        (
            call.StopTransaction(
                meter_stop=2500, timestamp=T, transaction_id=4711, reason="Local", transaction_data=METER_VALUE
            ),
            events.TransactionEnded,
            None,
            call_result.StopTransaction(id_tag_info={"status": "Accepted"}),
        ),
        (
            call.DataTransfer(vendor_id="Acme", message_id="m", data="d"),
            events.VendorDataReceived,
            events.VendorDataReply(status=events.VendorDataStatus.ACCEPTED, data="e"),
            call_result.DataTransfer(status="Accepted", data="e"),
        ),
        (
            call.DataTransfer(vendor_id="nobody"),
            events.VendorDataReceived,
            None,
            call_result.DataTransfer(status="UnknownVendorId"),
        ),
        (
            call.FirmwareStatusNotification(status="Installed"),
            events.FirmwareStatusReported,
            None,
            call_result.FirmwareStatusNotification(),
        ),
        (
            call.DiagnosticsStatusNotification(status="Uploaded"),
            events.DiagnosticsStatusReported,
            None,
            call_result.DiagnosticsStatusNotification(),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_a_charger_says_is_reported_and_answered(
    rig: Rig, request_: Any, kind: type, reply: Any, answer: Any
) -> None:  # C01-C05, C07
    if reply is not None:
        rig.core.replies[kind] = reply
    async with real_charger(rig) as charger:
        assert await charger.call(request_, suppress=False) == answer
    (event,) = rig.core.events
    assert type(event) is kind
    assert (event.station_id, event.ocpp_version, event.violations) == ("CP1", "1.6", ())
    action = type(request_).__name__
    assert len(rig.frames.having(direction="in", message_type="call", action=action, result="ok")) >= 1
    row = rig.frames.having(direction="out", message_type="result", action=action)[-1]
    assert row.latency_ms is not None
    assert row.text.startswith('[3,"')


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (AuthorizationStatus.ACCEPTED, "Accepted"),
        (AuthorizationStatus.BLOCKED, "Blocked"),
        (AuthorizationStatus.EXPIRED, "Expired"),
        (AuthorizationStatus.INVALID, "Invalid"),
        (AuthorizationStatus.CONCURRENT_TX, "ConcurrentTx"),
    ],
)
async def test_the_five_answers_to_a_card(rig: Rig, status: AuthorizationStatus, word: str) -> None:  # C04
    rig.core.replies[events.IdTokenPresented] = AuthorizationReply(status=status, expires_at=NOON, group_id="FLEET")
    async with real_charger(rig) as charger:
        answer = await charger.call(call.Authorize(id_tag="04A1"), suppress=False)
    assert answer.id_tag_info == {
        "status": word,
        "expiry_date": "2025-06-01T12:00:00.123Z",
        "parent_id_tag": "FLEET",
    }


async def test_a_whole_session_in_events(rig: Rig) -> None:  # A08
    async with real_charger(rig) as charger:
        await charger.call(call.StartTransaction(connector_id=1, id_tag="04A1", meter_start=1000, timestamp=T))
        await charger.call(call.MeterValues(connector_id=1, transaction_id=4711, meter_value=METER_VALUE))
        await charger.call(
            call.StopTransaction(meter_stop=2500, timestamp=T, transaction_id=4711, reason="EVDisconnected")
        )
    start, sampled, stop = rig.core.events
    assert (start.evse, start.id_token, start.meter_start_mwh, start.occurred_at) == (1, "04A1", 1_000_000, AT)
    assert (sampled.transaction_ref, [value.value for value in sampled.samples[0].values]) == ("4711", ["1500", "7.2"])
    assert (stop.transaction_ref, stop.meter_stop_mwh, stop.reason) == ("4711", 2_500_000, StopReason.EV_DISCONNECTED)


@pytest.mark.parametrize(
    ("command", "asked", "answer"),
    [
        (
            commands.StartRemotely(station_id="CP1", id_token="04A1", evse=1),
            ("RemoteStartTransaction", {"id_tag": "04A1", "connector_id": 1}),
            Answer(outcome=Outcome.ACCEPTED, detail="Accepted"),
        ),
        (
            commands.StopRemotely(station_id="CP1", transaction_ref="4711"),
            ("RemoteStopTransaction", {"transaction_id": 4711}),
            Answer(outcome=Outcome.ACCEPTED, detail="Accepted"),
        ),
        (
            commands.ResetStation(station_id="CP1"),
            ("Reset", {"type": "Soft"}),
            Answer(outcome=Outcome.ACCEPTED, detail="Accepted"),
        ),
        (
            commands.UnlockConnector(station_id="CP1", evse=1),
            ("UnlockConnector", {"connector_id": 1}),
            Answer(outcome=Outcome.ACCEPTED, detail="Unlocked"),
        ),
        (
            commands.ChangeConfiguration(station_id="CP1", key="HeartbeatInterval", value="300"),
            ("ChangeConfiguration", {"key": "HeartbeatInterval", "value": "300"}),
            Answer(outcome=Outcome.REBOOT_REQUIRED, detail="RebootRequired"),
        ),
        (
            commands.ChangeAvailability(station_id="CP1", evse=0, operative=True),
            ("ChangeAvailability", {"connector_id": 0, "type": "Operative"}),
            Answer(outcome=Outcome.SCHEDULED, detail="Scheduled"),
        ),
        (
            commands.TriggerMessage(station_id="CP1", kind=commands.TriggerKind.BOOT),
            ("TriggerMessage", {"requested_message": "BootNotification"}),
            Answer(outcome=Outcome.NOT_SUPPORTED, detail="NotImplemented"),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_we_ask_is_understood_and_its_answer_is_an_outcome(
    rig: Rig, command: Any, asked: Any, answer: Answer
) -> None:  # C08-C10
    async with real_charger(rig) as charger:
        assert await rig.connections.send(command, timeout_s=30) == answer
        assert charger.asked == [asked]
    action = asked[0]
    (out,) = rig.frames.having(direction="out", message_type="call", action=action)
    (back,) = rig.frames.having(direction="in", message_type="result", action=action)
    assert out.message_id == back.message_id
    assert back.latency_ms is not None


async def test_a_configuration_is_read_and_its_secret_stays_out_of_the_log(rig: Rig) -> None:  # C09
    async with real_charger(rig) as charger:
        answer = await rig.connections.send(commands.GetConfiguration(station_id="CP1", keys=("a",)), timeout_s=30)
        assert charger.asked == [("GetConfiguration", {"key": ["a"]})]
        secret = commands.ChangeConfiguration(station_id="CP1", key="AuthorizationKey", value="00112233")
        await rig.connections.send(secret, timeout_s=30)
        assert charger.asked[-1][1]["value"] == "00112233"
    assert answer.outcome is Outcome.ACCEPTED
    assert answer.settings[0] == ConfigurationSetting(key="HeartbeatInterval", value="300")
    assert answer.settings[1].value == "00112233"
    assert answer.unknown == ("Dance",)
    assert not [row for row in rig.frames.rows if "00112233" in row.text]


async def test_a_charger_that_refuses_is_quoted(rig: Rig) -> None:  # C08
    async with real_charger(rig) as charger:
        charger.status = "Rejected"
        command = commands.StartRemotely(station_id="CP1", id_token="04A1")
        assert await rig.connections.send(command, timeout_s=30) == Answer(outcome=Outcome.REJECTED, detail="Rejected")


async def test_both_sides_call_at_once(rig: Rig) -> None:  # H02
    """A command sent from inside the report of the charger's own call: each side owes the other an answer."""

    async def answer(event: Any) -> Any:
        command = commands.UnlockConnector(station_id="CP1", evse=1)
        outcome = await rig.connections.send(command, timeout_s=30)
        return events.VendorDataReply(status=events.VendorDataStatus.ACCEPTED, data=outcome.detail)

    async with real_charger(rig) as charger:
        rig.core.answer = answer
        assert (await charger.call(call.DataTransfer(vendor_id="Acme"), suppress=False)).data == "Unlocked"


async def test_a_rejected_identity_is_answered_and_then_sent_away(rig: Rig) -> None:  # B12, T1
    rig.core.replies[events.StationBooted] = msgspec.structs.replace(
        rig.core.replies[events.StationBooted], status=events.RegistrationStatus.REJECTED, close=True
    )
    async with rig.charger() as socket:
        charger = Charger("CP1", socket, 5)
        running = asyncio.create_task(charger.start())
        answer = await charger.call(call.BootNotification(charge_point_vendor="Acme", charge_point_model="Wall"))
        assert answer.status == "Rejected"
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(running, 5)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008
