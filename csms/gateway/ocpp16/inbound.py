"""What an OCPP 1.6 charger may tell us: one row per action, with its fields, the event it becomes and the answer it gets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from csms import clock
from csms.events import (
    CertificateRequested,
    ConnectorStatus,
    ConnectorStatusReported,
    DiagnosticsStatusReported,
    Event,
    FirmwareStatusReported,
    HeartbeatReceived,
    IdTokenPresented,
    LogStatusReported,
    MeterSample,
    MeterSampled,
    SampledValue,
    SecurityEventReported,
    StationBooted,
    StopReason,
    TransactionEnded,
    TransactionStarted,
    VendorDataReceived,
)
from csms.gateway.frames import ErrorCode, Json
from csms.gateway.ocpp16 import answers
from csms.gateway.ocpp16.salvage import Coerce, any_text, long_text, meter_values, number, text, whole
from csms.gateway.translator import CallRefused

VERSION: Final = "1.6"

STATUS = {
    "Available": ConnectorStatus.AVAILABLE,
    "Preparing": ConnectorStatus.PREPARING,
    "Charging": ConnectorStatus.CHARGING,
    "SuspendedEV": ConnectorStatus.SUSPENDED_EV,
    "SuspendedEVSE": ConnectorStatus.SUSPENDED_EVSE,
    "Finishing": ConnectorStatus.FINISHING,
    "Reserved": ConnectorStatus.RESERVED,
    "Unavailable": ConnectorStatus.UNAVAILABLE,
    "Faulted": ConnectorStatus.FAULTED,
}
REASON = {
    "Local": StopReason.LOCAL,
    "Remote": StopReason.REMOTE,
    "EVDisconnected": StopReason.EV_DISCONNECTED,
    "PowerLoss": StopReason.POWER_LOSS,
    "EmergencyStop": StopReason.EMERGENCY_STOP,
    "Reboot": StopReason.REBOOT,
    "HardReset": StopReason.HARD_RESET,
    "SoftReset": StopReason.SOFT_RESET,
    "DeAuthorized": StopReason.DEAUTHORIZED,
    "UnlockCommand": StopReason.UNLOCK_COMMAND,
    "Other": StopReason.OTHER,
}
_STATUS_IN_ANY_CASE = {word.casefold(): status for word, status in STATUS.items()}
_REASON_IN_ANY_CASE = {word.casefold(): reason for word, reason in REASON.items()}

HIGHEST_EVSE = 10_000
HIGHEST_NUMBER = 2**31 - 1  # what we number is numbered from 1 to this
HIGHEST_WH = 10**12  # a petawatt-hour; more is nonsense and would overflow a column of mWh


class Source(msgspec.Struct):
    """Where a payload came from. What `note` is told becomes the event's `violations`."""

    station_id: str
    received_at: datetime
    notes: list[str]

    def note(self, violation: str) -> None:
        self.notes.append(violation)


@dataclass(frozen=True)
class Inbound:
    """`fields` says how each field is read when the payload breaks its schema; `event` then finds what was unreadable
    missing. `of_transaction`: such a message is never refused."""

    fields: Mapping[str, Coerce]
    event: Callable[[dict[str, Json], Source], Event[Any]]
    reply: Callable[[Any], Json]
    of_transaction: bool = False


# ---- events ---------------------------------------------------------------------------------------------------------


def boot_notification(payload: dict[str, Json], source: Source) -> StationBooted:
    return StationBooted(
        station_id=source.station_id,
        ocpp_version=VERSION,
        received_at=source.received_at,
        vendor=payload.get("chargePointVendor", ""),
        model=payload.get("chargePointModel", ""),
        serial_number=payload.get("chargePointSerialNumber") or payload.get("chargeBoxSerialNumber") or None,
        firmware_version=payload.get("firmwareVersion"),
        iccid=payload.get("iccid"),
        imsi=payload.get("imsi"),
        meter_type=payload.get("meterType"),
        meter_serial_number=payload.get("meterSerialNumber"),
    )


def heartbeat(_payload: dict[str, Json], source: Source) -> HeartbeatReceived:
    return HeartbeatReceived(station_id=source.station_id, ocpp_version=VERSION, received_at=source.received_at)


def status_notification(payload: dict[str, Json], source: Source) -> ConnectorStatusReported:
    word = payload.get("status", "")
    status = STATUS.get(word) or _STATUS_IN_ANY_CASE.get(word.casefold())
    connector_id = payload.get("connectorId")
    if status is None or connector_id is None or not 0 <= connector_id <= HIGHEST_EVSE:
        raise CallRefused(ErrorCode.PROPERTY_CONSTRAINT_VIOLATION, "status or connectorId is not one of OCPP 1.6")
    return ConnectorStatusReported(
        station_id=source.station_id,
        ocpp_version=VERSION,
        received_at=source.received_at,
        occurred_at=_time(payload, source, "timestamp") if "timestamp" in payload else None,
        evse=int(connector_id),
        status=status,
        error_code=payload.get("errorCode", "NoError"),
        vendor_error_code=payload.get("vendorErrorCode"),
        vendor_id=payload.get("vendorId"),
        info=payload.get("info"),
    )


