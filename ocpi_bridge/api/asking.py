"""Each command is sent by the core's own verb, which says what it needs and what goes with it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import or_, select

from csms import (
    certificates,
    commands,
    configuration,
    diagnostics,
    firmware,
    remote,
    requests,
    reservations,
    resets,
    tokens,
)
from csms.commands import Command, LogKind
from csms.models import InstalledProfile, Reservation, Station, Transaction
from csms.smart_charging import profiles
from csms.smart_charging.profile import (
    ChargingProfile,
    ChargingSchedule,
    SchedulePeriod,
)
from csms.stations import UnknownStation
from csms.users import Role
from ocpi_bridge.api.asked import (
    Asked,
    Input,
    Name,
    Reply,
)
from ocpi_bridge.api.problems import Problem, not_found
from ocpi_bridge.api.wishes import (
    Ask,
    CancelReservation,
    ChangeAvailability,
    ChangeConfiguration,
    ClearCache,
    ClearChargingProfile,
    DeleteCertificate,
    ExtendedTriggerMessage,
    GetCompositeSchedule,
    GetConfiguration,
    GetDiagnostics,
    GetInstalledCertificates,
    GetLocalListVersion,
    GetLog,
    IdToken,
    InstallCertificate,
    Profile,
    RequestCertificate,
    ReserveEvse,
    ResetStation,
    Seconds,
    SendVendorData,
    SetChargingProfile,
    StartRemotely,
    StopRemotely,
    Throttle,
    TriggerMessage,
    UnlockConnector,
    UpdateFirmware,
)


@dataclass(frozen=True, kw_only=True)
class Sent:
    """`number` is of what the core keeps beside the request: a reservation, a profile, an update, an upload."""

    request_id: str
    number: int | None = None
    also: Sequence[str] = ()


class CommandSent(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of it is told at /commands/{id}. `number`: of the reservation, profile, update or upload that it made.
    `also`: further requests, where one message could not hold all."""

    id: str
    number: int | UnsetType = UNSET
    also: Sequence[str] = ()


def ask(asked: Asked[None, Any]) -> Reply:
    station_id = asked.path["station_id"]
    known = select(Station.station_id).where(Station.station_id == station_id)
    if asked.connection.execute(known).scalar() is None:
        raise UnknownStation(station_id)
    role, send = SENT[type(asked.body)]
    if not asked.holder.may(role):
        detail = f"this command needs the role {role.value}"
        raise Problem(status=403, code="not_allowed", detail=detail)
    sent = send(asked, station_id, asked.body)
    value = CommandSent(id=sent.request_id, number=UNSET if sent.number is None else sent.number, also=sent.also)
    return Reply(value=value, status=202, headers={"Location": f"/api/v1/commands/{sent.request_id}"})


def _enqueue(asked: Asked[None, Any], command: Command[Any], token_id: int | None = None) -> Sent:
    request_id = requests.enqueue(
        asked.connection,
        command,
        requested_by=asked.by,
        now=asked.now,
        timeout_s=asked.body.timeout_s,
        token_id=token_id,
    )
    return Sent(request_id=request_id)


def _how(asked: Asked[None, Any]) -> dict[str, Any]:
    return {"requested_by": asked.by, "now": asked.now, "timeout_s": asked.body.timeout_s}


def _start(asked: Asked[None, Any], station_id: str, body: StartRemotely) -> Sent:
    card = _card(asked, body.id_token)
    tag = body.id_token
    if card is not None:
        held = reservations.held_tag(asked.connection, station_id=station_id, token_id=card.id, evse=body.evse)
        tag = held or requests.tag_for(asked.connection, card)
    if len(tag) > requests.WIRE_TAG_LENGTH:
        raise Problem(
            status=409, code="unsendable_card", detail="no card that is known, and too long to be sent as it is"
        )
    profile = None if body.profile is None else _profile(body.profile)
    command = commands.StartRemotely(station_id=station_id, id_token=tag, evse=body.evse, profile=profile)
    return _enqueue(asked, command, None if card is None else card.id)


def _card(asked: Asked[None, Any], id_token: str) -> Any:
    """The one card that has this number; None when none has it, or several."""
    cards = tokens.by_key(asked.connection, [tokens.normalize(id_token)])
    return next((rows[0] for rows in cards.values() if len(rows) == 1), None)


def _stop(asked: Asked[None, Any], station_id: str, body: StopRemotely) -> Sent:
    named = body.transaction
    number = int(named) if named.isascii() and named.isdecimal() and len(named) < 10 else -1
    which = or_(Transaction.id == named, Transaction.transaction_ref == named, Transaction.number == number)
    query = select(Transaction.number, Transaction.transaction_ref).where(Transaction.station_id == station_id, which)
    row = asked.connection.execute(query).first()
    if row is None:
        raise not_found("transaction", named)
    reference = row.transaction_ref or str(row.number)
    return _enqueue(asked, commands.StopRemotely(station_id=station_id, transaction_ref=reference))


