"""Transactions, connectors, configuration and vendor data: what OCPP 1.6 says to run a charger from afar."""

import msgspec

from csms.commands import (
    ChangeAvailability,
    ChangeConfiguration,
    ClearCache,
    ConfigurationAnswer,
    ConfigurationSetting,
    ExtendedTriggerMessage,
    GetConfiguration,
    Outcome,
    ResetKind,
    ResetStation,
    SendVendorData,
    StartRemotely,
    StopRemotely,
    TriggerKind,
    TriggerMessage,
    UnlockConnector,
    VendorDataAnswer,
)
from csms.gateway.frames import Json
from csms.gateway.ocpp16.outcomes import VENDOR_DATA, status_of
from csms.gateway.ocpp16.profiles import profile_payload
from csms.gateway.ocpp16.salvage import any_text, text

RESET = {ResetKind.SOFT: "Soft", ResetKind.HARD: "Hard"}
TRIGGER = {
    TriggerKind.BOOT: "BootNotification",
    TriggerKind.HEARTBEAT: "Heartbeat",
    TriggerKind.STATUS: "StatusNotification",
    TriggerKind.METER_VALUES: "MeterValues",
    TriggerKind.FIRMWARE_STATUS: "FirmwareStatusNotification",
    TriggerKind.DIAGNOSTICS_STATUS: "DiagnosticsStatusNotification",
}
EXTENDED_TRIGGER = {
    TriggerKind.BOOT: "BootNotification",
    TriggerKind.HEARTBEAT: "Heartbeat",
    TriggerKind.STATUS: "StatusNotification",
    TriggerKind.METER_VALUES: "MeterValues",
    TriggerKind.FIRMWARE_STATUS: "FirmwareStatusNotification",
    TriggerKind.LOG_STATUS: "LogStatusNotification",
    TriggerKind.SIGN_CERTIFICATE: "SignChargePointCertificate",
}

MOST_SETTINGS = 2000  # the longest list in the field has some hundred


def start_remotely(command: StartRemotely) -> dict[str, Json]:
    payload: dict[str, Json] = {"idTag": command.id_token}
    if command.evse is not None:
        payload["connectorId"] = command.evse
    if command.profile is not None:
        # OCPP 1.6 section 5.11: only a TxProfile, and the transaction has no id yet.
        payload["chargingProfile"] = profile_payload(msgspec.structs.replace(command.profile, transaction_ref=None))
    return payload


def stop_remotely(command: StopRemotely) -> dict[str, Json]:
    return {"transactionId": int(command.transaction_ref)}


def reset_station(command: ResetStation) -> dict[str, Json]:
    return {"type": RESET[command.kind]}


def unlock_connector(command: UnlockConnector) -> dict[str, Json]:
    return {"connectorId": command.evse}


def clear_cache(_command: ClearCache) -> dict[str, Json]:
    return {}


def change_configuration(command: ChangeConfiguration) -> dict[str, Json]:
    return {"key": command.key, "value": command.value}


def get_configuration(command: GetConfiguration) -> dict[str, Json]:
    return {"key": list(command.keys)} if command.keys else {}


def change_availability(command: ChangeAvailability) -> dict[str, Json]:
    return {"connectorId": command.evse, "type": "Operative" if command.operative else "Inoperative"}


def trigger_message(command: TriggerMessage) -> dict[str, Json]:
    return _trigger(TRIGGER, command)


def extended_trigger_message(command: ExtendedTriggerMessage) -> dict[str, Json]:
    return _trigger(EXTENDED_TRIGGER, command)


def send_vendor_data(command: SendVendorData) -> dict[str, Json]:
    payload: dict[str, Json] = {"vendorId": command.vendor_id}
    if command.message_id is not None:
        payload["messageId"] = command.message_id
    if command.data is not None:
        payload["data"] = command.data
    return payload


def configuration(payload: Json) -> ConfigurationAnswer:
    """Values that came as numbers or booleans are read as their text (X05); of more than MOST_SETTINGS the first."""
    if not isinstance(payload, dict):
        return ConfigurationAnswer(outcome=Outcome.FAILED, detail="answer is no object")
    rows = payload.get("configurationKey")
    unknown = payload.get("unknownKey")
    settings = tuple(
        ConfigurationSetting(key=key, value=text(row.get("value")), readonly=row.get("readonly") is True)
        for row in (rows[:MOST_SETTINGS] if isinstance(rows, list) else ())
        if isinstance(row, dict) and (key := text(row.get("key"))) is not None
    )
    named = unknown[:MOST_SETTINGS] if isinstance(unknown, list) else ()
    names = tuple(name for name in map(text, named) if name is not None)
    cut = (
        f"only the first {MOST_SETTINGS} of {len(rows)}" if isinstance(rows, list) and len(rows) > MOST_SETTINGS else ""
    )
    return ConfigurationAnswer(outcome=Outcome.ACCEPTED, detail=cut, settings=settings, unknown=names)


def vendor_data(payload: Json) -> VendorDataAnswer:
    """Data that came as an object is its JSON text, as it is when a charger says it by itself."""
    answer = status_of(payload, VENDOR_DATA, VendorDataAnswer)
    data = payload.get("data") if isinstance(payload, dict) else None
    return answer if data is None else msgspec.structs.replace(answer, data=any_text(data))


def _trigger(known: dict[TriggerKind, str], command: TriggerMessage | ExtendedTriggerMessage) -> dict[str, Json]:
    if command.kind not in known:
        raise ValueError(f"{type(command).__name__} of {command.kind}")
    payload: dict[str, Json] = {"requestedMessage": known[command.kind]}
    return payload if command.evse is None else payload | {"connectorId": command.evse}