def authorize(payload: dict[str, Json], source: Source) -> IdTokenPresented:
    if "idTag" not in payload:
        raise CallRefused(ErrorCode.PROTOCOL_ERROR, "idTag is missing or no text")
    return IdTokenPresented(
        station_id=source.station_id, ocpp_version=VERSION, received_at=source.received_at, id_token=payload["idTag"]
    )


def start_transaction(payload: dict[str, Json], source: Source) -> TransactionStarted:
    return TransactionStarted(
        station_id=source.station_id,
        ocpp_version=VERSION,
        received_at=source.received_at,
        occurred_at=_time(payload, source, "timestamp"),
        evse=_evse(payload, source),
        id_token=payload.get("idTag", ""),
        meter_start_mwh=_mwh(payload, source, "meterStart"),
        reservation_id=_reservation(payload, source),
    )


def meter_values_event(payload: dict[str, Json], source: Source) -> MeterSampled:
    samples = _samples(payload.get("meterValue", ()), source, "meterValue")
    transaction_id = payload.get("transactionId")
    return MeterSampled(
        station_id=source.station_id,
        ocpp_version=VERSION,
        received_at=source.received_at,
        occurred_at=samples[0].occurred_at if samples else None,
        evse=_evse(payload, source),
        transaction_ref=None if transaction_id is None else text(transaction_id),
        samples=samples,
    )


def stop_transaction(payload: dict[str, Json], source: Source) -> TransactionEnded:
    word = payload.get("reason")
    reason = StopReason.MISSING
    if word is not None:
        reason = REASON.get(word) or _REASON_IN_ANY_CASE.get(word.casefold()) or StopReason.UNREADABLE
    return TransactionEnded(
        station_id=source.station_id,
        ocpp_version=VERSION,
        received_at=source.received_at,
        occurred_at=_time(payload, source, "timestamp"),
        # -1 is what chargers send that lost the id themselves (X04).
        transaction_ref=text(payload.get("transactionId", -1)) or "-1",
        meter_stop_mwh=_mwh(payload, source, "meterStop"),
        id_token=payload.get("idTag"),
        reason=reason,
        reason_raw=word,
        samples=_samples(payload.get("transactionData", ()), source, "transactionData"),
    )


def data_transfer(payload: dict[str, Json], source: Source) -> VendorDataReceived:
    return VendorDataReceived(
        station_id=source.station_id,
        ocpp_version=VERSION,
        received_at=source.received_at,
        vendor_id=payload.get("vendorId", ""),
        message_id=payload.get("messageId"),
        data=payload.get("data"),
    )


def firmware_status_notification(payload: dict[str, Json], source: Source) -> FirmwareStatusReported:
    return FirmwareStatusReported(
        station_id=source.station_id, ocpp_version=VERSION, received_at=source.received_at, status=_word(payload)
    )


def diagnostics_status_notification(payload: dict[str, Json], source: Source) -> DiagnosticsStatusReported:
    return DiagnosticsStatusReported(
        station_id=source.station_id, ocpp_version=VERSION, received_at=source.received_at, status=_word(payload)
    )


# ---- events of the security extension -------------------------------------------------------------------------------


def signed_firmware_status_notification(payload: dict[str, Json], source: Source) -> FirmwareStatusReported:
    return FirmwareStatusReported(
        station_id=source.station_id,
        ocpp_version=VERSION,
        received_at=source.received_at,
        status=_word(payload),
        request_id=payload.get("requestId"),
    )


def log_status_notification(payload: dict[str, Json], source: Source) -> LogStatusReported:
    return LogStatusReported(
        station_id=source.station_id,
        ocpp_version=VERSION,
        received_at=source.received_at,
        status=_word(payload),
        request_id=payload.get("requestId"),
    )


def security_event_notification(payload: dict[str, Json], source: Source) -> SecurityEventReported:
    if "type" not in payload:
        raise CallRefused(ErrorCode.PROTOCOL_ERROR, "type is missing or no text")
    return SecurityEventReported(
        station_id=source.station_id,
        ocpp_version=VERSION,
        received_at=source.received_at,
        occurred_at=_time(payload, source, "timestamp"),
        kind=payload["type"],
        tech_info=payload.get("techInfo"),
    )


def sign_certificate(payload: dict[str, Json], source: Source) -> CertificateRequested:
    if "csr" not in payload:
        raise CallRefused(ErrorCode.PROTOCOL_ERROR, "csr is missing or no text")
    return CertificateRequested(
        station_id=source.station_id, ocpp_version=VERSION, received_at=source.received_at, csr=payload["csr"]
    )


