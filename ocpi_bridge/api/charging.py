"""Which charging profiles stations hold, and what they allow together."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from sqlalchemy import select

from csms.models import InstalledProfile, Station
from csms.smart_charging import profiles
from csms.smart_charging.profile import ProfilePurpose, RateUnit
from csms.stations import UnknownStation
from csms.users import Role
from ocpi_bridge.api.asked import (
    Asked,
    EvseNumber,
    Moment,
    Name,
    Page,
    Paging,
    Route,
    Text,
    cursor_number,
    paged,
)


class ProfilesQuery(Paging, frozen=True, kw_only=True):
    station: Name | None = None
    state: Text | None = None
    purpose: ProfilePurpose | None = None


class ProfileRow(msgspec.Struct, frozen=True, kw_only=True):
    """`number` is the id by which the station knows it. `state`: requested, installed, refused, replaced, cleared, ended."""

    number: int
    station_id: str
    evse: int
    purpose: str
    stack_level: int
    profile: Any
    transaction_id: str | None
    state: str
    detail: str | None
    requested_by: str
    remote_request_id: str | None
    created_at: datetime
    finished_at: datetime | None


class ScheduleQuery(msgspec.Struct, frozen=True, kw_only=True):
    evse: EvseNumber = 0
    starts_at: Moment | None = None
    duration_s: Annotated[int, Meta(ge=1, le=604_800)] = 86_400
    unit: RateUnit = RateUnit.AMPERE


class LimitFrom(msgspec.Struct, frozen=True, kw_only=True):
    """From so many seconds after the start on; `limit` null: none."""

    start_s: int
    limit: Decimal | None
    phases: int | None


class ExpectedSchedule(msgspec.Struct, frozen=True, kw_only=True):
    starts_at: datetime
    duration_s: int
    unit: RateUnit
    limits: Sequence[LimitFrom]


def list_profiles(asked: Asked[ProfilesQuery, None]) -> Page[ProfileRow]:
    wanted, after = asked.query, cursor_number(asked.query.after)
    row = InstalledProfile
    query = select(row.__table__).order_by(row.number.desc()).limit(wanted.limit + 1)
    if after is not None:
        query = query.where(row.number < after)
    if wanted.station is not None:
        query = query.where(row.station_id == wanted.station)
    if wanted.state is not None:
        query = query.where(row.state == wanted.state)
    if wanted.purpose is not None:
        query = query.where(row.purpose == wanted.purpose.value)
    rows = asked.connection.execute(query).all()
    names = ProfileRow.__struct_fields__
    return paged(
        rows, wanted.limit, lambda row: row.number, lambda row: ProfileRow(**{n: getattr(row, n) for n in names})
    )


def schedule(asked: Asked[ScheduleQuery, None]) -> ExpectedSchedule:
    wanted = asked.query
    known = select(Station.station_id).where(Station.station_id == asked.path["station_id"])
    if asked.connection.execute(known).scalar() is None:
        raise UnknownStation(asked.path["station_id"])
    found = profiles.expected(
        asked.connection,
        station_id=asked.path["station_id"],
        evse=wanted.evse,
        starts_at=wanted.starts_at or asked.now,
        duration_s=wanted.duration_s,
        unit=wanted.unit,
    )
    return ExpectedSchedule(
        starts_at=found.starts_at,
        duration_s=found.duration_s,
        unit=found.unit,
        limits=[LimitFrom(start_s=part.start_s, limit=part.limit, phases=part.phases) for part in found.limits],
    )


ROUTES: Sequence[Route] = (
    Route(
        method="GET",
        path="/charging-profiles",
        role=Role.VIEWER,
        summary="Charging profiles that stations were told, the newest first.",
        handler=list_profiles,
        query=ProfilesQuery,
        output=Page[ProfileRow],
    ),
    Route(
        method="GET",
        path="/stations/{station_id}/schedule",
        role=Role.VIEWER,
        summary="What an EVSE may draw by all profiles that its station holds, or the whole station (EVSE 0).",
        handler=schedule,
        query=ScheduleQuery,
        output=ExpectedSchedule,
        problems=(409, 422),
    ),
)
