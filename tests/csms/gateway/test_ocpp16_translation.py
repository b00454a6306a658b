"""Frames of OCPP 1.6 as the events they become, and commands as the frames that leave; pure, no socket."""

import contextlib
import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import orjson
import pytest

from csms import commands, events
from csms.commands import Answer, ConfigurationAnswer, Outcome
from csms.events import AuthorizationReply, AuthorizationStatus, ConnectorStatus, StopReason
from csms.gateway import frames
from csms.gateway.frames import Call, ErrorCode
from csms.gateway.ocpp16.answers import AUTHORIZATION, id_tag_info, time_text
from csms.gateway.ocpp16.inbound import INBOUND
from csms.gateway.ocpp16.outbound import OUTBOUND
from csms.gateway.ocpp16.schemas import Schema
from csms.gateway.ocpp16.translator import Ocpp16
from csms.gateway.translator import CallRefused, CommandUnfit
from csms.smart_charging.profile import (
    ChargingProfile,
    ChargingSchedule,
    ProfileKind,
    ProfilePurpose,
    RateUnit,
    SchedulePeriod,
)

NOW = datetime(2025, 6, 1, 12, 0, tzinfo=UTC)
AT = datetime(2025, 6, 1, 10, 30, tzinfo=UTC)
T = "2025-06-01T10:30:00Z"


@pytest.fixture(scope="module")
def ocpp16() -> Ocpp16:
    return Ocpp16()


def event_of(ocpp16: Ocpp16, action: str, payload: Any) -> Any:
    call = frames.parse(orjson.dumps([2, "1", action, payload]))
    assert isinstance(call, Call)
    event = ocpp16.read(call, "CP1", NOW)
    assert (event.station_id, event.ocpp_version, event.received_at, event.schema_version) == ("CP1", "1.6", NOW, 1)
    return event


def said(event: Any) -> dict[str, Any]:
    """The fields in which an event differs from an empty one of its kind, without those that all events carry."""
    told = msgspec.structs.asdict(event)
    return {
        name: value
        for name, value in told.items()
        if name not in {"station_id", "ocpp_version", "received_at", "event_id", "schema_version"}
        and value not in (None, (), "")
    }


BOOT = {
    "chargePointVendor": "Acme",
    "chargePointModel": "Wall",
    "chargePointSerialNumber": "S1",
    "chargeBoxSerialNumber": "B1",
    "firmwareVersion": "1.2",
    "iccid": "89",
    "imsi": "26",
    "meterType": "M",
    "meterSerialNumber": "MS",
}
START = {"connectorId": 1, "idTag": "04A1", "meterStart": 1234, "timestamp": T}
STATUS = {"connectorId": 1, "errorCode": "NoError", "status": "Charging"}
LONG = "x" * 1_000_000
STOP = {"transactionId": 7, "meterStop": 5678, "timestamp": T}
SAMPLED = {"value": "12.5", "unit": "kWh", "phase": "L1", "context": "Transaction.Begin", "format": "Raw"}


