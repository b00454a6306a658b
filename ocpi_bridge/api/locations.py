"""Sites and the stations on them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import func, select

from csms.models import Evse, Location
from csms.users import Role
from ocpi_bridge.api.asked import Asked, Name, Number, Page, Paging, Route, cursor_number, paged
from ocpi_bridge.api.problems import not_found


class LocationsQuery(Paging, frozen=True, kw_only=True):
    city: Name | None = None
    published: bool | None = None


class LocationRow(msgspec.Struct, frozen=True, kw_only=True):
    """`id` is ours, `location_id` the site's own within its party."""

    id: int
    country_code: str
    party_id: str
    location_id: str
    name: str | None
    address: str
    city: str
    postal_code: str | None
    country: str
    latitude: str
    longitude: str
    time_zone: str
    publish: bool
    evses: int
    last_updated: datetime


class LocationDetail(msgspec.Struct, frozen=True, kw_only=True):
    location: LocationRow
    details: dict[str, Any]
    stations: Sequence[str]


def list_locations(asked: Asked[LocationsQuery, None]) -> Page[LocationRow]:
    wanted, after = asked.query, cursor_number(asked.query.after)
    query = _rows().order_by(Location.id).limit(wanted.limit + 1)
    if after is not None:
        query = query.where(Location.id > after)
    if wanted.city is not None:
        query = query.where(Location.city == wanted.city)
    if wanted.published is not None:
        query = query.where(Location.publish.is_(wanted.published))
    rows = asked.connection.execute(query).all()
    return paged(rows, wanted.limit, lambda row: row.id, _row)


def location(asked: Asked[None, None]) -> LocationDetail:
    row = asked.connection.execute(_rows().where(Location.id == asked.path["id"])).one_or_none()
    if row is None:
        raise not_found("location", asked.path["id"])
    stations = select(Evse.station_id).distinct().where(Evse.location == row.id, Evse.removed.is_(False))
    names = asked.connection.execute(stations.order_by(Evse.station_id)).scalars()
    return LocationDetail(location=_row(row), details=row.details, stations=list(names))


def _rows() -> Any:
    count = select(func.count()).where(Evse.location == Location.id, Evse.removed.is_(False)).scalar_subquery()
    return select(Location.__table__, count.label("evses"))


def _row(row: Any) -> LocationRow:
    return LocationRow(**{name: getattr(row, name) for name in LocationRow.__struct_fields__})


ROUTES = (
    Route(
        method="GET",
        path="/locations",
        role=Role.VIEWER,
        summary="Sites, in the order in which they came.",
        handler=list_locations,
        query=LocationsQuery,
        output=Page[LocationRow],
    ),
    Route(
        method="GET",
        path="/locations/{id}",
        role=Role.VIEWER,
        summary="A site, and the stations on it.",
        handler=location,
        output=LocationDetail,
        path_types={"id": Number},
    ),
)