def _reset(asked: Asked[None, Any], station_id: str, body: ResetStation) -> Sent:
    if body.kind is not commands.ResetKind.SOFT:  # R05
        detail = "a hard reset is ordered by a person with a reason, never by a program"
        raise Problem(status=403, code="hard_reset_needs_a_person", detail=detail)
    return Sent(request_id=resets.soft(asked.connection, station_id, only_idle=body.only_idle, **_how(asked)))


def _change(asked: Asked[None, Any], station_id: str, body: ChangeConfiguration) -> Sent:
    request_id = configuration.wish(
        asked.connection,
        station_id,
        body.key,
        body.value,
        wished_by=asked.by,
        now=asked.now,
        sure=body.sure,
        timeout_s=body.timeout_s,
    )
    return Sent(request_id=request_id)


def _throttle(asked: Asked[None, Any], station_id: str, body: Throttle) -> Sent:
    request_id = configuration.throttle(
        asked.connection, station_id, Decimal(body.amperes), key_of=asked.given.throttle_key, **_how(asked)
    )
    return Sent(request_id=request_id)


def _read(asked: Asked[None, Any], station_id: str, body: GetConfiguration) -> Sent:
    first, *also = configuration.read(asked.connection, station_id, keys=body.keys, **_how(asked))
    return Sent(request_id=first, also=also)


def _reserve(asked: Asked[None, Any], station_id: str, body: ReserveEvse) -> Sent:
    card = _card(asked, body.id_token)
    number = reservations.reserve(
        asked.connection,
        station_id=station_id,
        evse=body.evse or None,
        token_id=None if card is None else card.id,
        tag=body.id_token if card is None else None,
        expires_at=body.expires_at,
        **_how(asked),
    )
    query = select(Reservation.remote_request_id).where(Reservation.number == number)
    return Sent(request_id=str(asked.connection.execute(query).scalar_one()), number=number)


def _cancel(asked: Asked[None, Any], station_id: str, body: CancelReservation) -> Sent:
    query = select(Reservation.station_id).where(Reservation.number == body.reservation)
    if asked.connection.execute(query).scalar() != station_id:
        raise not_found("reservation", body.reservation)
    return Sent(request_id=reservations.cancel(asked.connection, body.reservation, **_how(asked)))


def _set_profile(asked: Asked[None, Any], station_id: str, body: SetChargingProfile) -> Sent:
    profile = _profile(body.profile)
    number = profiles.install(asked.connection, station_id=station_id, evse=body.evse, profile=profile, **_how(asked))
    query = select(InstalledProfile.remote_request_id).where(InstalledProfile.number == number)
    return Sent(request_id=str(asked.connection.execute(query).scalar_one()), number=number)


def _clear_profile(asked: Asked[None, Any], station_id: str, body: ClearChargingProfile) -> Sent:
    request_id = profiles.clear(
        asked.connection,
        station_id=station_id,
        number=body.number,
        evse=body.evse,
        purpose=body.purpose,
        stack_level=body.stack_level,
        **_how(asked),
    )
    return Sent(request_id=request_id)


def _schedule(asked: Asked[None, Any], station_id: str, body: GetCompositeSchedule) -> Sent:
    request_id = profiles.ask_schedule(
        asked.connection,
        station_id=station_id,
        evse=body.evse,
        duration_s=body.duration_s,
        unit=body.unit,
        **_how(asked),
    )
    return Sent(request_id=request_id)


def _profile(given: Profile) -> ChargingProfile:
    schedule = given.schedule
    return ChargingProfile(
        profile_id=0,  # the core gives it its number
        stack_level=given.stack_level,
        purpose=given.purpose,
        kind=given.kind,
        recurrency=given.recurrency,
        valid_from=given.valid_from,
        valid_to=given.valid_to,
        schedule=ChargingSchedule(
            unit=schedule.unit,
            periods=tuple(
                SchedulePeriod(start_s=period.start_s, limit=Decimal(period.limit), phases=period.phases)
                for period in schedule.periods
            ),
            starts_at=schedule.starts_at,
            duration_s=schedule.duration_s,
            min_rate=None if schedule.min_rate is None else Decimal(schedule.min_rate),
        ),
    )


def _update(asked: Asked[None, Any], station_id: str, body: UpdateFirmware) -> Sent:
    begun = firmware.update(
        asked.connection,
        station_id,
        body.image,
        retrieve_at=body.retrieve_at or asked.now,
        install_at=body.install_at,
        signed=body.signed,
        public_url=asked.given.public_url,
        key=asked.given.file_key,
        requested_by=asked.by,
        now=asked.now,
    )
    return Sent(request_id=begun.request_id, number=begun.update_id)