@pytest.mark.parametrize(
    ("action", "payload", "kind", "fields"),
    [
        (
            "BootNotification",
            BOOT,
            events.StationBooted,
            {
                "vendor": "Acme",
                "model": "Wall",
                "serial_number": "S1",
                "firmware_version": "1.2",
                "iccid": "89",
                "imsi": "26",
                "meter_type": "M",
                "meter_serial_number": "MS",
            },
        ),
        (
            "BootNotification",
            {"chargePointVendor": "Acme", "chargePointModel": "Wall", "chargeBoxSerialNumber": "B1"},
            events.StationBooted,
            {"vendor": "Acme", "model": "Wall", "serial_number": "B1"},
        ),
        ("Heartbeat", {}, events.HeartbeatReceived, {}),
        (
            "StatusNotification",
            {
                "connectorId": 2,
                "errorCode": "GroundFailure",
                "status": "Faulted",
                "timestamp": T,
                "info": "i",
                "vendorId": "v",
                "vendorErrorCode": "E7",
            },
            events.ConnectorStatusReported,
            {
                "occurred_at": AT,
                "evse": 2,
                "connector": 1,
                "status": ConnectorStatus.FAULTED,
                "error_code": "GroundFailure",
                "info": "i",
                "vendor_id": "v",
                "vendor_error_code": "E7",
            },
        ),
        ("Authorize", {"idTag": "04A1"}, events.IdTokenPresented, {"id_token": "04A1"}),
        (
            "StartTransaction",
            START | {"reservationId": 9},
            events.TransactionStarted,
            {
                "occurred_at": AT,
                "evse": 1,
                "connector": 1,
                "id_token": "04A1",
                "meter_start_mwh": 1_234_000,
                "reservation_id": 9,
            },
        ),
        (
            "MeterValues",
            {"connectorId": 1, "transactionId": 7, "meterValue": [{"timestamp": T, "sampledValue": [SAMPLED]}]},
            events.MeterSampled,
            {
                "occurred_at": AT,
                "evse": 1,
                "transaction_ref": "7",
                "samples": (
                    events.MeterSample(
                        occurred_at=AT,
                        values=(
                            events.SampledValue(value="12.5", unit="kWh", phase="L1", context="Transaction.Begin"),
                        ),
                    ),
                ),
            },
        ),
        (
            "StopTransaction",
            STOP | {"idTag": "04A1", "reason": "EVDisconnected", "transactionData": []},
            events.TransactionEnded,
            {
                "occurred_at": AT,
                "transaction_ref": "7",
                "meter_stop_mwh": 5_678_000,
                "id_token": "04A1",
                "reason": StopReason.EV_DISCONNECTED,
                "reason_raw": "EVDisconnected",
            },
        ),
        (
            "StopTransaction",
            STOP,
            events.TransactionEnded,
            {
                "occurred_at": AT,
                "transaction_ref": "7",
                "meter_stop_mwh": 5_678_000,
                "reason": StopReason.MISSING,
            },
        ),
        (
            "DataTransfer",
            {"vendorId": "v", "messageId": "m", "data": "d"},
            events.VendorDataReceived,
            {"vendor_id": "v", "message_id": "m", "data": "d"},
        ),
        ("FirmwareStatusNotification", {"status": "Installed"}, events.FirmwareStatusReported, {"status": "Installed"}),
        (
            "DiagnosticsStatusNotification",
            {"status": "Uploaded"},
            events.DiagnosticsStatusReported,
            {"status": "Uploaded"},
        ),
    ],
)  # fmt: skip
def test_a_frame_becomes_its_event(
    ocpp16: Ocpp16, action: str, payload: Any, kind: type, fields: dict[str, Any]
) -> None:  # A08, C01-C05
    event = event_of(ocpp16, action, payload)
    assert type(event) is kind
    assert said(event) == fields
    assert msgspec.json.decode(msgspec.json.encode(event), type=kind) == event


@pytest.mark.parametrize(("word", "status"), [(s.name.title().replace("_", ""), s) for s in ConnectorStatus])
def test_each_of_the_nine_states_is_known(ocpp16: Ocpp16, word: str, status: ConnectorStatus) -> None:  # C03
    word = word.replace("Ev", "EV").replace("EVse", "EVSE")
    payload = {"connectorId": 1, "errorCode": "NoError", "status": word}
    event = event_of(ocpp16, "StatusNotification", payload)
    assert (event.status, event.violations, event.occurred_at) == (status, (), None)


REASONS = [
    "EmergencyStop", "EVDisconnected", "HardReset", "Local", "Other", "PowerLoss", "Reboot", "Remote", "SoftReset",
    "UnlockCommand", "DeAuthorized",
]  # fmt: skip


@pytest.mark.parametrize("word", REASONS)
def test_each_reason_of_the_spec_is_known(ocpp16: Ocpp16, word: str) -> None:  # E01
    event = event_of(ocpp16, "StopTransaction", STOP | {"reason": word})
    assert event.reason.value.replace("_", "") == word.casefold()
    assert (event.reason_raw, event.violations) == (word, ())


def meter(*sampled: Any, **more: Any) -> dict[str, Any]:
    return {"connectorId": 1, "meterValue": [{"timestamp": T, "sampledValue": list(sampled)}]} | more


