"""What we may ask of an OCPP 1.6 charger: one row per command, with its payload and what each answer means."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from csms.commands import (
    Answer,
    ChangeAvailability,
    ChangeConfiguration,
    Command,
    ConfigurationAnswer,
    ConfigurationSetting,
    GetConfiguration,
    Outcome,
    ResetKind,
    ResetStation,
    StartRemotely,
    StopRemotely,
    TriggerKind,
    TriggerMessage,
    UnlockConnector,
)
from csms.gateway.frames import Json
from csms.gateway.ocpp16.salvage import text

ACCEPTED_OR_NOT = {"Accepted": Outcome.ACCEPTED, "Rejected": Outcome.REJECTED}
UNLOCKED = {
    "Unlocked": Outcome.ACCEPTED,
    "UnlockFailed": Outcome.REJECTED,
    "NotSupported": Outcome.NOT_SUPPORTED,
}
CONFIGURED = ACCEPTED_OR_NOT | {
    "RebootRequired": Outcome.REBOOT_REQUIRED,
    "NotSupported": Outcome.NOT_SUPPORTED,
}
AVAILABILITY = ACCEPTED_OR_NOT | {"Scheduled": Outcome.SCHEDULED}
TRIGGERED = ACCEPTED_OR_NOT | {"NotImplemented": Outcome.NOT_SUPPORTED}
REFUSED_BY_CODE = {"NotImplemented": Outcome.NOT_SUPPORTED, "NotSupported": Outcome.NOT_SUPPORTED}

RESET = {ResetKind.SOFT: "Soft", ResetKind.HARD: "Hard"}
TRIGGER = {
    TriggerKind.BOOT: "BootNotification",
    TriggerKind.HEARTBEAT: "Heartbeat",
    TriggerKind.STATUS: "StatusNotification",
    TriggerKind.METER_VALUES: "MeterValues",
    TriggerKind.FIRMWARE_STATUS: "FirmwareStatusNotification",
    TriggerKind.DIAGNOSTICS_STATUS: "DiagnosticsStatusNotification",
}


@dataclass(frozen=True)
class Outbound:
    """`payload` raises ValueError for what 1.6 cannot say."""

    action: str
    payload: Callable[[Any], dict[str, Json]]
    answer: Callable[[Json], Answer]


def by_status(meaning: Mapping[str, Outcome]) -> Callable[[Json], Answer]:
    in_any_case = {word.casefold(): outcome for word, outcome in meaning.items()}

    def answer(payload: Json) -> Answer:
        word = text(payload.get("status")) if isinstance(payload, dict) else None
        if word is None:
            return Answer(outcome=Outcome.FAILED, detail="answer without a status")
        return Answer(outcome=in_any_case.get(word.casefold(), Outcome.FAILED), detail=word)

    return answer


def start_remotely(command: StartRemotely) -> dict[str, Json]:
    payload: dict[str, Json] = {"idTag": command.id_token}
    return payload if command.evse is None else payload | {"connectorId": command.evse}


def stop_remotely(command: StopRemotely) -> dict[str, Json]:
    return {"transactionId": int(command.transaction_ref)}


def reset_station(command: ResetStation) -> dict[str, Json]:
    return {"type": RESET[command.kind]}


def unlock_connector(command: UnlockConnector) -> dict[str, Json]:
    return {"connectorId": command.evse}


def change_configuration(command: ChangeConfiguration) -> dict[str, Json]:
    return {"key": command.key, "value": command.value}


def get_configuration(command: GetConfiguration) -> dict[str, Json]:
    return {"key": list(command.keys)} if command.keys else {}


def change_availability(command: ChangeAvailability) -> dict[str, Json]:
    return {"connectorId": command.evse, "type": "Operative" if command.operative else "Inoperative"}


def trigger_message(command: TriggerMessage) -> dict[str, Json]:
    payload: dict[str, Json] = {"requestedMessage": TRIGGER[command.kind]}
    return payload if command.evse is None else payload | {"connectorId": command.evse}


def configuration(payload: Json) -> ConfigurationAnswer:
    """Values that came as numbers or booleans are read as their text (X05)."""
    if not isinstance(payload, dict):
        return ConfigurationAnswer(outcome=Outcome.FAILED, detail="answer is no object")
    rows = payload.get("configurationKey")
    unknown = payload.get("unknownKey")
    settings = tuple(
        ConfigurationSetting(key=key, value=text(row.get("value")), readonly=row.get("readonly") is True)
        for row in (rows if isinstance(rows, list) else ())
        if isinstance(row, dict) and (key := text(row.get("key"))) is not None
    )
    names = tuple(name for name in map(text, unknown if isinstance(unknown, list) else ()) if name is not None)
    return ConfigurationAnswer(outcome=Outcome.ACCEPTED, settings=settings, unknown=names)


OUTBOUND: Final[Mapping[type[Command[Any]], Outbound]] = {
    StartRemotely: Outbound("RemoteStartTransaction", start_remotely, by_status(ACCEPTED_OR_NOT)),
    StopRemotely: Outbound("RemoteStopTransaction", stop_remotely, by_status(ACCEPTED_OR_NOT)),
    ResetStation: Outbound("Reset", reset_station, by_status(ACCEPTED_OR_NOT)),
    UnlockConnector: Outbound("UnlockConnector", unlock_connector, by_status(UNLOCKED)),
    ChangeConfiguration: Outbound("ChangeConfiguration", change_configuration, by_status(CONFIGURED)),
    GetConfiguration: Outbound("GetConfiguration", get_configuration, configuration),
    ChangeAvailability: Outbound("ChangeAvailability", change_availability, by_status(AVAILABILITY)),
    TriggerMessage: Outbound("TriggerMessage", trigger_message, by_status(TRIGGERED)),
}
