"""How stations prove who they are, what they say of their own security, and how far their clocks are off."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from sqlalchemy import select

from csms import certificates, skew, station_security
from csms.authority import Algorithm
from csms.models import Authority, SecurityEvent, StationCertificate
from csms.users import Role
from ocpi_bridge.api.asked import Asked, Input, Name, Page, Paging, Reply, Route, Text, cursor_number, paged
from ocpi_bridge.api.asking import CommandSent
from ocpi_bridge.api.of_stations import OfStation, newest


class CertificateRow(msgspec.Struct, frozen=True, kw_only=True):
    """`state`: requested, signed, installed, refused, revoked. `fingerprint`: SHA-256 of the certificate, hex."""

    id: int
    station_id: str
    state: str
    detail: str | None
    serial_number: str | None
    fingerprint: str | None
    requested_at: datetime
    signed_at: datetime | None
    expires_at: datetime | None
    finished_at: datetime | None


class Revoked(msgspec.Struct, frozen=True, kw_only=True):
    station_id: str


class EventsQuery(Paging, frozen=True, kw_only=True):
    station: Name | None = None
    critical: bool | None = None
    kind: Text | None = None


class EventRow(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    station_id: str
    kind: str
    tech_info: str | None
    critical: bool
    occurred_at: datetime | None
    received_at: datetime


class ProfileChoice(Input, frozen=True, kw_only=True):
    profile: Annotated[int, Meta(ge=0, le=3)]


class HigherProfile(Input, frozen=True, kw_only=True):
    profile: Annotated[int, Meta(ge=1, le=3)]


class AuthorityRow(msgspec.Struct, frozen=True, kw_only=True):
    """`certificate`: in PEM, for whoever must believe it."""

    algorithm: str
    certificate: str
    created_at: datetime


class Authorities(msgspec.Struct, frozen=True, kw_only=True):
    items: Sequence[AuthorityRow]


class ClockRow(msgspec.Struct, frozen=True, kw_only=True):
    """Stations of one make: how many take our time at a Boot. `worst_skew_s`: positive is ahead of ours."""

    vendor: str
    model: str
    firmware_version: str | None
    stations: int
    keep: int
    ignore: int
    unknown: int
    share: float | None
    over_limit: int
    worst_skew_s: float | None
    worst_station: str | None
    campaign: int | None


class Clocks(msgspec.Struct, frozen=True, kw_only=True):
    items: Sequence[ClockRow]


def list_certificates(asked: Asked[OfStation, None]) -> Page[CertificateRow]:
    rows = newest(asked, StationCertificate, StationCertificate.id)
    names = CertificateRow.__struct_fields__
    return paged(
        rows, asked.query.limit, lambda row: row.id, lambda row: CertificateRow(**{n: getattr(row, n) for n in names})
    )


def revoke(asked: Asked[None, None]) -> Revoked:
    return Revoked(station_id=certificates.revoke(asked.connection, asked.path["fingerprint"], asked.now))


def list_events(asked: Asked[EventsQuery, None]) -> Page[EventRow]:
    wanted, after = asked.query, cursor_number(asked.query.after)
    row = SecurityEvent
    query = select(row.__table__).order_by(row.id.desc()).limit(wanted.limit + 1)
    if after is not None:
        query = query.where(row.id < after)
    if wanted.station is not None:
        query = query.where(row.station_id == wanted.station)
    if wanted.critical is not None:
        query = query.where(row.critical.is_(wanted.critical))
    if wanted.kind is not None:
        query = query.where(row.kind == wanted.kind)
    rows = asked.connection.execute(query).all()
    return paged(rows, wanted.limit, lambda row: row.id, lambda row: _event(row, asked))


def _event(row: Any, asked: Asked[Any, None]) -> EventRow:
    known = {name: getattr(row, name) for name in EventRow.__struct_fields__}
    return EventRow(**{**known, "tech_info": asked.words(row.tech_info)})


def rotate_password(asked: Asked[None, None]) -> Reply:
    request_id = station_security.rotate_password(
        asked.connection, asked.path["station_id"], vault=asked.given.vault, requested_by=asked.by, now=asked.now
    )
    return _sent(request_id)


def require_profile(asked: Asked[None, ProfileChoice]) -> None:
    station_security.require_profile(asked.connection, asked.path["station_id"], asked.body.profile)


def raise_profile(asked: Asked[None, HigherProfile]) -> Reply:
    request_id = station_security.upgrade_profile(
        asked.connection,
        asked.path["station_id"],
        asked.body.profile,
        tls=asked.given.wss,
        requested_by=asked.by,
        now=asked.now,
    )
    return _sent(request_id)


def list_authorities(asked: Asked[None, None]) -> Authorities:
    row = Authority
    found = asked.connection.execute(select(row.algorithm, row.certificate, row.created_at).order_by(row.id))
    return Authorities(items=[AuthorityRow(**one._mapping) for one in found])


def have_authority(asked: Asked[None, None]) -> AuthorityRow:
    given, algorithm = asked.given, asked.path["algorithm"]
    certificates.root(asked.connection, algorithm, vault=given.vault, organization=given.organization, now=asked.now)
    return next(one for one in list_authorities(asked).items if one.algorithm == algorithm.value)


def clocks(asked: Asked[None, None]) -> Clocks:
    names = ClockRow.__struct_fields__
    rows = [asdict(row) for row in skew.report(asked.connection)]
    return Clocks(items=[ClockRow(**{name: row[name] for name in names}) for row in rows])


def _sent(request_id: str) -> Reply:
    location = {"Location": f"/api/v1/commands/{request_id}"}
    return Reply(value=CommandSent(id=request_id), status=202, headers=location)


Fingerprint = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[0-9A-Fa-f]+$")]

ROUTES: Sequence[Route] = (
    Route(
        method="GET",
        path="/certificates",
        role=Role.VIEWER,
        summary="Certificates that stations asked for, the newest first.",
        handler=list_certificates,
        query=OfStation,
        output=Page[CertificateRow],
    ),
    Route(
        method="POST",
        path="/certificates/{fingerprint}/revoke",
        role=Role.ADMIN,
        summary="This certificate proves nothing from now on; a station that is here by it is sent away.",
        handler=revoke,
        output=Revoked,
        path_types={"fingerprint": Fingerprint},
    ),
    Route(
        method="GET",
        path="/security-events",
        role=Role.VIEWER,
        summary="What stations say happened to their security, the newest first.",
        handler=list_events,
        query=EventsQuery,
        output=Page[EventRow],
    ),
    Route(
        method="POST",
        path="/stations/{station_id}/password",
        role=Role.ADMIN,
        summary="Give a station a new password; both are good until the new one is used.",
        handler=rotate_password,
        output=CommandSent,
        status=202,
        problems=(409,),
    ),
    Route(
        method="PUT",
        path="/stations/{station_id}/security-profile",
        role=Role.ADMIN,
        summary="The least security profile that is served from the station's next connection on.",
        handler=require_profile,
        body=ProfileChoice,
        status=204,
    ),
    Route(
        method="POST",
        path="/stations/{station_id}/security-profile/raise",
        role=Role.ADMIN,
        summary="Have a station come with a higher security profile; less is refused once it has.",
        handler=raise_profile,
        body=HigherProfile,
        output=CommandSent,
        status=202,
    ),
    Route(
        method="GET",
        path="/certificate-authorities",
        role=Role.VIEWER,
        summary="Our own authorities, for whoever must believe what they sign.",
        handler=list_authorities,
        output=Authorities,
    ),
    Route(
        method="PUT",
        path="/certificate-authorities/{algorithm}",
        role=Role.ADMIN,
        summary="An authority of ours with such a key, made when there is none yet.",
        handler=have_authority,
        output=AuthorityRow,
        path_types={"algorithm": Algorithm},
    ),
    Route(
        method="GET",
        path="/clocks",
        role=Role.VIEWER,
        summary="How far stations' clocks are off, by make.",
        handler=clocks,
        output=Clocks,
    ),
)