# Each: action, payload, what must be read of it all the same, what must be named as broken.
SALVAGED: list[tuple[str, Any, dict[str, Any], str]] = [
    ("BootNotification", {"chargePointModel": "Wall"}, {"vendor": "", "model": "Wall"}, "chargePointVendor:required"),
    ("BootNotification", BOOT | {"chargePointVendor": 5, "iccid": None}, {"vendor": "5", "iccid": None}, "iccid:type"),
    ("BootNotification", BOOT | {"colour": "red"}, {"vendor": "Acme"}, "colour:additionalProperties"),
    ("BootNotification", BOOT | {"firmwareVersion": LONG}, {"firmware_version": "x" * 500}, "firmwareVersion:maxLength"),
    ("BootNotification", [], {"vendor": "", "serial_number": None}, "payload:type"),
    ("Heartbeat", {"now": 1}, {}, "now:additionalProperties"),
    ("Heartbeat", None, {}, "payload:type"),
    ("StatusNotification", STATUS | {"connectorId": "1"}, {"evse": 1}, "connectorId:type"),
    ("StatusNotification", STATUS | {"status": "CHARGING"}, {"status": ConnectorStatus.CHARGING}, "status:enum"),
    ("StatusNotification", {"connectorId": 1, "status": "Charging"}, {"error_code": "NoError"}, "errorCode:required"),
    ("StatusNotification", STATUS | {"timestamp": "noon"}, {"occurred_at": None}, "timestamp:unreadable"),
    ("Authorize", {"idTag": "x" * 300}, {"id_token": "x" * 300}, "idTag:maxLength"),
    ("Authorize", {"idTag": 12345}, {"id_token": "12345"}, "idTag:type"),
    ("StartTransaction", START | {"idTag": "x" * 21}, {"id_token": "x" * 21, "evse": 1}, "idTag:maxLength"),
    ("StartTransaction", START | {"meterStart": 10.25}, {"meter_start_mwh": 10_250}, "meterStart:type"),
    ("StartTransaction", START | {"meterStart": "10,5"}, {"meter_start_mwh": 10_500}, "meterStart:type"),
    ("StartTransaction", START | {"meterStart": "many"}, {"meter_start_mwh": None, "evse": 1}, "meterStart:type"),
    ("StartTransaction", START | {"meterStart": -5}, {"meter_start_mwh": None}, "meterStart:unreadable"),
    ("StartTransaction", START | {"meterStart": 9 * 10**18}, {"meter_start_mwh": None}, "meterStart:unreadable"),
    ("StartTransaction", START | {"timestamp": "noon"}, {"occurred_at": None}, "timestamp:unreadable"),
    ("StartTransaction", START | {"timestamp": 1748773800}, {"occurred_at": None}, "timestamp:type"),
    ("StartTransaction", START | {"connectorId": True}, {"evse": 0}, "connectorId:type"),
    ("StartTransaction", START | {"connectorId": -1}, {"evse": 0}, "connectorId:unreadable"),
    ("StartTransaction", START | {"connectorId": 2**62}, {"evse": 0}, "connectorId:unreadable"),
    ("StartTransaction", {}, {"evse": 0, "id_token": "", "meter_start_mwh": None, "occurred_at": None}, "idTag:required"),
    ("StartTransaction", "start!", {"evse": 0, "id_token": ""}, "payload:type"),
    ("StopTransaction", STOP | {"meterStop": -1}, {"meter_stop_mwh": None, "transaction_ref": "7"}, "meterStop:unreadable"),
    ("StopTransaction", STOP | {"meterStop": 12.5}, {"meter_stop_mwh": 12_500}, "meterStop:type"),
    ("StopTransaction", STOP | {"reason": "Bored"}, {"reason": StopReason.UNREADABLE, "reason_raw": "Bored"}, "reason:enum"),
    ("StopTransaction", STOP | {"reason": "local"}, {"reason": StopReason.LOCAL, "reason_raw": "local"}, "reason:enum"),
    ("StopTransaction", STOP | {"transactionId": "seven"}, {"transaction_ref": "seven"}, "transactionId:type"),
    ("StopTransaction", {}, {"transaction_ref": "-1", "meter_stop_mwh": None}, "transactionId:required"),
    ("StopTransaction", STOP | {"transactionData": "none"}, {"samples": ()}, "transactionData:type"),
    ("StopTransaction", STOP | {"transactionData": [7, None]}, {"samples": ()}, "transactionData.0:type"),
    ("MeterValues", {"connectorId": 1, "meterValue": []}, {"samples": (), "occurred_at": None}, "meterValue:minItems"),
    ("MeterValues", meter(), {"samples": (events.MeterSample(occurred_at=AT),)}, "meterValue.0.sampledValue:minItems"),
    ("MeterValues", 7, {"samples": (), "evse": 0}, "payload:type"),
]  # fmt: skip


@pytest.mark.parametrize(("action", "payload", "fields", "violation"), SALVAGED)
def test_what_breaks_its_schema_is_read_as_far_as_it_goes(
    ocpp16: Ocpp16, action: str, payload: Any, fields: dict[str, Any], violation: str
) -> None:  # A13, D01, T10, X05
    event = event_of(ocpp16, action, payload)
    assert {name: getattr(event, name) for name in fields} == fields
    assert violation in event.violations
    assert orjson.loads(event.raw) == payload


@pytest.mark.parametrize(
    ("value", "text"),
    [(12, "12"), (12.5, "12.5"), (0.1, "0.1"), (1e20, "1e+20"), ("12,5", "12,5"), ("NaN", "NaN"), (True, "true")],
)
def test_a_reading_is_kept_as_its_text(ocpp16: Ocpp16, value: Any, text: str) -> None:  # X17
    event = event_of(ocpp16, "MeterValues", meter({"value": value}))
    assert event.samples[0].values[0].value == text
    assert (event.violations == ()) is isinstance(value, str)


