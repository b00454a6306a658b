"""What a charger says happened, in words that no OCPP version owns; the gateway makes them, `Csms.report` answers them."""

import random
import time
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar, cast, get_args

import msgspec

R_co = TypeVar("R_co", covariant=True)

SCHEMA_VERSION = 1


def new_event_id() -> str:
    """32 hex digits, unique without a coordinator, sorting by the time they were made."""
    return (time.time_ns() // 1000 << 64 | random.getrandbits(64)).to_bytes(16, "big").hex()


# ---- vocabulary -----------------------------------------------------------------------------------------------------


class ConnectorStatus(StrEnum):
    """The nine states of OCPP 1.6 (C03); 2.x's Occupied arrives as CHARGING or what its transaction says."""

    AVAILABLE = "available"
    PREPARING = "preparing"
    CHARGING = "charging"
    SUSPENDED_EV = "suspended_ev"
    SUSPENDED_EVSE = "suspended_evse"
    FINISHING = "finishing"
    RESERVED = "reserved"
    UNAVAILABLE = "unavailable"
    FAULTED = "faulted"


class RegistrationStatus(StrEnum):
    ACCEPTED = "accepted"
    PENDING = "pending"
    REJECTED = "rejected"


class AuthorizationStatus(StrEnum):
    """The five answers of C04, and two that partners give; a version without a word for one uses its nearest."""

    ACCEPTED = "accepted"
    BLOCKED = "blocked"
    EXPIRED = "expired"
    INVALID = "invalid"
    CONCURRENT_TX = "concurrent_tx"
    NO_CREDIT = "no_credit"
    NOT_ALLOWED = "not_allowed"


class StopReason(StrEnum):
    """Why the charger says it stopped (E01). MISSING means it gave none (E06); UNREADABLE that we could not read it."""

    LOCAL = "local"
    REMOTE = "remote"
    EV_DISCONNECTED = "ev_disconnected"
    POWER_LOSS = "power_loss"
    EMERGENCY_STOP = "emergency_stop"
    REBOOT = "reboot"
    HARD_RESET = "hard_reset"
    SOFT_RESET = "soft_reset"
    DEAUTHORIZED = "deauthorized"
    UNLOCK_COMMAND = "unlock_command"
    OTHER = "other"
    MISSING = "missing"
    UNREADABLE = "unreadable"


class VendorDataStatus(StrEnum):
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNKNOWN_MESSAGE = "unknown_message"
    UNKNOWN_VENDOR = "unknown_vendor"


class SampledValue(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One reading as the charger wrote it: `value` is its text untouched, `unit` None when it named none.

    `multiplier` is a power of ten (OCPP 2.x unitOfMeasure); measurand, context, location and phase are the spec's words,
    which are the same in every version. `format` SignedData: the value is what the meter signed, and no number.
    """

    value: str
    measurand: str = "Energy.Active.Import.Register"
    unit: str | None = None
    context: str = "Sample.Periodic"
    location: str = "Outlet"
    phase: str | None = None
    multiplier: int = 0
    format: str = "Raw"


class MeterSample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The values read at one moment; `occurred_at` is the charger's claim, None when it gave none or none we can read."""

    occurred_at: datetime | None = None
    values: tuple[SampledValue, ...] = ()


# ---- replies --------------------------------------------------------------------------------------------------------


class Ack(msgspec.Struct, frozen=True):
    """Stored; there is nothing to say."""


class BootReply(msgspec.Struct, frozen=True, kw_only=True):
    """`interval_s`: heartbeat interval when accepted, else the wait before the next Boot. `close`: end the connection
    after the answer (T1, a fingerprint that does not match)."""

    status: RegistrationStatus
    current_time: datetime
    interval_s: int
    close: bool = False


class HeartbeatReply(msgspec.Struct, frozen=True):
    current_time: datetime


class AuthorizationReply(msgspec.Struct, frozen=True, kw_only=True):
    """`group_id` is the parent of the card, `expires_at` when the charger may no longer cache the answer (D08),
    `message` a text for the driver."""

    status: AuthorizationStatus
    expires_at: datetime | None = None
    group_id: str | None = None
    message: str | None = None


class StartReply(msgspec.Struct, frozen=True, kw_only=True):
    """`transaction_id`: positive int32, unique in the fleet, the same for every repeat (C05)."""

    transaction_id: int
    authorization: AuthorizationReply


class EndReply(msgspec.Struct, frozen=True, kw_only=True):
    """`authorization` is None when the charger named no card."""

    authorization: AuthorizationReply | None = None


class CertificateReply(msgspec.Struct, frozen=True):
    """`accepted`: the request is stored and will be looked at; the certificate itself is sent later."""

    accepted: bool


class VendorDataReply(msgspec.Struct, frozen=True, kw_only=True):
    status: VendorDataStatus
    data: str | None = None


# ---- events ---------------------------------------------------------------------------------------------------------


class Event(msgspec.Struct, Generic[R_co], frozen=True, kw_only=True, tag_field="type"):
    """What every event carries (A11).

    `occurred_at` is the charger's claim (None when it makes none or none that can be read), `received_at` ours, stamped by
    the gateway; both aware UTC. `violations` names what in the frame broke the schema (T10): such an event is stored and
    flagged, and `raw` then holds the payload as JSON text.
    """

    station_id: str
    ocpp_version: str
    received_at: datetime
    occurred_at: datetime | None = None
    event_id: str = msgspec.field(default_factory=new_event_id)
    schema_version: int = SCHEMA_VERSION
    violations: tuple[str, ...] = ()
    raw: str | None = None

    @classmethod
    def reply_type(cls) -> type[R_co]:
        """What answers it."""
        return cast(type[R_co], get_args(cast(Any, cls).__orig_bases__[0])[0])


class StationBooted(Event[BootReply], frozen=True, kw_only=True, tag="station_booted"):
    """The station (re)started. `serial_number` is the charge point's or else the box's; None when it gave neither."""

    vendor: str = ""
    model: str = ""
    serial_number: str | None = None
    firmware_version: str | None = None
    iccid: str | None = None
    imsi: str | None = None
    meter_type: str | None = None
    meter_serial_number: str | None = None


class HeartbeatReceived(Event[HeartbeatReply], frozen=True, kw_only=True, tag="heartbeat_received"):
    """A sign of life."""


class ConnectorStatusReported(Event[Ack], frozen=True, kw_only=True, tag="connector_status_reported"):
    """`evse` 0 speaks of the whole station. On 1.6 connector n is evse n, connector 1."""

    evse: int
    connector: int = 1
    status: ConnectorStatus
    error_code: str = "NoError"
    vendor_error_code: str | None = None
    vendor_id: str | None = None
    info: str | None = None


class IdTokenPresented(Event[AuthorizationReply], frozen=True, kw_only=True, tag="id_token_presented"):
    """A driver asks to charge or to stop. `id_token` is raw, as the charger sent it (D01, D03)."""

    id_token: str


class TransactionStarted(Event[StartReply], frozen=True, kw_only=True, tag="transaction_started"):
    """`meter_start_mwh` None when unreadable. `transaction_ref` is the station's own id where the version has one (2.x);
    None means that we issue it. `reservation_id` is ours, given with the reservation."""

    evse: int
    connector: int = 1
    id_token: str
    meter_start_mwh: int | None
    transaction_ref: str | None = None
    reservation_id: int | None = None


class MeterSampled(Event[Ack], frozen=True, kw_only=True, tag="meter_sampled"):
    """`transaction_ref` is the id by which the charger names the transaction (1.6: our integer as text), None outside one.
    `occurred_at` is that of the first sample."""

    evse: int
    transaction_ref: str | None = None
    samples: tuple[MeterSample, ...] = ()


class TransactionEnded(Event[EndReply], frozen=True, kw_only=True, tag="transaction_ended"):
    """`transaction_ref` as in MeterSampled, and possibly -1, 0 or unknown (X04). `meter_stop_mwh` None when unreadable or
    nonsense. `samples` is the transaction data delivered with it."""

    transaction_ref: str
    meter_stop_mwh: int | None
    id_token: str | None = None
    reason: StopReason = StopReason.MISSING
    reason_raw: str | None = None
    samples: tuple[MeterSample, ...] = ()


class VendorDataReceived(Event[VendorDataReply], frozen=True, kw_only=True, tag="vendor_data_received"):
    vendor_id: str
    message_id: str | None = None
    data: str | None = None


class FirmwareStatusReported(Event[Ack], frozen=True, kw_only=True, tag="firmware_status_reported"):
    """`status` is the spec's word (Downloaded, DownloadFailed, Downloading, Idle, InstallationFailed, Installing,
    Installed; more for signed firmware and in later versions). `request_id` is that of a signed update; None else."""

    status: str
    request_id: int | None = None


class DiagnosticsStatusReported(Event[Ack], frozen=True, kw_only=True, tag="diagnostics_status_reported"):
    """`status` is the spec's word (Idle, Uploaded, UploadFailed, Uploading)."""

    status: str


class LogStatusReported(Event[Ack], frozen=True, kw_only=True, tag="log_status_reported"):
    """`status` is the spec's word (BadMessage, Idle, NotSupportedOperation, PermissionDenied, Uploaded, UploadFailure,
    Uploading). `request_id` is that of the request for the log; None when the station was idle."""

    status: str
    request_id: int | None = None


class SecurityEventReported(Event[Ack], frozen=True, kw_only=True, tag="security_event_reported"):
    """Something that may concern security happened at the station. `kind` is the spec's word or the vendor's."""

    kind: str
    tech_info: str | None = None


class CertificateRequested(Event[CertificateReply], frozen=True, kw_only=True, tag="certificate_requested"):
    """The station asks that its new key be certified. `csr` is a PKCS #10 request, PEM."""

    csr: str


AnyEvent = (
    StationBooted
    | HeartbeatReceived
    | ConnectorStatusReported
    | IdTokenPresented
    | TransactionStarted
    | MeterSampled
    | TransactionEnded
    | VendorDataReceived
    | FirmwareStatusReported
    | DiagnosticsStatusReported
    | LogStatusReported
    | SecurityEventReported
    | CertificateRequested
)
