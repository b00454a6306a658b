"""What a whole page of Locations looks like now, asked in one statement that is put together once for each kind of request."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Integer, Text, bindparam, func, select, tuple_, type_coerce

from adapters import v211
from crud.caller import Party
from crud.pages import Page, place_of
from csms.models import Evse, Location, Station
from csms.prepared import Look

_LOCATION = Location.__table__.c
_EVSE = Evse.__table__.c

ORDER = (_LOCATION.created_at, _LOCATION.id)
_KEYS = ("created_at", "id")

PageLook = tuple[
    int, Sequence[tuple[Any, ...]]
]  # how many there are in all, and what decides how those of the page look


def look_of(connection: Connection, page: Page, party: Party | None, version: str) -> PageLook:
    """Nothing is made of what only has to be compared: moments stay as the driver gives them."""
    asked: dict[str, Any] = {"limit": page.limit + 1, "offset": page.offset}
    asked |= {"date_from": page.date_from, "date_to": page.date_to}
    if party is not None:
        asked |= {"country_code": party[0], "party_id": party[1]}
    if page.after is not None:
        asked |= {"offset": 0, **dict(zip(_KEYS, place_of(page.after, ORDER), strict=True))}
    asked = {name: value for name, value in asked.items() if value is not None}
    looked_at, counted = _statements(frozenset(asked), version)
    looks = looked_at.rows(connection, **asked)
    found = len({look[0] for look in looks})
    if page.is_whole(last=found <= page.limit):
        return found, looks
    return counted.rows(connection, **asked)[0][0], looks


def shown_in(version: str) -> list[ColumnElement[bool]]:
    """What is private is nobody's (LO-29). 2.1.1 has no word for what drivers shall not be shown, so such a location is not
    told (V1-06)."""
    roaming = Location.roaming.is_not(False)
    return [roaming, Location.publish.is_(True)] if version == v211.VERSION else [roaming]


@cache
def _statements(asked: frozenset[str], version: str) -> tuple[Look, Look]:
    """The looks of a page, and how many Locations there are; by the names of what is given."""
    conditions = shown_in(version)
    conditions += [_LOCATION[name] == bindparam(name) for name in ("country_code", "party_id") if name in asked]
    if "date_from" in asked:
        conditions.append(_LOCATION.last_updated >= bindparam("date_from"))
    if "date_to" in asked:
        conditions.append(_LOCATION.last_updated < bindparam("date_to"))
    page = select(_LOCATION.id, _LOCATION.last_updated).where(*conditions).order_by(*ORDER)
    if "created_at" in asked:
        page = page.where(tuple_(*ORDER) > tuple_(*(bindparam(column.name, type_=column.type) for column in ORDER)))
    on_page = page.limit(bindparam("limit")).offset(bindparam("offset")).subquery()
    evses = on_page.outerjoin(Evse, _EVSE.location_row == on_page.c.id)
    looks = (
        select(
            on_page.c.id,
            type_coerce(on_page.c.last_updated, Text),
            _EVSE.id,
            _EVSE.status,
            type_coerce(_EVSE.removed, Integer),
            type_coerce(Station.offline_told, Integer),
        )
        .select_from(evses.outerjoin(Station, Station.station_id == _EVSE.station_id))
        .order_by(on_page.c.id, _EVSE.id)
    )
    return Look(looks), Look(select(func.count()).select_from(Location).where(*conditions))
