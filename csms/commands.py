"""What we ask of a charger, in words that no OCPP version owns; `Connections.send` carries them and brings the outcome."""

import uuid
from enum import StrEnum
from typing import Generic, TypeVar

import msgspec

A_co = TypeVar("A_co", covariant=True)


class Outcome(StrEnum):
    """What became of a command. OFFLINE, TIMEOUT and FAILED never reached a decision of the charger's: it was not
    connected (nothing was sent), it did not answer in time, or its answer was an error or unreadable."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    NOT_SUPPORTED = "not_supported"
    SCHEDULED = "scheduled"
    REBOOT_REQUIRED = "reboot_required"
    OFFLINE = "offline"
    TIMEOUT = "timeout"
    FAILED = "failed"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """`detail` is the charger's own word or error text, for people."""

    outcome: Outcome
    detail: str = ""


class ConfigurationSetting(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    value: str | None = None
    readonly: bool = False


class ConfigurationAnswer(Answer, frozen=True, kw_only=True):
    settings: tuple[ConfigurationSetting, ...] = ()
    unknown: tuple[str, ...] = ()


class Command(msgspec.Struct, Generic[A_co], frozen=True, kw_only=True, tag_field="type"):
    """`command_id` correlates the receipt, the outcome and the log; unique per request."""

    station_id: str
    command_id: str = msgspec.field(default_factory=lambda: uuid.uuid4().hex)


class StartRemotely(Command[Answer], frozen=True, kw_only=True, tag="start_remotely"):
    """`evse` None lets the station choose. `id_token` must fit the wire: at most 20 characters on 1.6."""

    id_token: str
    evse: int | None = None


class StopRemotely(Command[Answer], frozen=True, kw_only=True, tag="stop_remotely"):
    """`transaction_ref` is the id by which the charger knows the transaction."""

    transaction_ref: str


class ResetKind(StrEnum):
    SOFT = "soft"
    HARD = "hard"


class ResetStation(Command[Answer], frozen=True, kw_only=True, tag="reset_station"):
    kind: ResetKind = ResetKind.SOFT


class UnlockConnector(Command[Answer], frozen=True, kw_only=True, tag="unlock_connector"):
    evse: int
    connector: int = 1


class ChangeConfiguration(Command[Answer], frozen=True, kw_only=True, tag="change_configuration"):
    key: str
    value: str


class GetConfiguration(Command[ConfigurationAnswer], frozen=True, kw_only=True, tag="get_configuration"):
    """Empty `keys` asks for all."""

    keys: tuple[str, ...] = ()


class ChangeAvailability(Command[Answer], frozen=True, kw_only=True, tag="change_availability"):
    """`evse` 0 is the whole station."""

    evse: int
    operative: bool


class TriggerKind(StrEnum):
    BOOT = "boot"
    HEARTBEAT = "heartbeat"
    STATUS = "status"
    METER_VALUES = "meter_values"
    FIRMWARE_STATUS = "firmware_status"
    DIAGNOSTICS_STATUS = "diagnostics_status"


class TriggerMessage(Command[Answer], frozen=True, kw_only=True, tag="trigger_message"):
    kind: TriggerKind
    evse: int | None = None


AnyCommand = (
    StartRemotely
    | StopRemotely
    | ResetStation
    | UnlockConnector
    | ChangeConfiguration
    | GetConfiguration
    | ChangeAvailability
    | TriggerMessage
)
