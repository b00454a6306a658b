"""What a station may be asked, as a program writes it: each command a value of its own."""

from typing import Annotated

import msgspec
from msgspec import Meta

from csms import (
    commands,
)
from csms.commands import CertificateUse, HashAlgorithm, LogKind, TriggerKind
from csms.smart_charging.profile import (
    ProfileKind,
    ProfilePurpose,
    RateUnit,
    Recurrency,
)
from ocpi_bridge.api.asked import (
    PLAIN,
    EvseNumber,
    Input,
    Moment,
    Name,
    Small,
)

Seconds = Annotated[int, Meta(ge=1, le=600, description="How long the station may take to answer.")]
IdToken = Annotated[str, Meta(min_length=1, max_length=255, pattern=PLAIN)]
Key = Annotated[str, Meta(min_length=1, max_length=50, pattern=PLAIN)]
Data = Annotated[str, Meta(max_length=10_000, pattern=r"^[^\x00]*$")]
Pem = Annotated[str, Meta(min_length=1, max_length=20_000, pattern=r"^[^\x00]*$")]
Rate = Annotated[str, Meta(pattern=r"^[0-9]{1,7}(\.[0-9]{1,3})?$", description="W, or A per phase, as text.")]
Hex = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[0-9A-Fa-f]+$")]
Offset = Annotated[int, Meta(ge=0, le=31_622_400)]


class Ask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="command"):
    timeout_s: Seconds = 30


class Period(Input, frozen=True, kw_only=True):
    """From `start_s` seconds after the schedule's start on, at most `limit`."""

    start_s: Offset
    limit: Rate
    phases: Annotated[int, Meta(ge=1, le=3)] | None = None


class Schedule(Input, frozen=True, kw_only=True):
    unit: RateUnit
    periods: Annotated[list[Period], Meta(min_length=1, max_length=1000)]
    starts_at: Moment | None = None
    duration_s: Offset | None = None
    min_rate: Rate | None = None


class Profile(Input, frozen=True, kw_only=True):
    """How much may be drawn, and when; its number is given by us."""

    purpose: ProfilePurpose
    kind: ProfileKind
    schedule: Schedule
    stack_level: Annotated[int, Meta(ge=0, le=1000)] = 0
    recurrency: Recurrency | None = None
    valid_from: Moment | None = None
    valid_to: Moment | None = None


class StartRemotely(Ask, frozen=True, kw_only=True, tag="start_remotely"):
    """`id_token`: the card's number. `evse` absent: the station chooses."""

    id_token: IdToken
    evse: EvseNumber | None = None
    profile: Profile | None = None


class StopRemotely(Ask, frozen=True, kw_only=True, tag="stop_remotely"):
    """`transaction`: our id, our number, or what the station calls it."""

    transaction: Name


class ResetStation(Ask, frozen=True, kw_only=True, tag="reset_station"):
    """Softly. A hard reset is a person's to order, not a program's (403)."""

    kind: commands.ResetKind = commands.ResetKind.SOFT
    only_idle: bool = False


class UnlockConnector(Ask, frozen=True, kw_only=True, tag="unlock_connector"):
    evse: EvseNumber
    connector: EvseNumber = 1


class ChangeConfiguration(Ask, frozen=True, kw_only=True, tag="change_configuration"):
    """The setting shall stay so: it is read back, and set again after a Boot that lost it. `sure` overrules advice."""

    key: Key
    value: Annotated[str, Meta(max_length=500, pattern=PLAIN)]
    sure: bool = False


class Throttle(Ask, frozen=True, kw_only=True, tag="throttle"):
    """At most so many amperes per phase for the whole station, by the setting that its vendor has for it; for a station that
    knows no charging profiles."""

    amperes: Rate


class GetConfiguration(Ask, frozen=True, kw_only=True, tag="get_configuration"):
    """Without keys: all."""

    keys: Annotated[list[Key], Meta(max_length=200)] = []


class ChangeAvailability(Ask, frozen=True, kw_only=True, tag="change_availability"):
    evse: EvseNumber
    operative: bool