def test_a_bare_nan_is_a_reading_that_cannot_be_summed(ocpp16: Ocpp16) -> None:  # X17
    call = frames.parse(
        b'[2,"1","MeterValues",{"connectorId":1,"meterValue":[{"timestamp":"2025-06-01T10:30:00Z",'
        b'"sampledValue":[{"value":NaN},{"value":"7"}]}]}]'
    )
    assert isinstance(call, Call)
    event: Any = ocpp16.read(call, "CP1", NOW)
    assert [value.value for value in event.samples[0].values] == ["NaN", "7"]
    assert event.violations == ("json",)


def test_readings_that_are_no_readings_do_not_spoil_the_others(ocpp16: Ocpp16) -> None:  # X05
    event = event_of(
        ocpp16, "MeterValues", meter({"unit": "Wh"}, 7, {"value": "5", "unit": "KWH", "measurand": "Mine"})
    )
    (value,) = event.samples[0].values
    assert (value.value, value.unit, value.measurand) == ("5", "KWH", "Mine")


def test_a_frame_that_is_mended_keeps_what_its_meter_signed(ocpp16: Ocpp16) -> None:  # X05
    event = event_of(ocpp16, "MeterValues", meter({"value": "OCMF|{}|{}", "format": "SignedData", "unit": 7}))
    (value,) = event.samples[0].values
    assert (value.value, value.format) == ("OCMF|{}|{}", "SignedData")
    assert event.violations != ()


@pytest.mark.parametrize("zone", ["", "+00", "+0000", "+00:00"])
def test_times_with_odd_zones_are_no_violation(ocpp16: Ocpp16, zone: str) -> None:  # X05
    event = event_of(ocpp16, "StartTransaction", START | {"timestamp": T[:-1] + zone})
    assert (event.occurred_at, event.violations) == (AT, ())


def test_nul_is_kept_in_the_card_and_nowhere_else(ocpp16: Ocpp16) -> None:  # D03
    event = event_of(ocpp16, "Authorize", {"idTag": "\x0004A1"})
    assert (event.id_token, event.violations) == ("\x0004A1", ())
    boot = event_of(ocpp16, "BootNotification", BOOT | {"chargePointVendor": "Ac\0me"})
    assert (boot.vendor, boot.violations) == ("Acme", ())


def test_an_object_where_data_is_text_is_kept_as_its_json(ocpp16: Ocpp16) -> None:
    event = event_of(ocpp16, "DataTransfer", {"vendorId": "v", "data": {"a": 1}})
    assert event.data == '{"a":1}'


def test_data_nested_deeper_than_can_be_written_is_left_out(ocpp16: Ocpp16) -> None:
    nested: Any = 1
    for _ in range(900):
        nested = {"a": nested}
    event = ocpp16.read(Call("1", "DataTransfer", {"vendorId": "v", "data": nested}), "CP1", NOW)
    assert isinstance(event, events.VendorDataReceived)
    assert (event.vendor_id, event.data) == ("v", None)
    assert event.violations


def test_violations_are_named_up_to_a_limit(ocpp16: Ocpp16) -> None:
    event = event_of(ocpp16, "MeterValues", meter(*({"value": number} for number in range(1000))))
    assert len(event.violations) == 20
    assert len(event.samples[0].values) == 1000


def test_a_transaction_nested_without_end_is_still_an_event(ocpp16: Ocpp16) -> None:
    deep: Any = "x"
    for _ in range(500):
        deep = [deep]
    event = ocpp16.read(Call("1", "StopTransaction", STOP | {"idTag": deep}), "CP1", NOW)
    assert isinstance(event, events.TransactionEnded)
    assert (event.meter_stop_mwh, event.violations) == (5_678_000, ("payload:nesting",))