# ---- the table ------------------------------------------------------------------------------------------------------

INBOUND: Final[Mapping[str, Inbound]] = {
    "BootNotification": Inbound(
        {
            "chargePointVendor": text,
            "chargePointModel": text,
            "chargePointSerialNumber": text,
            "chargeBoxSerialNumber": text,
            "firmwareVersion": text,
            "iccid": text,
            "imsi": text,
            "meterType": text,
            "meterSerialNumber": text,
        },
        boot_notification,
        answers.boot_conf,
    ),
    "Heartbeat": Inbound({}, heartbeat, answers.heartbeat_conf),
    "StatusNotification": Inbound(
        {
            "connectorId": whole,
            "status": text,
            "errorCode": text,
            "info": text,
            "timestamp": text,
            "vendorId": text,
            "vendorErrorCode": text,
        },
        status_notification,
        answers.empty_conf,
    ),
    "Authorize": Inbound({"idTag": text}, authorize, answers.authorize_conf),
    "StartTransaction": Inbound(
        {"connectorId": whole, "idTag": text, "meterStart": number, "timestamp": text, "reservationId": whole},
        start_transaction,
        answers.start_conf,
        of_transaction=True,
    ),
    "MeterValues": Inbound(
        {"connectorId": whole, "transactionId": text, "meterValue": meter_values},
        meter_values_event,
        answers.empty_conf,
        of_transaction=True,
    ),
    "StopTransaction": Inbound(
        {
            "transactionId": text,
            "meterStop": number,
            "timestamp": text,
            "idTag": text,
            "reason": text,
            "transactionData": meter_values,
        },
        stop_transaction,
        answers.stop_conf,
        of_transaction=True,
    ),
    "DataTransfer": Inbound(
        {"vendorId": text, "messageId": text, "data": any_text}, data_transfer, answers.data_transfer_conf
    ),
    "FirmwareStatusNotification": Inbound({"status": text}, firmware_status_notification, answers.empty_conf),
    "DiagnosticsStatusNotification": Inbound({"status": text}, diagnostics_status_notification, answers.empty_conf),
    # Improved security for OCPP 1.6-J
    "SignedFirmwareStatusNotification": Inbound(
        {"status": text, "requestId": whole}, signed_firmware_status_notification, answers.empty_conf
    ),
    "LogStatusNotification": Inbound({"status": text, "requestId": whole}, log_status_notification, answers.empty_conf),
    "SecurityEventNotification": Inbound(
        {"type": text, "timestamp": text, "techInfo": text}, security_event_notification, answers.empty_conf
    ),
    "SignCertificate": Inbound({"csr": long_text}, sign_certificate, answers.sign_certificate_conf),
}


# ---- fields ---------------------------------------------------------------------------------------------------------


class _MeterValue(msgspec.Struct, rename={"values": "sampledValue"}):
    timestamp: str | None = None
    values: tuple[SampledValue, ...] = ()


_MeterValues = tuple[_MeterValue, ...]


def _samples(rows: Json, source: Source, field: str) -> tuple[MeterSample, ...]:
    # One conversion in C for all readings: 1.6 names their fields as we do.
    read: _MeterValues = msgspec.convert(rows, _MeterValues)
    samples = []
    for row in read:
        occurred_at = clock.read(row.timestamp)
        if occurred_at is None:
            source.note(f"{field}.timestamp:unreadable")
        samples.append(MeterSample(occurred_at=occurred_at, values=row.values))
    return tuple(samples)


def _time(payload: dict[str, Json], source: Source, field: str) -> datetime | None:
    moment = clock.read(payload.get(field))
    if moment is None:
        source.note(f"{field}:unreadable")
    return moment


def _evse(payload: dict[str, Json], source: Source) -> int:
    connector_id = payload.get("connectorId")
    if connector_id is not None and 0 <= connector_id <= HIGHEST_EVSE:
        return int(connector_id)
    source.note("connectorId:unreadable")
    return 0


def _reservation(payload: dict[str, Json], source: Source) -> int | None:
    """None for one that cannot be ours: no start is refused for it."""
    number = payload.get("reservationId")
    if number is None or 0 < number <= HIGHEST_NUMBER:
        return None if number is None else int(number)
    source.note("reservationId:unreadable")
    return None


def _mwh(payload: dict[str, Json], source: Source, field: str) -> int | None:
    wh: int | float | None = payload.get(field)
    if wh is not None and 0 <= wh <= HIGHEST_WH:
        return round(wh * 1000)
    source.note(f"{field}:unreadable")
    return None


def _word(payload: dict[str, Json]) -> str:
    if "status" not in payload:
        raise CallRefused(ErrorCode.PROTOCOL_ERROR, "status is missing or no text")
    status: str = payload["status"]
    return status