def _log(asked: Asked[None, Any], station_id: str, body: GetDiagnostics | GetLog) -> Sent:
    wanted = diagnostics.request_diagnostics(
        asked.connection,
        station_id,
        kind=body.kind if isinstance(body, GetLog) else LogKind.DIAGNOSTICS,
        since=body.since,
        until=body.until,
        requested_by=asked.by,
        now=asked.now,
        public_url=asked.given.public_url,
    )
    return Sent(request_id=wanted.request_id, number=wanted.upload_id)


def _install(asked: Asked[None, Any], station_id: str, body: InstallCertificate) -> Sent:
    who: dict[str, Any] = {"requested_by": asked.by, "now": asked.now}
    return Sent(request_id=certificates.install(asked.connection, station_id, body.use, body.certificate, **who))


def _delete(asked: Asked[None, Any], station_id: str, body: DeleteCertificate) -> Sent:
    named = commands.CertificateHash(**msgspec.structs.asdict(body.certificate))
    who: dict[str, Any] = {"requested_by": asked.by, "now": asked.now}
    return Sent(request_id=certificates.delete(asked.connection, station_id, named, **who))


Send = Callable[[Asked[None, Any], str, Any], Sent]


def _plainly(make: Callable[[str, Any], Command[Any]]) -> Send:
    return lambda asked, station_id, body: _enqueue(asked, make(station_id, body))


SENT: Mapping[type[Ask], tuple[Role, Send]] = {
    StartRemotely: (Role.OPERATOR, _start),
    StopRemotely: (Role.OPERATOR, _stop),
    ResetStation: (Role.OPERATOR, _reset),
    UnlockConnector: (
        Role.OPERATOR,
        _plainly(lambda id_, b: commands.UnlockConnector(station_id=id_, evse=b.evse, connector=b.connector)),
    ),
    ChangeConfiguration: (Role.OPERATOR, _change),
    Throttle: (Role.OPERATOR, _throttle),
    GetConfiguration: (Role.OPERATOR, _read),
    ChangeAvailability: (
        Role.OPERATOR,
        _plainly(lambda id_, b: commands.ChangeAvailability(station_id=id_, evse=b.evse, operative=b.operative)),
    ),
    TriggerMessage: (
        Role.OPERATOR,
        _plainly(lambda id_, b: commands.TriggerMessage(station_id=id_, kind=b.kind, evse=b.evse)),
    ),
    ExtendedTriggerMessage: (
        Role.OPERATOR,
        _plainly(lambda id_, b: commands.ExtendedTriggerMessage(station_id=id_, kind=b.kind, evse=b.evse)),
    ),
    ClearCache: (Role.OPERATOR, _plainly(lambda id_, _: commands.ClearCache(station_id=id_))),
    SendVendorData: (
        Role.OPERATOR,
        _plainly(
            lambda id_, b: commands.SendVendorData(
                station_id=id_, vendor_id=b.vendor_id, message_id=b.message_id, data=b.data
            )
        ),
    ),
    ReserveEvse: (Role.OPERATOR, _reserve),
    CancelReservation: (Role.OPERATOR, _cancel),
    GetLocalListVersion: (Role.OPERATOR, _plainly(lambda id_, _: commands.GetLocalListVersion(station_id=id_))),
    SetChargingProfile: (Role.OPERATOR, _set_profile),
    ClearChargingProfile: (Role.OPERATOR, _clear_profile),
    GetCompositeSchedule: (Role.OPERATOR, _schedule),
    UpdateFirmware: (Role.ADMIN, _update),
    GetDiagnostics: (Role.OPERATOR, _log),
    GetLog: (Role.OPERATOR, _log),
    InstallCertificate: (Role.ADMIN, _install),
    DeleteCertificate: (Role.ADMIN, _delete),
    GetInstalledCertificates: (
        Role.OPERATOR,
        _plainly(lambda id_, b: commands.GetInstalledCertificates(station_id=id_, use=b.use)),
    ),
    RequestCertificate: (
        Role.ADMIN,
        lambda asked, station_id, _: Sent(
            request_id=certificates.request_certificate(
                asked.connection, station_id, requested_by=asked.by, now=asked.now
            )
        ),
    ),
}


class StartAt(Input, frozen=True, kw_only=True):
    """`at`: what the code at the EVSE says: its id, its uid, or an address that ends with one of them."""

    at: Name
    id_token: IdToken
    connector: Name | None = None
    timeout_s: Seconds = 30


def start_at(asked: Asked[None, StartAt]) -> Reply:
    given = msgspec.structs.asdict(asked.body)
    at, id_token = given.pop("at"), given.pop("id_token")
    request_id = remote.start_for_card(asked.connection, at, id_token, requested_by=asked.by, now=asked.now, **given)
    location = {"Location": f"/api/v1/commands/{request_id}"}
    return Reply(value=CommandSent(id=request_id), status=202, headers=location)
