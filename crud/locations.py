"""Locations as partners read them: complete, current, and rendered again only when something in them changed."""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from adapters.locations import location_to_ocpi
from adapters.rendered import Rendered
from crud.pages import Listed, fetch, page_of
from crud.scope import caller, of_addressed_party
from csms.database import Database
from csms.models import Connector, Evse, Location, Station

CACHED = 20_000  # locations

_EVSE = Evse.__table__.c
_CONNECTOR = Connector.__table__.c

# What decides how a Location looks besides its own last_updated: (evse row, status, removed, offline) of each EVSE.
Looks = tuple[Any, ...]


class LocationsCrud:
    """Blocking work runs in a thread. A Location that did not change costs its share of two small queries."""

    def __init__(self, database: Database, *, cached: int = CACHED) -> None:
        self._database = database
        self._cached = cached
        self._rendered: dict[int, tuple[Looks, Rendered]] = {}
        self._lock = threading.Lock()

    async def list(self, filters: dict[str, Any], **_: Any) -> Listed:
        return await asyncio.to_thread(self._list, filters)

    async def get(self, id: str, **_: Any) -> Rendered | None:
        return await asyncio.to_thread(self._get, id)

    def current(self, connection: Connection, row: int) -> Rendered | None:
        """The Location with this row id, as it is now."""
        found = connection.execute(
            select(Location.id, Location.location_id, Location.last_updated).where(Location.id == row)
        ).all()
        return next(iter(self._rendered_of(connection, found)), None)

    def current_evse(self, connection: Connection, row: int) -> Rendered | None:
        """The EVSE with this row id, as it is now; None when it is not shown."""
        found = connection.execute(select(_EVSE.location_row, _EVSE.uid).where(_EVSE.id == row)).one_or_none()
        location = self.current(connection, found.location_row) if found is not None else None
        if found is None or location is None:
            return None
        uid = found.uid.casefold()
        evses = location.dict().get("evses", ())
        return next((Rendered(evse) for evse in evses if evse["uid"].casefold() == uid), None)

    def _list(self, filters: dict[str, Any]) -> Listed:
        query = select(Location.id, Location.location_id, Location.last_updated).where(*of_addressed_party(Location))
        with self._database.read() as connection:
            rows, total, last = fetch(
                connection,
                query,
                page_of(filters),
                updated=Location.__table__.c.last_updated,
                order=(Location.__table__.c.created_at, Location.__table__.c.id),
            )
            return list(self._rendered_of(connection, rows)), total, last

    def _get(self, id: str) -> Rendered | None:
        with self._database.read() as connection:
            found = find(connection, id)
            return self.current(connection, found.id) if found is not None else None

    def _rendered_of(self, connection: Connection, rows: Sequence[Any]) -> Sequence[Rendered]:
        """In the order of `rows` (id, ..., last_updated). Times alone would not do: two changes may carry the same one."""
        looks = _looks(connection, rows)
        known: dict[int, Rendered] = {}
        with self._lock:
            for row in rows:
                kept = self._rendered.get(row.id)
                if kept is not None and kept[0] == looks[row.id]:
                    known[row.id] = kept[1]
        fresh = _render(connection, [row.id for row in rows if row.id not in known])
        with self._lock:
            for id, location in fresh.items():
                self._rendered.pop(id, None)
                self._rendered[id] = (looks[id], location)
            while len(self._rendered) > self._cached:
                del self._rendered[next(iter(self._rendered))]
        known |= fresh
        return [known[row.id] for row in rows if row.id in known]


def find(connection: Connection, location_id: str) -> Row[Any] | None:
    """The location with this id in any case (TY-04), of the addressed party; when several of ours have one, the caller's
    own comes first."""
    query = select(Location.__table__).where(
        Location.location_key == location_id.casefold(), *of_addressed_party(Location)
    )
    found = connection.execute(query.order_by(Location.id)).all()
    ours = caller().our_party if len(found) > 1 else None
    return next((row for row in found if (row.country_code, row.party_id) == ours), found[0] if found else None)


def _looks(connection: Connection, rows: Sequence[Any]) -> dict[int, Looks]:
    looks: dict[int, list[Any]] = {row.id: [row.last_updated] for row in rows}
    if looks:
        query = (
            select(_EVSE.location_row, _EVSE.id, _EVSE.status, _EVSE.removed, Station.offline_told)
            .join(Station, Station.station_id == _EVSE.station_id)
            .where(_EVSE.location_row.in_(looks))
            .order_by(_EVSE.id)
        )
        for location, *evse in connection.execute(query):
            looks[location].append(tuple(evse))
    return {row: tuple(parts) for row, parts in looks.items()}


def _render(connection: Connection, rows: Sequence[int]) -> dict[int, Rendered]:
    if not rows:
        return {}
    locations = connection.execute(select(Location.__table__).where(Location.id.in_(rows))).all()
    evses = connection.execute(
        select(Evse.__table__).where(_EVSE.location_row.in_(rows)).order_by(_EVSE.station_id, _EVSE.evse)
    ).all()
    query = select(Connector.__table__).where(_CONNECTOR.evse_row.in_([evse.id for evse in evses]))
    connectors: defaultdict[int, list[Any]] = defaultdict(list)
    for connector in connection.execute(query.order_by(_CONNECTOR.position, _CONNECTOR.id)):
        connectors[connector.evse_row].append(connector)
    offline = select(Station.station_id, Station.offline_told)
    stations = {
        station.station_id: station
        for station in connection.execute(offline.where(Station.station_id.in_({evse.station_id for evse in evses})))
    }
    at: defaultdict[int, list[tuple[Any, Sequence[Any]]]] = defaultdict(list)
    for evse in evses:
        at[evse.location_row].append((evse, connectors[evse.id]))
    rendered = {row.id: Rendered(location_to_ocpi(row, at[row.id], stations)) for row in locations}
    for location in rendered.values():
        _ = location.json_bytes  # made here, in the thread
    return rendered
