"""What we ask of a charger, in words that no OCPP version owns; `Connections.send` carries them and brings the outcome."""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar, cast, get_args

import msgspec

from csms.events import AuthorizationReply
from csms.smart_charging.profile import ChargingProfile, ChargingSchedule, ProfilePurpose, RateUnit

A = TypeVar("A", bound="Answer")
A_co = TypeVar("A_co", covariant=True)


class Outcome(StrEnum):
    """What became of a command. OFFLINE, TIMEOUT and FAILED never reached a decision of the charger's: it was not
    connected (nothing was sent), it did not answer in time, or its answer was an error or unreadable."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    NOT_SUPPORTED = "not_supported"
    SCHEDULED = "scheduled"
    REBOOT_REQUIRED = "reboot_required"
    OCCUPIED = "occupied"  # a reservation: somebody else has it
    INOPERATIVE = "inoperative"  # a reservation: faulted or unavailable
    NOT_FOUND = "not_found"  # nothing there that fits
    VERSION_MISMATCH = "version_mismatch"  # a list of cards: it holds another version than we build on
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

    @classmethod
    def answer_type(cls) -> type[A_co]:
        """What answers it."""
        return cast(type[A_co], get_args(cast(Any, cls).__orig_bases__[0])[0])


def answer_to(command: Command[A], outcome: Outcome, detail: str) -> A:
    """An answer of the kind this command has, for when the charger gave none."""
    return command.answer_type()(outcome=outcome, detail=detail)


class StartRemotely(Command[Answer], frozen=True, kw_only=True, tag="start_remotely"):
    """`evse` None lets the station choose. `id_token` must fit the wire: at most 20 characters on 1.6. `profile` limits the
    transaction from its first second."""

    id_token: str
    evse: int | None = None
    profile: ChargingProfile | None = None


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
    LOG_STATUS = "log_status"
    SIGN_CERTIFICATE = "sign_certificate"


class TriggerMessage(Command[Answer], frozen=True, kw_only=True, tag="trigger_message"):
    kind: TriggerKind
    evse: int | None = None


class ExtendedTriggerMessage(Command[Answer], frozen=True, kw_only=True, tag="extended_trigger_message"):
    """The trigger of the security extension, which also knows LOG_STATUS and SIGN_CERTIFICATE."""

    kind: TriggerKind
    evse: int | None = None


class ClearCache(Command[Answer], frozen=True, kw_only=True, tag="clear_cache"):
    """Forget the cards that the station remembers from earlier answers."""


class VendorDataAnswer(Answer, frozen=True, kw_only=True):
    data: str | None = None


class SendVendorData(Command[VendorDataAnswer], frozen=True, kw_only=True, tag="send_vendor_data"):
    vendor_id: str
    message_id: str | None = None
    data: str | None = None


# ---- reservations ---------------------------------------------------------------------------------------------------


class ReserveEvse(Command[Answer], frozen=True, kw_only=True, tag="reserve_evse"):
    """`evse` 0: any of the station's. `reservation_id` is ours, a positive int32."""

    reservation_id: int
    evse: int
    id_token: str
    expires_at: datetime
    group_id: str | None = None


class CancelReservation(Command[Answer], frozen=True, kw_only=True, tag="cancel_reservation"):
    reservation_id: int


# ---- the list of cards that a station keeps -------------------------------------------------------------------------