@pytest.mark.parametrize(
    ("action", "payload", "code"),
    [
        ("Authorize", {}, ErrorCode.PROTOCOL_ERROR),
        ("Authorize", {"idTag": None}, ErrorCode.TYPE_CONSTRAINT_VIOLATION),
        ("Authorize", [], ErrorCode.TYPE_CONSTRAINT_VIOLATION),
        ("StatusNotification", STATUS | {"status": "Dancing"}, ErrorCode.PROPERTY_CONSTRAINT_VIOLATION),
        ("StatusNotification", {"connectorId": 1, "errorCode": "NoError"}, ErrorCode.PROTOCOL_ERROR),
        ("StatusNotification", STATUS | {"connectorId": -4}, ErrorCode.PROPERTY_CONSTRAINT_VIOLATION),
        ("FirmwareStatusNotification", {}, ErrorCode.PROTOCOL_ERROR),
        ("Dance", {}, ErrorCode.NOT_IMPLEMENTED),
        ("heartbeat", {}, ErrorCode.NOT_IMPLEMENTED),
        ("HeartbeatResponse", {}, ErrorCode.NOT_IMPLEMENTED),
        ("Reset", {"type": "Soft"}, ErrorCode.NOT_SUPPORTED),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_by_name(
    ocpp16: Ocpp16, action: str, payload: Any, code: ErrorCode
) -> None:  # A13
    with pytest.raises(CallRefused) as refused:
        event_of(ocpp16, action, payload)
    assert refused.value.code == code


# ---- answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", list(AuthorizationStatus))
def test_every_decision_has_a_word_of_1_6(status: AuthorizationStatus) -> None:  # C04
    payload = {"idTagInfo": id_tag_info(AuthorizationReply(status=status))}
    assert Schema("AuthorizeResponse").is_valid(payload)
    assert AUTHORIZATION[AuthorizationStatus.NO_CREDIT] == "Blocked"
    assert AUTHORIZATION[AuthorizationStatus.NOT_ALLOWED] == "Invalid"


def test_a_decision_carries_its_end_and_its_group_when_it_fits() -> None:  # D08, TK-09
    reply = AuthorizationReply(status=AuthorizationStatus.EXPIRED, expires_at=AT, group_id="FLEET", message="sorry")
    assert id_tag_info(reply) == {
        "status": "Expired",
        "expiryDate": "2025-06-01T10:30:00.000Z",
        "parentIdTag": "FLEET",
    }
    long = AuthorizationReply(status=AuthorizationStatus.ACCEPTED, group_id="x" * 21)
    assert id_tag_info(long) == {"status": "Accepted"}


def test_times_go_out_as_utc_with_milliseconds() -> None:
    assert time_text(datetime(2025, 6, 1, 14, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))) == (
        "2025-06-01T12:00:00.123Z"
    )


def test_a_stop_without_card_is_answered_without_decision(ocpp16: Ocpp16) -> None:  # C07
    assert ocpp16.reply("StopTransaction", events.EndReply()) == {}


# ---- commands -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "action", "payload"),
    [
        (commands.StartRemotely(station_id="CP1", id_token="04A1"), "RemoteStartTransaction", {"idTag": "04A1"}),
        (
            commands.StartRemotely(station_id="CP1", id_token="04A1", evse=2),
            "RemoteStartTransaction",
            {"idTag": "04A1", "connectorId": 2},
        ),
        (commands.StopRemotely(station_id="CP1", transaction_ref="7"), "RemoteStopTransaction", {"transactionId": 7}),
        (commands.ResetStation(station_id="CP1"), "Reset", {"type": "Soft"}),
        (commands.ResetStation(station_id="CP1", kind=commands.ResetKind.HARD), "Reset", {"type": "Hard"}),
        (commands.UnlockConnector(station_id="CP1", evse=2), "UnlockConnector", {"connectorId": 2}),
        (
            commands.ChangeConfiguration(station_id="CP1", key="HeartbeatInterval", value="300"),
            "ChangeConfiguration",
            {"key": "HeartbeatInterval", "value": "300"},
        ),
        (commands.GetConfiguration(station_id="CP1"), "GetConfiguration", {}),
        (commands.GetConfiguration(station_id="CP1", keys=("a", "b")), "GetConfiguration", {"key": ["a", "b"]}),
        (
            commands.ChangeAvailability(station_id="CP1", evse=0, operative=False),
            "ChangeAvailability",
            {"connectorId": 0, "type": "Inoperative"},
        ),
        (
            commands.TriggerMessage(station_id="CP1", kind=commands.TriggerKind.STATUS, evse=1),
            "TriggerMessage",
            {"requestedMessage": "StatusNotification", "connectorId": 1},
        ),
    ],
)
def test_a_command_becomes_its_frame(ocpp16: Ocpp16, command: Any, action: str, payload: Any) -> None:  # C08-C10
    assert ocpp16.request(command) == (action, payload)


@pytest.mark.parametrize("kind", list(commands.TriggerKind))
def test_every_trigger_is_in_one_spec_or_both(ocpp16: Ocpp16, kind: commands.TriggerKind) -> None:
    said = set()
    for command in (commands.TriggerMessage, commands.ExtendedTriggerMessage):
        with contextlib.suppress(CommandUnfit):
            said.add(ocpp16.request(command(station_id="CP1", kind=kind))[0])
    only = {
        commands.TriggerKind.DIAGNOSTICS_STATUS: {"TriggerMessage"},
        commands.TriggerKind.LOG_STATUS: {"ExtendedTriggerMessage"},
        commands.TriggerKind.SIGN_CERTIFICATE: {"ExtendedTriggerMessage"},
    }
    assert said == only.get(kind, {"TriggerMessage", "ExtendedTriggerMessage"})