class TriggerMessage(Ask, frozen=True, kw_only=True, tag="trigger_message"):
    kind: TriggerKind
    evse: EvseNumber | None = None


class ExtendedTriggerMessage(Ask, frozen=True, kw_only=True, tag="extended_trigger_message"):
    """Of the security extension."""

    kind: TriggerKind
    evse: EvseNumber | None = None


class ClearCache(Ask, frozen=True, kw_only=True, tag="clear_cache"):
    pass


class SendVendorData(Ask, frozen=True, kw_only=True, tag="send_vendor_data"):
    vendor_id: Name
    message_id: Key | None = None
    data: Data | None = None


class ReserveEvse(Ask, frozen=True, kw_only=True, tag="reserve_evse"):
    """`evse` absent: any of the station's."""

    id_token: IdToken
    expires_at: Moment
    evse: EvseNumber | None = None


class CancelReservation(Ask, frozen=True, kw_only=True, tag="cancel_reservation"):
    reservation: Small


class GetLocalListVersion(Ask, frozen=True, kw_only=True, tag="get_local_list_version"):
    """Which version of our list of cards the station holds."""


class SetChargingProfile(Ask, frozen=True, kw_only=True, tag="set_charging_profile"):
    evse: EvseNumber
    profile: Profile


class ClearChargingProfile(Ask, frozen=True, kw_only=True, tag="clear_charging_profile"):
    """All profiles that fit every criterion that is given; without any, all."""

    number: Small | None = None
    evse: EvseNumber | None = None
    purpose: ProfilePurpose | None = None
    stack_level: Annotated[int, Meta(ge=0, le=1000)] | None = None


class GetCompositeSchedule(Ask, frozen=True, kw_only=True, tag="get_composite_schedule"):
    evse: EvseNumber
    duration_s: Annotated[int, Meta(ge=1, le=604_800)] = 86_400
    unit: RateUnit | None = None


class UpdateFirmware(Ask, frozen=True, kw_only=True, tag="update_firmware"):
    """`signed` absent: with the manufacturer's signature where there is one and the station can check it."""

    image: Small
    retrieve_at: Moment | None = None
    signed: bool | None = None
    install_at: Moment | None = None


class GetDiagnostics(Ask, frozen=True, kw_only=True, tag="get_diagnostics"):
    """The station brings a file; it is found among the uploads."""

    since: Moment | None = None
    until: Moment | None = None


class GetLog(Ask, frozen=True, kw_only=True, tag="get_log"):
    kind: LogKind = LogKind.DIAGNOSTICS
    since: Moment | None = None
    until: Moment | None = None


class InstallCertificate(Ask, frozen=True, kw_only=True, tag="install_certificate"):
    """A root in PEM that the station shall believe."""

    use: CertificateUse
    certificate: Pem


class CertificateName(Input, frozen=True, kw_only=True):
    algorithm: HashAlgorithm
    issuer_name_hash: Hex
    issuer_key_hash: Hex
    serial_number: Hex


class DeleteCertificate(Ask, frozen=True, kw_only=True, tag="delete_certificate"):
    certificate: CertificateName


class GetInstalledCertificates(Ask, frozen=True, kw_only=True, tag="get_installed_certificates"):
    use: CertificateUse


class RequestCertificate(Ask, frozen=True, kw_only=True, tag="request_certificate"):
    """The station makes a new key; we sign its certificate and send it."""


AnyAsk = (
    StartRemotely
    | StopRemotely
    | ResetStation
    | UnlockConnector
    | ChangeConfiguration
    | Throttle
    | GetConfiguration
    | ChangeAvailability
    | TriggerMessage
    | ExtendedTriggerMessage
    | ClearCache
    | SendVendorData
    | ReserveEvse
    | CancelReservation
    | GetLocalListVersion
    | SetChargingProfile
    | ClearChargingProfile
    | GetCompositeSchedule
    | UpdateFirmware
    | GetDiagnostics
    | GetLog
    | InstallCertificate
    | DeleteCertificate
    | GetInstalledCertificates
    | RequestCertificate
)
