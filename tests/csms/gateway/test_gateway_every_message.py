"""Every message of OCPP 1.6 and of its security extension, over a socket, with the `ocpp` package's own ChargePoint.

`SAID` and `ASKED` have a row for each; tests/test_message_coverage.py fails when one is missing. The TC names are those of the
public certification cases for a CSMS.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from ocpp.routing import on
from ocpp.v16 import ChargePoint, call, call_result

from csms import commands, events
from csms.commands import (
    Answer,
    CertificateHash,
    CertificatesAnswer,
    CertificateUse,
    ConfigurationAnswer,
    ConfigurationSetting,
    HashAlgorithm,
    ListedToken,
    ListVersionAnswer,
    LogKind,
    Outcome,
    ScheduleAnswer,
    TriggerKind,
    UploadAnswer,
    VendorDataAnswer,
)
from csms.events import AuthorizationReply, AuthorizationStatus, ConnectorStatus
from csms.smart_charging.profile import (
    ChargingProfile,
    ChargingSchedule,
    ProfileKind,
    ProfilePurpose,
    RateUnit,
    Recurrency,
    SchedulePeriod,
)
from tests.csms.gateway.gateway_rig import Rig

AT = datetime(2025, 6, 1, 10, 30, tzinfo=UTC)
T = "2025-06-01T10:30:00.000Z"
LATER = AT + timedelta(hours=1)
LATER_T = "2025-06-01T11:30:00.000Z"
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
CSR = "-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n"
METER_VALUE = [{"timestamp": T, "sampled_value": [{"value": "1500", "unit": "Wh"}]}]
URL = "https://files.example.com/f?signature=s3cr3t"


class Charger(ChargePoint):  # type: ignore[misc]  # the package has no types
    """Answers what `answers` holds for an action, and keeps each call as it came."""

    def __init__(self, *args: Any, answers: dict[str, Any]) -> None:
        super().__init__(*args)
        self.answers = answers
        self.asked: list[tuple[str, Any]] = []

    async def route_message(self, raw_msg: str) -> None:
        kind, _, *rest = json.loads(raw_msg)
        if kind == 2:
            self.asked.append((rest[0], rest[1]))
        await super().route_message(raw_msg)


def _answering(action: str) -> Callable[..., Any]:
    async def answer(self: Charger, **fields: Any) -> Any:
        return self.answers[action]

    answer.__name__ = f"on_{action}"  # by which the package finds it in the class

    return on(action)(answer)  # type: ignore[no-any-return]


@asynccontextmanager
async def charger_at(rig: Rig, **answers: Any) -> AsyncIterator[Charger]:
    async with rig.charger("CP1") as socket:
        charger = Charger("CP1", socket, 5, answers=answers)
        running = asyncio.create_task(charger.start())
        try:
            await charger.call(call.Heartbeat())
            rig.core.events.clear()
            yield charger
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


# ---- what a charger says --------------------------------------------------------------------------------------------

# action: the call, the event with what is to be seen in it, the reply when it is not the usual one, and the answer.
SAID: dict[str, tuple[Any, type, dict[str, Any], Any, Any]] = {
    "BootNotification": (  # TC_001_CSMS
        call.BootNotification(charge_point_vendor="Acme", charge_point_model="Wall", firmware_version="1.2"),
        events.StationBooted,
        {"vendor": "Acme", "model": "Wall", "firmware_version": "1.2"},
        None,
        call_result.BootNotification(current_time="2025-06-01T12:00:00.123Z", interval=300, status="Accepted"),
    ),
    "Heartbeat": (
        call.Heartbeat(),
        events.HeartbeatReceived,
        {},
        None,
        call_result.Heartbeat(current_time="2025-06-01T12:00:00.123Z"),
    ),
    "StatusNotification": (
        call.StatusNotification(connector_id=1, error_code="NoError", status="Preparing", timestamp=T),
        events.ConnectorStatusReported,
        {"evse": 1, "status": ConnectorStatus.PREPARING, "occurred_at": AT},
        None,
        call_result.StatusNotification(),
    ),
    "Authorize": (
        call.Authorize(id_tag="04A1"),
        events.IdTokenPresented,
        {"id_token": "04A1"},
        None,
        call_result.Authorize(id_tag_info={"status": "Accepted"}),
    ),
    "StartTransaction": (
        call.StartTransaction(connector_id=1, id_tag="04A1", meter_start=1000, timestamp=T, reservation_id=3),
        events.TransactionStarted,
        {"evse": 1, "id_token": "04A1", "meter_start_mwh": 1_000_000, "reservation_id": 3},
        None,
        call_result.StartTransaction(transaction_id=4711, id_tag_info={"status": "Accepted"}),
    ),
    "MeterValues": (
        call.MeterValues(connector_id=1, transaction_id=4711, meter_value=METER_VALUE),
        events.MeterSampled,
        {"evse": 1, "transaction_ref": "4711"},
        None,
        call_result.MeterValues(),
    ),
    "StopTransaction": (
        call.StopTransaction(meter_stop=2500, timestamp=T, transaction_id=4711, reason="Local"),
        events.TransactionEnded,
        {"transaction_ref": "4711", "meter_stop_mwh": 2_500_000, "reason": events.StopReason.LOCAL},
        None,
        call_result.StopTransaction(id_tag_info={"status": "Accepted"}),
    ),
    "DataTransfer": (  # TC_064_CSMS
        call.DataTransfer(vendor_id="Acme", message_id="m", data="d"),
        events.VendorDataReceived,
        {"vendor_id": "Acme", "message_id": "m", "data": "d"},
        events.VendorDataReply(status=events.VendorDataStatus.ACCEPTED, data="e"),
        call_result.DataTransfer(status="Accepted", data="e"),
    ),
    "FirmwareStatusNotification": (
        call.FirmwareStatusNotification(status="Installed"),
        events.FirmwareStatusReported,
        {"status": "Installed", "request_id": None},
        None,
        call_result.FirmwareStatusNotification(),
    ),
    "DiagnosticsStatusNotification": (
        call.DiagnosticsStatusNotification(status="Uploaded"),
        events.DiagnosticsStatusReported,
        {"status": "Uploaded"},
        None,
        call_result.DiagnosticsStatusNotification(),
    ),
    "SignedFirmwareStatusNotification": (
        call.SignedFirmwareStatusNotification(status="SignatureVerified", request_id=5),
        events.FirmwareStatusReported,
        {"status": "SignatureVerified", "request_id": 5},
        None,
        call_result.SignedFirmwareStatusNotification(),
    ),
    "LogStatusNotification": (
        call.LogStatusNotification(status="Uploaded", request_id=6),
        events.LogStatusReported,
        {"status": "Uploaded", "request_id": 6},
        None,
        call_result.LogStatusNotification(),
    ),
    "SecurityEventNotification": (  # TC_077_CSMS, TC_078_CSMS
        call.SecurityEventNotification(type="InvalidChargePointCertificate", timestamp=T, tech_info="expired"),
        events.SecurityEventReported,
        {"kind": "InvalidChargePointCertificate", "tech_info": "expired", "occurred_at": AT},
        None,
        call_result.SecurityEventNotification(),
    ),
    "SignCertificate": (
        call.SignCertificate(csr=CSR),
        events.CertificateRequested,
        {"csr": CSR},
        events.CertificateReply(True),
        call_result.SignCertificate(status="Accepted"),
    ),
}


@pytest.mark.parametrize("action", SAID)
async def test_every_message_of_a_charger_is_reported_and_answered(rig: Rig, action: str) -> None:  # C12, C13, A02
    request, kind, told, reply, answer = SAID[action]
    if reply is not None:
        rig.core.replies[kind] = reply
    async with charger_at(rig) as charger:
        assert await charger.call(request, suppress=False) == answer
    (event,) = rig.core.events
    assert type(event) is kind
    assert (event.station_id, event.ocpp_version, event.violations) == ("CP1", "1.6", ())
    assert {name: getattr(event, name) for name in told} == told


async def test_a_request_for_a_certificate_may_be_refused(rig: Rig) -> None:  # C13
    rig.core.replies[events.CertificateRequested] = events.CertificateReply(False)
    async with charger_at(rig) as charger:
        assert (await charger.call(call.SignCertificate(csr=CSR), suppress=False)).status == "Rejected"
    (row,) = rig.frames.having(direction="in", action="SignCertificate")
    assert json.loads(row.text)[3] == {"csr": CSR}  # no secret: it stays readable


# ---- what a charger is asked ----------------------------------------------------------------------------------------


def accepted(word: str = "Accepted") -> Answer:
    return Answer(outcome=Outcome.ACCEPTED, detail=word)


PROFILE = ChargingProfile(
    profile_id=8,
    stack_level=2,
    purpose=ProfilePurpose.TX_DEFAULT,
    kind=ProfileKind.RECURRING,
    recurrency=Recurrency.DAILY,
    valid_from=AT,
    valid_to=LATER,
    schedule=ChargingSchedule(
        unit=RateUnit.AMPERE,
        starts_at=AT,
        duration_s=86_400,
        min_rate=Decimal("6.0"),
        periods=(
            SchedulePeriod(start_s=0, limit=Decimal("16.1"), phases=3),
            SchedulePeriod(start_s=3600, limit=Decimal("9.99")),
        ),
    ),
)
PROFILE_ON_WIRE = {
    "chargingProfileId": 8,
    "stackLevel": 2,
    "chargingProfilePurpose": "TxDefaultProfile",
    "chargingProfileKind": "Recurring",
    "recurrencyKind": "Daily",
    "validFrom": T,
    "validTo": LATER_T,
    "chargingSchedule": {
        "chargingRateUnit": "A",
        "startSchedule": T,
        "duration": 86_400,
        "minChargingRate": 6,
        "chargingSchedulePeriod": [
            {"startPeriod": 0, "limit": 16.1, "numberPhases": 3},
            {"startPeriod": 3600, "limit": 9.9},
        ],
    },
}
TX_PROFILE = ChargingProfile(
    profile_id=9,
    stack_level=0,
    purpose=ProfilePurpose.TX,
    kind=ProfileKind.RELATIVE,
    schedule=ChargingSchedule(unit=RateUnit.WATT, periods=(SchedulePeriod(start_s=0, limit=Decimal(7400), phases=1),)),
    transaction_ref="4711",
)
TX_PROFILE_ON_WIRE = {
    "chargingProfileId": 9,
    "stackLevel": 0,
    "chargingProfilePurpose": "TxProfile",
    "chargingProfileKind": "Relative",
    "chargingSchedule": {
        "chargingRateUnit": "W",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 7400, "numberPhases": 1}],
    },
}
HASH = CertificateHash(
    algorithm=HashAlgorithm.SHA256, issuer_name_hash="aa11", issuer_key_hash="bb22", serial_number="3f"
)
HASH_ON_WIRE = {"hashAlgorithm": "SHA256", "issuerNameHash": "aa11", "issuerKeyHash": "bb22", "serialNumber": "3f"}

# action: (command, payload on the wire, the charger's answer, what we make of it), once for each way it may end.
ASKED: dict[str, list[tuple[Any, Any, Any, Answer]]] = {
    "RemoteStartTransaction": [
        (
            commands.StartRemotely(station_id="CP1", id_token="04A1", evse=1),
            {"idTag": "04A1", "connectorId": 1},
            call_result.RemoteStartTransaction(status="Rejected"),  # TC_026_CSMS
            Answer(outcome=Outcome.REJECTED, detail="Rejected"),
        ),
        (  # TC_010_CSMS, TC_011_1_CSMS
            commands.StartRemotely(station_id="CP1", id_token="04A1"),
            {"idTag": "04A1"},
            call_result.RemoteStartTransaction(status="Accepted"),
            accepted(),
        ),
        (  # TC_059_CSMS
            commands.StartRemotely(station_id="CP1", id_token="04A1", evse=1, profile=TX_PROFILE),
            {"idTag": "04A1", "connectorId": 1, "chargingProfile": TX_PROFILE_ON_WIRE},
            call_result.RemoteStartTransaction(status="Accepted"),
            accepted(),
        ),
    ],
    "RemoteStopTransaction": [
        (  # TC_012_CSMS
            commands.StopRemotely(station_id="CP1", transaction_ref="4711"),
            {"transactionId": 4711},
            call_result.RemoteStopTransaction(status="Accepted"),
            accepted(),
        ),
        (  # TC_028_CSMS
            commands.StopRemotely(station_id="CP1", transaction_ref="4712"),
            {"transactionId": 4712},
            call_result.RemoteStopTransaction(status="Rejected"),
            Answer(outcome=Outcome.REJECTED, detail="Rejected"),
        ),
    ],
    "Reset": [
        (  # TC_013_CSMS
            commands.ResetStation(station_id="CP1", kind=commands.ResetKind.HARD),
            {"type": "Hard"},
            call_result.Reset(status="Accepted"),
            accepted(),
        ),
        (  # TC_014_CSMS
            commands.ResetStation(station_id="CP1"),
            {"type": "Soft"},
            call_result.Reset(status="Accepted"),
            accepted(),
        ),
    ],
    "UnlockConnector": [
        (
            commands.UnlockConnector(station_id="CP1", evse=1),
            {"connectorId": 1},
            call_result.UnlockConnector(status=status),
            Answer(outcome=outcome, detail=status),
        )
        for status, outcome in (
            ("Unlocked", Outcome.ACCEPTED),  # TC_017_1_CSMS, TC_018_1_CSMS
            ("NotSupported", Outcome.NOT_SUPPORTED),  # TC_017_2_CSMS, TC_031_CSMS
            ("UnlockFailed", Outcome.REJECTED),  # TC_030_CSMS
        )
    ],
    "ChangeConfiguration": [
        (  # TC_040_1_CSMS
            commands.ChangeConfiguration(station_id="CP1", key="Dance", value="true"),
            {"key": "Dance", "value": "true"},
            call_result.ChangeConfiguration(status="NotSupported"),
            Answer(outcome=Outcome.NOT_SUPPORTED, detail="NotSupported"),
        ),
        (  # TC_040_2_CSMS
            commands.ChangeConfiguration(station_id="CP1", key="MeterValueSampleInterval", value="-1"),
            {"key": "MeterValueSampleInterval", "value": "-1"},
            call_result.ChangeConfiguration(status="Rejected"),
            Answer(outcome=Outcome.REJECTED, detail="Rejected"),
        ),
        (  # TC_021_CSMS
            commands.ChangeConfiguration(station_id="CP1", key="HeartbeatInterval", value="300"),
            {"key": "HeartbeatInterval", "value": "300"},
            call_result.ChangeConfiguration(status="RebootRequired"),
            Answer(outcome=Outcome.REBOOT_REQUIRED, detail="RebootRequired"),
        ),
    ],
    "GetConfiguration": [
        (  # TC_019_1_CSMS
            commands.GetConfiguration(station_id="CP1"),
            {},
            call_result.GetConfiguration(
                configuration_key=[{"key": "HeartbeatInterval", "readonly": False, "value": "300"}]
            ),
            ConfigurationAnswer(
                outcome=Outcome.ACCEPTED, settings=(ConfigurationSetting(key="HeartbeatInterval", value="300"),)
            ),
        ),
        (  # TC_019_2_CSMS
            commands.GetConfiguration(station_id="CP1", keys=("HeartbeatInterval", "Dance")),
            {"key": ["HeartbeatInterval", "Dance"]},
            call_result.GetConfiguration(
                configuration_key=[{"key": "HeartbeatInterval", "readonly": True, "value": "300"}],
                unknown_key=["Dance"],
            ),
            ConfigurationAnswer(
                outcome=Outcome.ACCEPTED,
                settings=(ConfigurationSetting(key="HeartbeatInterval", value="300", readonly=True),),
                unknown=("Dance",),
            ),
        ),
    ],
    "ChangeAvailability": [
        (
            commands.ChangeAvailability(station_id="CP1", evse=0, operative=False),
            {"connectorId": 0, "type": "Inoperative"},
            call_result.ChangeAvailability(status="Scheduled"),
            Answer(outcome=Outcome.SCHEDULED, detail="Scheduled"),
        ),
    ],
    "TriggerMessage": [
        (  # TC_054_CSMS
            commands.TriggerMessage(station_id="CP1", kind=TriggerKind.DIAGNOSTICS_STATUS),
            {"requestedMessage": "DiagnosticsStatusNotification"},
            call_result.TriggerMessage(status="Accepted"),
            accepted(),
        ),
        (  # TC_055_CSMS
            commands.TriggerMessage(station_id="CP1", kind=TriggerKind.METER_VALUES, evse=1),
            {"requestedMessage": "MeterValues", "connectorId": 1},
            call_result.TriggerMessage(status="Rejected"),
            Answer(outcome=Outcome.REJECTED, detail="Rejected"),
        ),
    ],
    "ClearCache": [
        (  # TC_061_CSMS
            commands.ClearCache(station_id="CP1"),
            {},
            call_result.ClearCache(status="Accepted"),
            accepted(),
        ),
    ],
    "DataTransfer": [
        (
            commands.SendVendorData(station_id="CP1", vendor_id="Acme", message_id="m", data="d"),
            {"vendorId": "Acme", "messageId": "m", "data": "d"},
            call_result.DataTransfer(status="Accepted", data="e"),
            VendorDataAnswer(outcome=Outcome.ACCEPTED, detail="Accepted", data="e"),
        ),
        (
            commands.SendVendorData(station_id="CP1", vendor_id="Acme"),
            {"vendorId": "Acme"},
            call_result.DataTransfer(status="UnknownVendorId"),
            VendorDataAnswer(outcome=Outcome.NOT_SUPPORTED, detail="UnknownVendorId"),
        ),
    ],
    "ReserveNow": [
        (
            commands.ReserveEvse(
                station_id="CP1",
                reservation_id=7,
                evse=1,
                id_token="04A1",
                expires_at=LATER,
                group_id=group_id,
            ),
            {"connectorId": 1, "expiryDate": LATER_T, "idTag": "04A1", "reservationId": 7, **parent},
            call_result.ReserveNow(status=status),
            Answer(outcome=outcome, detail=status),
        )
        for status, outcome, group_id, parent in (
            ("Accepted", Outcome.ACCEPTED, "FLEET", {"parentIdTag": "FLEET"}),  # TC_053_CSMS
            ("Accepted", Outcome.ACCEPTED, None, {}),  # TC_046_CSMS
            ("Faulted", Outcome.INOPERATIVE, None, {}),  # TC_048_1_CSMS
            ("Occupied", Outcome.OCCUPIED, None, {}),  # TC_048_2_CSMS
            ("Unavailable", Outcome.INOPERATIVE, None, {}),  # TC_048_3_CSMS
            ("Rejected", Outcome.REJECTED, None, {}),  # TC_048_4_CSMS
        )
    ],
    "CancelReservation": [
        (
            commands.CancelReservation(station_id="CP1", reservation_id=7),
            {"reservationId": 7},
            call_result.CancelReservation(status=status),
            Answer(outcome=outcome, detail=status),
        )
        for status, outcome in (
            ("Accepted", Outcome.ACCEPTED),  # TC_051_CSMS
            ("Rejected", Outcome.REJECTED),  # TC_052_CSMS
        )
    ],
    "GetLocalListVersion": [
        (
            commands.GetLocalListVersion(station_id="CP1"),
            {},
            call_result.GetLocalListVersion(list_version=version),
            ListVersionAnswer(outcome=Outcome.ACCEPTED, detail=str(version), version=version),
        )
        for version in (
            -1,  # TC_042_1_CSMS
            0,  # TC_042_2_CSMS
            12,
        )
    ],
    "SendLocalList": [
        (
            commands.SendLocalList(
                station_id="CP1",
                version=12,
                full=False,
                entries=(
                    ListedToken(id_token="GONE"),
                    ListedToken(
                        id_token="04A1",
                        authorization=AuthorizationReply(
                            status=AuthorizationStatus.ACCEPTED, expires_at=LATER, group_id="FLEET"
                        ),
                    ),
                ),
            ),
            {
                "listVersion": 12,
                "updateType": "Differential",
                "localAuthorizationList": [
                    {"idTag": "GONE"},
                    {
                        "idTag": "04A1",
                        "idTagInfo": {"status": "Accepted", "expiryDate": LATER_T, "parentIdTag": "FLEET"},
                    },
                ],
            },
            call_result.SendLocalList(status=status),
            Answer(outcome=outcome, detail=status),
        )
        for status, outcome in (
            ("Accepted", Outcome.ACCEPTED),
            ("NotSupported", Outcome.NOT_SUPPORTED),  # TC_043_1_CSMS
            ("Failed", Outcome.REJECTED),  # TC_043_3_CSMS
            ("VersionMismatch", Outcome.VERSION_MISMATCH),
        )
    ]
    + [
        (
            commands.SendLocalList(station_id="CP1", version=13, full=True),
            {"listVersion": 13, "updateType": "Full"},
            call_result.SendLocalList(status="Accepted"),
            accepted(),
        )
    ],
    "SetChargingProfile": [
        (  # TC_056_CSMS
            commands.SetChargingProfile(station_id="CP1", evse=1, profile=PROFILE),
            {"connectorId": 1, "csChargingProfiles": PROFILE_ON_WIRE},
            call_result.SetChargingProfile(status="Accepted"),
            accepted(),
        ),
        (  # TC_057_CSMS
            commands.SetChargingProfile(station_id="CP1", evse=1, profile=TX_PROFILE),
            {"connectorId": 1, "csChargingProfiles": TX_PROFILE_ON_WIRE | {"transactionId": 4711}},
            call_result.SetChargingProfile(status="NotSupported"),
            Answer(outcome=Outcome.NOT_SUPPORTED, detail="NotSupported"),
        ),
    ],
    "ClearChargingProfile": [  # TC_067_CSMS
        (
            commands.ClearChargingProfile(station_id="CP1", profile_id=8),
            {"id": 8},
            call_result.ClearChargingProfile(status="Accepted"),
            accepted(),
        ),
        (
            commands.ClearChargingProfile(station_id="CP1", evse=0, purpose=ProfilePurpose.STATION_MAX, stack_level=2),
            {"connectorId": 0, "chargingProfilePurpose": "ChargePointMaxProfile", "stackLevel": 2},
            call_result.ClearChargingProfile(status="Unknown"),
            Answer(outcome=Outcome.NOT_FOUND, detail="Unknown"),
        ),
        (
            commands.ClearChargingProfile(station_id="CP1"),
            {},
            call_result.ClearChargingProfile(status="Accepted"),
            accepted(),
        ),
    ],
    "GetCompositeSchedule": [
        (  # TC_066_CSMS
            commands.GetCompositeSchedule(station_id="CP1", evse=1, duration_s=3600, unit=RateUnit.AMPERE),
            {"connectorId": 1, "duration": 3600, "chargingRateUnit": "A"},
            call_result.GetCompositeSchedule(
                status="Accepted",
                connector_id=1,
                schedule_start=T,
                charging_schedule={
                    "charging_rate_unit": "A",
                    "duration": 3600,
                    "charging_schedule_period": [{"start_period": 0, "limit": 16.1, "number_phases": 3}],
                },
            ),
            ScheduleAnswer(
                outcome=Outcome.ACCEPTED,
                detail="Accepted",
                evse=1,
                starts_at=AT,
                schedule=ChargingSchedule(
                    unit=RateUnit.AMPERE,
                    duration_s=3600,
                    periods=(SchedulePeriod(start_s=0, limit=Decimal("16.1"), phases=3),),
                ),
            ),
        ),
        (
            commands.GetCompositeSchedule(station_id="CP1", evse=0, duration_s=60),
            {"connectorId": 0, "duration": 60},
            call_result.GetCompositeSchedule(status="Rejected"),
            ScheduleAnswer(outcome=Outcome.REJECTED, detail="Rejected"),
        ),
    ],
    "UpdateFirmware": [
        (  # TC_044_1_CSMS
            commands.UpdateFirmware(station_id="CP1", url=URL, retrieve_at=AT, retries=2, retry_interval_s=60),
            {"location": URL, "retrieveDate": T, "retries": 2, "retryInterval": 60},
            call_result.UpdateFirmware(),
            Answer(outcome=Outcome.ACCEPTED),
        ),
    ],
    "GetDiagnostics": [
        (  # TC_045_1_CSMS
            commands.GetDiagnostics(station_id="CP1", url=URL, since=AT, until=LATER, retries=1, retry_interval_s=9),
            {"location": URL, "startTime": T, "stopTime": LATER_T, "retries": 1, "retryInterval": 9},
            call_result.GetDiagnostics(file_name="cp1.log"),
            UploadAnswer(outcome=Outcome.ACCEPTED, filename="cp1.log"),
        ),
        (
            commands.GetDiagnostics(station_id="CP1", url=URL),
            {"location": URL},
            call_result.GetDiagnostics(),
            UploadAnswer(outcome=Outcome.ACCEPTED),
        ),
    ],
    "ExtendedTriggerMessage": [
        (  # TC_074_CSMS
            commands.ExtendedTriggerMessage(station_id="CP1", kind=TriggerKind.SIGN_CERTIFICATE),
            {"requestedMessage": "SignChargePointCertificate"},
            call_result.ExtendedTriggerMessage(status="Accepted"),
            accepted(),
        ),
        (
            commands.ExtendedTriggerMessage(station_id="CP1", kind=TriggerKind.LOG_STATUS, evse=0),
            {"requestedMessage": "LogStatusNotification", "connectorId": 0},
            call_result.ExtendedTriggerMessage(status="NotImplemented"),
            Answer(outcome=Outcome.NOT_SUPPORTED, detail="NotImplemented"),
        ),
    ],
    "SignedUpdateFirmware": [
        (
            commands.UpdateFirmwareSigned(
                station_id="CP1",
                request_id=5,
                url=URL,
                retrieve_at=AT,
                install_at=LATER,
                certificate=PEM,
                signature="c2ln",
                retries=1,
                retry_interval_s=9,
            ),
            {
                "requestId": 5,
                "retries": 1,
                "retryInterval": 9,
                "firmware": {
                    "location": URL,
                    "retrieveDateTime": T,
                    "installDateTime": LATER_T,
                    "signingCertificate": PEM,
                    "signature": "c2ln",
                },
            },
            call_result.SignedUpdateFirmware(status=status),
            Answer(outcome=outcome, detail=status),
        )
        for status, outcome in (
            ("Accepted", Outcome.ACCEPTED),  # TC_080_CSMS
            ("AcceptedCanceled", Outcome.ACCEPTED),
            ("InvalidCertificate", Outcome.REJECTED),
            ("RevokedCertificate", Outcome.REJECTED),
        )
    ],
    "GetLog": [
        (  # TC_079_CSMS
            commands.GetLog(
                station_id="CP1", request_id=6, kind=LogKind.SECURITY, url=URL, since=AT, until=LATER, retries=1
            ),
            {
                "logType": "SecurityLog",
                "requestId": 6,
                "retries": 1,
                "log": {"remoteLocation": URL, "oldestTimestamp": T, "latestTimestamp": LATER_T},
            },
            call_result.GetLog(status="AcceptedCanceled", filename="security.log"),
            UploadAnswer(outcome=Outcome.ACCEPTED, detail="AcceptedCanceled", filename="security.log"),
        ),
        (
            commands.GetLog(station_id="CP1", request_id=6, kind=LogKind.DIAGNOSTICS, url=URL),
            {"logType": "DiagnosticsLog", "requestId": 6, "log": {"remoteLocation": URL}},
            call_result.GetLog(status="Rejected"),
            UploadAnswer(outcome=Outcome.REJECTED, detail="Rejected"),
        ),
    ],
    "InstallCertificate": [
        (  # TC_075_1_CSMS
            commands.InstallCertificate(station_id="CP1", use=CertificateUse.MANUFACTURER_ROOT, certificate=PEM),
            {"certificateType": "ManufacturerRootCertificate", "certificate": PEM},
            call_result.InstallCertificate(status="Accepted"),
            accepted(),
        ),
        (  # TC_075_2_CSMS
            commands.InstallCertificate(station_id="CP1", use=CertificateUse.CENTRAL_SYSTEM_ROOT, certificate=PEM),
            {"certificateType": "CentralSystemRootCertificate", "certificate": PEM},
            call_result.InstallCertificate(status="Failed"),
            Answer(outcome=Outcome.REJECTED, detail="Failed"),
        ),
    ],
    "DeleteCertificate": [
        (
            commands.DeleteCertificate(station_id="CP1", certificate=HASH),
            {"certificateHashData": HASH_ON_WIRE},
            call_result.DeleteCertificate(status=status),
            Answer(outcome=outcome, detail=status),
        )
        for status, outcome in (
            ("Accepted", Outcome.ACCEPTED),  # TC_076_CSMS
            ("NotFound", Outcome.NOT_FOUND),
            ("Failed", Outcome.REJECTED),
        )
    ],
    "GetInstalledCertificateIds": [
        (
            commands.GetInstalledCertificates(station_id="CP1", use=CertificateUse.MANUFACTURER_ROOT),
            {"certificateType": "ManufacturerRootCertificate"},
            call_result.GetInstalledCertificateIds(
                status="Accepted",
                certificate_hash_data=[
                    {
                        "hash_algorithm": "SHA256",
                        "issuer_name_hash": "aa11",
                        "issuer_key_hash": "bb22",
                        "serial_number": "3f",
                    }
                ],
            ),
            CertificatesAnswer(outcome=Outcome.ACCEPTED, detail="Accepted", certificates=(HASH,)),
        ),
        (
            commands.GetInstalledCertificates(station_id="CP1", use=CertificateUse.CENTRAL_SYSTEM_ROOT),
            {"certificateType": "CentralSystemRootCertificate"},
            call_result.GetInstalledCertificateIds(status="NotFound"),
            CertificatesAnswer(outcome=Outcome.NOT_FOUND, detail="NotFound"),
        ),
    ],
    "CertificateSigned": [
        (  # TC_074_CSMS
            commands.SendCertificate(station_id="CP1", chain=PEM + PEM),
            {"certificateChain": PEM + PEM},
            call_result.CertificateSigned(status="Accepted"),
            accepted(),
        ),
    ],
}


@pytest.mark.parametrize(
    ("action", "command", "payload", "conf", "answer"),
    [
        pytest.param(action, *row, id=f"{action}-{number}")
        for action, rows in ASKED.items()
        for number, row in enumerate(rows)
    ],
)
async def test_every_message_to_a_charger_is_understood_and_its_answer_read(
    rig: Rig, action: str, command: Any, payload: Any, conf: Any, answer: Answer
) -> None:  # C12, C13, A02, G01
    async with charger_at(rig, **{action: conf}) as charger:
        assert await rig.connections.send(command, timeout_s=30) == answer
        assert charger.asked == [(action, payload)]
    (out,) = rig.frames.having(direction="out", message_type="call", action=action)
    (back,) = rig.frames.having(direction="in", message_type="result", action=action)
    assert out.message_id == back.message_id
    assert "s3cr3t" not in out.text  # a signed address is nobody's to read


@pytest.mark.parametrize("action", ASKED)
async def test_a_charger_that_does_not_know_a_message_is_quoted(rig: Rig, action: str) -> None:
    """The package's ChargePoint answers NotImplemented to an action without a handler."""
    command = ASKED[action][0][0]
    async with rig.charger("CP1") as socket:
        charger = ChargePoint("CP1", socket, 5)
        running = asyncio.create_task(charger.start())
        await charger.call(call.Heartbeat())
        answer = await rig.connections.send(command, timeout_s=30)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert answer.outcome is Outcome.NOT_SUPPORTED
    assert type(answer) is type(ASKED[action][0][3])


for _action in ASKED:
    setattr(Charger, f"on_{_action}", _answering(_action))