@pytest.mark.parametrize(
    "command",
    [
        commands.StartRemotely(station_id="CP1", id_token="x" * 21),
        commands.StopRemotely(station_id="CP1", transaction_ref="not-ours"),
        commands.ChangeConfiguration(station_id="CP1", key="x" * 51, value="1"),
        commands.GetConfiguration(station_id="CP1", keys=("x" * 51,)),
    ],
)
def test_what_1_6_cannot_say_is_not_sent(ocpp16: Ocpp16, command: Any) -> None:
    with pytest.raises(CommandUnfit) as unfit:
        ocpp16.request(command)
    assert unfit.value.answer.outcome is Outcome.FAILED


CONFIGURE = commands.ChangeConfiguration(station_id="CP1", key="k", value="v")
UNLOCK = commands.UnlockConnector(station_id="CP1", evse=1)
AVAILABILITY = commands.ChangeAvailability(station_id="CP1", evse=1, operative=True)
TRIGGER = commands.TriggerMessage(station_id="CP1", kind=commands.TriggerKind.BOOT)


@pytest.mark.parametrize(
    ("command", "status", "outcome"),
    [
        (commands.StartRemotely(station_id="CP1", id_token="A"), "Accepted", Outcome.ACCEPTED),
        (commands.StopRemotely(station_id="CP1", transaction_ref="7"), "Rejected", Outcome.REJECTED),
        (commands.ResetStation(station_id="CP1"), "accepted", Outcome.ACCEPTED),
        (UNLOCK, "Unlocked", Outcome.ACCEPTED),
        (UNLOCK, "UnlockFailed", Outcome.REJECTED),
        (UNLOCK, "NotSupported", Outcome.NOT_SUPPORTED),
        (CONFIGURE, "Accepted", Outcome.ACCEPTED),
        (CONFIGURE, "Rejected", Outcome.REJECTED),
        (CONFIGURE, "RebootRequired", Outcome.REBOOT_REQUIRED),
        (CONFIGURE, "NotSupported", Outcome.NOT_SUPPORTED),
        (AVAILABILITY, "Scheduled", Outcome.SCHEDULED),
        (TRIGGER, "NotImplemented", Outcome.NOT_SUPPORTED),
        (UNLOCK, "Perhaps", Outcome.FAILED),
    ],
)
def test_an_answer_is_an_outcome(ocpp16: Ocpp16, command: Any, status: str, outcome: Outcome) -> None:  # C09
    assert ocpp16.answer(command, {"status": status}) == Answer(outcome=outcome, detail=status)


@pytest.mark.parametrize("payload", [{}, [], None, "Accepted", {"status": None}])
def test_an_unreadable_answer_is_a_failure(ocpp16: Ocpp16, payload: Any) -> None:
    assert ocpp16.answer(CONFIGURE, payload).outcome is Outcome.FAILED


def test_a_configuration_is_read_with_its_quirks(ocpp16: Ocpp16) -> None:  # C09, X05
    command = commands.GetConfiguration(station_id="CP1")
    answer = ocpp16.answer(
        command,
        {
            "configurationKey": [
                {"key": "HeartbeatInterval", "readonly": False, "value": 300},
                {"key": "AuthorizeRemoteTxRequests", "readonly": True, "value": True},
                {"key": "NoValue", "readonly": False},
                "nonsense",
            ],
            "unknownKey": ["Dance"],
        },
    )
    assert isinstance(answer, ConfigurationAnswer)
    assert [(row.key, row.value, row.readonly) for row in answer.settings] == [
        ("HeartbeatInterval", "300", False),
        ("AuthorizeRemoteTxRequests", "true", True),
        ("NoValue", None, False),
    ]
    assert answer.unknown == ("Dance",)
    assert ocpp16.answer(command, 7).outcome is Outcome.FAILED


def test_what_a_station_answers_without_end_is_cut(ocpp16: Ocpp16) -> None:
    command = commands.GetConfiguration(station_id="CP1")
    many = {"configurationKey": [{"key": f"{number}"} for number in range(9000)], "unknownKey": ["x"] * 9000}
    answer = ocpp16.answer(command, many)
    assert (len(answer.settings), len(answer.unknown)) == (2000, 2000)
    assert answer.detail == "only the first 2000 of 9000"
    assert len(ocpp16.failure(command, "InternalError", "x" * 100_000).detail) == 500