class ListedToken(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`authorization` None takes the card off the list; only in a differential update."""

    id_token: str
    authorization: AuthorizationReply | None = None


class ListVersionAnswer(Answer, frozen=True, kw_only=True):
    """`version` 0: the list is empty; -1: the station keeps none; None without an answer."""

    version: int | None = None


class GetLocalListVersion(Command[ListVersionAnswer], frozen=True, kw_only=True, tag="get_local_list_version"):
    """Which version of our list the station holds."""


class SendLocalList(Command[Answer], frozen=True, kw_only=True, tag="send_local_list"):
    """`full` replaces the list, else `entries` change it. `version` is what the station holds afterwards."""

    version: int
    full: bool
    entries: tuple[ListedToken, ...] = ()


# ---- smart charging -------------------------------------------------------------------------------------------------


class SetChargingProfile(Command[Answer], frozen=True, kw_only=True, tag="set_charging_profile"):
    """`evse` 0: the whole station (STATION_MAX), or the default of each of its EVSEs (TX_DEFAULT)."""

    evse: int
    profile: ChargingProfile


class ClearChargingProfile(Command[Answer], frozen=True, kw_only=True, tag="clear_charging_profile"):
    """All profiles that fit every criterion that is given; without any, all. `evse` 0 means those of the station."""

    profile_id: int | None = None
    evse: int | None = None
    purpose: ProfilePurpose | None = None
    stack_level: int | None = None


class ScheduleAnswer(Answer, frozen=True, kw_only=True):
    """`starts_at` and `schedule` None when the station told none."""

    evse: int | None = None
    starts_at: datetime | None = None
    schedule: ChargingSchedule | None = None


class GetCompositeSchedule(Command[ScheduleAnswer], frozen=True, kw_only=True, tag="get_composite_schedule"):
    """`evse` 0: what the whole station expects to draw. `unit` None leaves it to the station."""

    evse: int
    duration_s: int
    unit: RateUnit | None = None


# ---- firmware, diagnostics and logs ---------------------------------------------------------------------------------


class UpdateFirmware(Command[Answer], frozen=True, kw_only=True, tag="update_firmware"):
    """`url` is signed by us and expires; `retrieve_at` is when the station may begin to fetch it."""

    url: str
    retrieve_at: datetime
    retries: int | None = None
    retry_interval_s: int | None = None


class UpdateFirmwareSigned(Command[Answer], frozen=True, kw_only=True, tag="update_firmware_signed"):
    """`certificate` (PEM) and `signature` (base64) are the manufacturer's. `request_id` comes back in each status."""

    request_id: int
    url: str
    retrieve_at: datetime
    certificate: str
    signature: str
    install_at: datetime | None = None
    retries: int | None = None
    retry_interval_s: int | None = None


class UploadAnswer(Answer, frozen=True, kw_only=True):
    """`filename` that the station will upload; None: it has nothing, or did not say."""

    filename: str | None = None


class GetDiagnostics(Command[UploadAnswer], frozen=True, kw_only=True, tag="get_diagnostics"):
    """`url` is where the station puts the file, `since` and `until` what it should be of."""

    url: str
    since: datetime | None = None
    until: datetime | None = None
    retries: int | None = None
    retry_interval_s: int | None = None


class LogKind(StrEnum):
    DIAGNOSTICS = "diagnostics"
    SECURITY = "security"


class GetLog(Command[UploadAnswer], frozen=True, kw_only=True, tag="get_log"):
    request_id: int
    kind: LogKind
    url: str
    since: datetime | None = None
    until: datetime | None = None
    retries: int | None = None
    retry_interval_s: int | None = None


# ---- certificates ---------------------------------------------------------------------------------------------------


class CertificateUse(StrEnum):
    CENTRAL_SYSTEM_ROOT = "central_system_root"  # whom the station believes that it talks to
    MANUFACTURER_ROOT = "manufacturer_root"  # whose firmware it installs


class HashAlgorithm(StrEnum):
    SHA256 = "SHA256"
    SHA384 = "SHA384"
    SHA512 = "SHA512"


class CertificateHash(msgspec.Struct, frozen=True, kw_only=True):
    """Which certificate is meant: hashes in hex of the issuer's name and key, and the serial number in hex."""

    algorithm: HashAlgorithm
    issuer_name_hash: str
    issuer_key_hash: str
    serial_number: str


class InstallCertificate(Command[Answer], frozen=True, kw_only=True, tag="install_certificate"):
    use: CertificateUse
    certificate: str


class DeleteCertificate(Command[Answer], frozen=True, kw_only=True, tag="delete_certificate"):
    certificate: CertificateHash


class CertificatesAnswer(Answer, frozen=True, kw_only=True):
    certificates: tuple[CertificateHash, ...] = ()


class GetInstalledCertificates(
    Command[CertificatesAnswer], frozen=True, kw_only=True, tag="get_installed_certificates"
):
    use: CertificateUse


class SendCertificate(Command[Answer], frozen=True, kw_only=True, tag="send_certificate"):
    """The station's own new certificate, PEM, its issuers behind it."""

    chain: str


AnyCommand = (
    StartRemotely
    | StopRemotely
    | ResetStation
    | UnlockConnector
    | ChangeConfiguration
    | GetConfiguration
    | ChangeAvailability
    | TriggerMessage
    | ExtendedTriggerMessage
    | ClearCache
    | SendVendorData
    | ReserveEvse
    | CancelReservation
    | GetLocalListVersion
    | SendLocalList
    | SetChargingProfile
    | ClearChargingProfile
    | GetCompositeSchedule
    | UpdateFirmware
    | UpdateFirmwareSigned
    | GetDiagnostics
    | GetLog
    | InstallCertificate
    | DeleteCertificate
    | GetInstalledCertificates
    | SendCertificate
)