@pytest.mark.parametrize(
    "period",
    [
        {"startPeriod": 10**12, "limit": 6},
        {"startPeriod": -1, "limit": 6},
        {"startPeriod": 0, "limit": -1},
        {"startPeriod": 0, "limit": 1e300},
        {"startPeriod": 0, "limit": "NaN"},
    ],
)
def test_a_composite_schedule_of_nonsense_is_none(ocpp16: Ocpp16, period: dict[str, Any]) -> None:
    command = commands.GetCompositeSchedule(station_id="CP1", evse=1, duration_s=60)
    schedule: dict[str, Any] = {"chargingRateUnit": "A", "chargingSchedulePeriod": [period], "duration": 10**15}
    assert ocpp16.answer(command, {"status": "Accepted", "chargingSchedule": schedule}).schedule is None
    schedule["chargingSchedulePeriod"] += [{"startPeriod": 0, "limit": 6, "numberPhases": 99}]
    read = ocpp16.answer(command, {"status": "Accepted", "chargingSchedule": schedule}).schedule
    assert read is not None
    assert (read.duration_s, [(one.start_s, one.phases) for one in read.periods]) == (None, [(0, None)])


def test_a_callerror_says_whether_the_charger_knows_the_message(ocpp16: Ocpp16) -> None:
    assert ocpp16.failure(CONFIGURE, "NotImplemented", "").outcome is Outcome.NOT_SUPPORTED
    failed = ocpp16.failure(commands.GetConfiguration(station_id="CP1"), "InternalError", "oops")
    assert failed == ConfigurationAnswer(outcome=Outcome.FAILED, detail="InternalError oops")


def test_every_command_and_every_event_of_the_core_has_its_row() -> None:
    assert set(OUTBOUND) == set(commands.AnyCommand.__args__)
    # One event more than the events: of firmware there are two messages.
    assert len(INBOUND) == len(events.AnyEvent.__args__) + 1


def test_energy_keeps_its_fractions_of_a_watt_hour(ocpp16: Ocpp16) -> None:
    event = event_of(ocpp16, "StopTransaction", STOP | {"meterStop": 1234.567})
    assert Decimal(event.meter_stop_mwh) == Decimal(1_234_567)


# ---- answers read forgivingly ---------------------------------------------------------------------------------------

SCHEDULE = commands.GetCompositeSchedule(station_id="CP1", evse=1, duration_s=60)
HASHES = {"issuerNameHash": "aa", "issuerKeyHash": "bb", "serialNumber": 63}


def test_a_schedule_is_read_as_far_as_it_can_be(ocpp16: Ocpp16) -> None:  # G01, X05
    answer = ocpp16.answer(
        SCHEDULE,
        {
            "status": "ACCEPTED",
            "connectorId": "1",
            "chargingSchedule": {
                "chargingRateUnit": "w",
                "startSchedule": "2025-06-01T10:30:00",
                "chargingSchedulePeriod": [
                    {"startPeriod": "60", "limit": "7400.5", "numberPhases": None},
                    {"startPeriod": 0, "limit": 11000},
                    {"startPeriod": 120},
                    "nonsense",
                ],
            },
        },
    )
    assert (answer.outcome, answer.evse, answer.starts_at) == (Outcome.ACCEPTED, 1, AT)
    assert answer.schedule is not None
    assert [(period.start_s, period.limit) for period in answer.schedule.periods] == [
        (0, Decimal(11000)),
        (60, Decimal("7400.5")),
    ]


@pytest.mark.parametrize("told", [{}, {"chargingSchedule": 7}, {"chargingSchedule": {"chargingRateUnit": "hp"}}])
def test_without_a_schedule_there_is_none(ocpp16: Ocpp16, told: Any) -> None:
    answer = ocpp16.answer(SCHEDULE, {"status": "Accepted"} | told)
    assert (answer.outcome, answer.schedule) == (Outcome.ACCEPTED, None)


@pytest.mark.parametrize(
    ("command", "payload", "outcome"),
    [
        (commands.GetLocalListVersion(station_id="CP1"), {"listVersion": "12"}, Outcome.ACCEPTED),
        (commands.GetLocalListVersion(station_id="CP1"), {"listVersion": "newest"}, Outcome.FAILED),
        (commands.GetLocalListVersion(station_id="CP1"), [], Outcome.FAILED),
        (commands.GetDiagnostics(station_id="CP1", url="http://a/b"), {"fileName": ""}, Outcome.ACCEPTED),
        (commands.GetDiagnostics(station_id="CP1", url="http://a/b"), "cp1.log", Outcome.FAILED),
        (commands.UpdateFirmware(station_id="CP1", url="http://a/b", retrieve_at=AT), {"status": 1}, Outcome.ACCEPTED),
        (commands.UpdateFirmware(station_id="CP1", url="http://a/b", retrieve_at=AT), None, Outcome.FAILED),
        (
            commands.SendVendorData(station_id="CP1", vendor_id="A"),
            {"status": "unknownvendorid"},
            Outcome.NOT_SUPPORTED,
        ),
        (commands.SendVendorData(station_id="CP1", vendor_id="A"), None, Outcome.FAILED),
    ],
)
def test_other_answers_are_read_with_their_quirks(ocpp16: Ocpp16, command: Any, payload: Any, outcome: Outcome) -> None:
    assert ocpp16.answer(command, payload).outcome is outcome


def test_certificates_that_cannot_be_read_are_left_out(ocpp16: Ocpp16) -> None:
    command = commands.GetInstalledCertificates(station_id="CP1", use=commands.CertificateUse.MANUFACTURER_ROOT)
    rows = [{"hashAlgorithm": "sha-256"} | HASHES, {"hashAlgorithm": "MD5"} | HASHES, HASHES, 7]
    answer = ocpp16.answer(command, {"status": "Accepted", "certificateHashData": rows})
    assert [(found.algorithm, found.serial_number) for found in answer.certificates] == [
        (commands.HashAlgorithm.SHA256, "63")
    ]


@pytest.mark.parametrize(
    ("limit", "sent"), [("16.1", 16.1), ("16.19", 16.1), ("16.0", 16), ("0.05", 0), ("22080.3", 22080.3), ("32", 32)]
)
def test_a_limit_leaves_with_one_decimal_and_never_higher(ocpp16: Ocpp16, limit: str, sent: float) -> None:  # G01
    profile = ChargingProfile(
        profile_id=1,
        stack_level=0,
        purpose=ProfilePurpose.TX_DEFAULT,
        kind=ProfileKind.RELATIVE,
        schedule=ChargingSchedule(
            unit=RateUnit.AMPERE, periods=(SchedulePeriod(start_s=0, limit=Decimal(limit)),), min_rate=Decimal(limit)
        ),
    )
    _, payload = ocpp16.request(commands.SetChargingProfile(station_id="CP1", evse=1, profile=profile))
    schedule = payload["csChargingProfiles"]["chargingSchedule"]
    assert schedule["chargingSchedulePeriod"][0]["limit"] == sent
    assert schedule["minChargingRate"] == sent
    assert json.loads(orjson.dumps(payload))["csChargingProfiles"]["chargingSchedule"] == schedule


def test_no_tenth_of_an_ampere_or_watt_breaks_the_schema(ocpp16: Ocpp16) -> None:  # G01
    """`multipleOf: 0.1` in binary fractions is what trips validators."""
    periods = tuple(SchedulePeriod(start_s=tenths, limit=Decimal(tenths) / 10) for tenths in range(1, 3_000, 7))
    profile = ChargingProfile(
        profile_id=1,
        stack_level=0,
        purpose=ProfilePurpose.TX_DEFAULT,
        kind=ProfileKind.RELATIVE,
        schedule=ChargingSchedule(unit=RateUnit.AMPERE, periods=periods),
    )
    action, _ = ocpp16.request(commands.SetChargingProfile(station_id="CP1", evse=1, profile=profile))
    assert action == "SetChargingProfile"


def test_a_full_list_takes_no_card_off(ocpp16: Ocpp16) -> None:
    entries = (commands.ListedToken(id_token="A"),)
    with pytest.raises(CommandUnfit):
        ocpp16.request(commands.SendLocalList(station_id="CP1", version=1, full=True, entries=entries))


@pytest.mark.parametrize(
    ("action", "payload", "told"),
    [
        ("SignCertificate", {"csr": "x" * 6000}, {"csr": "x" * 6000}),
        (
            "SecurityEventNotification",
            {"type": "Odd", "timestamp": "soon", "techInfo": 7},
            {"kind": "Odd", "tech_info": "7"},
        ),
        ("LogStatusNotification", {"status": "Uploaded", "requestId": "6"}, {"status": "Uploaded", "request_id": 6}),
        ("SignedFirmwareStatusNotification", {"status": "Idle"}, {"status": "Idle", "request_id": None}),
    ],
)
def test_the_security_messages_are_read_with_their_faults(ocpp16: Ocpp16, action: str, payload: Any, told: Any) -> None:
    event = event_of(ocpp16, action, payload)
    assert {name: getattr(event, name) for name in told} == told


@pytest.mark.parametrize("action", ["SignCertificate", "SecurityEventNotification", "LogStatusNotification"])
def test_a_security_message_without_its_content_is_refused(ocpp16: Ocpp16, action: str) -> None:
    with pytest.raises(CallRefused):
        event_of(ocpp16, action, {})
