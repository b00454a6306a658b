"""Locations as partners read them: complete, current, and rendered again only when something in them changed."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select

from adapters import shown
from adapters.locations import location_to_ocpi
from adapters.rendered import Rendered
from crud.caller import Party
from crud.kept import Kept, KeptPages
from crud.location_pages import ORDER, look_of, shown_in
from crud.pages import FOLLOWING, Joined, Listed, Page, fetch, page_of
from crud.payers import Key, hidden_from
from crud.scope import addressed, caller, of_addressed_party, paying
from csms.availability import AVAILABILITY
from csms.billing.choice import Payer, offered
from csms.database import Database
from csms.features import features_of
from csms.locations import Meanings
from csms.models import Connector, Evse, Location, Station, Tariff
from csms.tariff_changes import key_of

CACHED = 20_000  # locations
PAGES_BYTES = 32 << 20

_EVSE = Evse.__table__.c
_CONNECTOR = Connector.__table__.c
_ROAMING = Location.roaming.is_not(False)
_TARIFF = Tariff.__table__.c

# What decides how a Location looks besides its own last_updated: (evse row, status, removed, offline) of each EVSE.
Looks = tuple[Any, ...]
Hidden = frozenset[Key]
# Made once: to put it together takes longer than to ask it.
_LOOKED_AT = (
    select(_EVSE.location_row, _EVSE.id, _EVSE.status, _EVSE.removed, Station.offline_told)
    .join(Station, Station.station_id == _EVSE.station_id)
    .where(_EVSE.location_row.in_(bindparam("rows", expanding=True)))
    .order_by(_EVSE.id)
)


class LocationsCrud:
    """Blocking work runs in a thread. A Location that did not change costs its share of one small query, and a page that did
    not leaves as the bytes that it left as before."""

    def __init__(
        self,
        database: Database,
        *,
        cached: int = CACHED,
        meanings: Meanings = AVAILABILITY,
        operator_name: str | None = None,
    ) -> None:
        self._database = database
        self._as_told = partial(location_to_ocpi, meanings=meanings, operator_name=operator_name)
        self._rendered = Kept(cached)
        self._pages = KeptPages(PAGES_BYTES)

    async def list(self, filters: dict[str, Any], *, version: str = "2.2.1", **_: Any) -> Listed:
        return await asyncio.to_thread(self._list, filters, version)

    async def get(self, id: str, *, version: str = "2.2.1", **_: Any) -> Rendered | None:
        return await asyncio.to_thread(self._get, id, version)

    def current(
        self, connection: Connection, row: int, who: Payer | None = None, version: str = "2.2.1"
    ) -> Rendered | None:
        """The Location with this row id, as it is now, with the tariffs that `who` pays (None: anybody); None when there is
        none that this version shows."""
        found = connection.execute(
            select(Location.id, Location.location_id, Location.last_updated).where(
                Location.id == row, *shown_in(version)
            )
        ).all()
        return next(iter(self._rendered_of(connection, found, who, version)), None)

    def current_evse(
        self, connection: Connection, row: int, who: Payer | None = None, version: str = "2.2.1"
    ) -> Rendered | None:
        """The EVSE with this row id, as it is now; None when it is not shown."""
        found = connection.execute(select(_EVSE.location_row, _EVSE.uid).where(_EVSE.id == row)).one_or_none()
        location = self.current(connection, found.location_row, who, version) if found is not None else None
        if found is None or location is None:
            return None
        uid = found.uid.casefold()
        evses = location.dict().get("evses", ())
        return next((Rendered(evse) for evse in evses if evse["uid"].casefold() == uid), None)

    def _list(self, filters: dict[str, Any], version: str) -> Listed:
        page, who = page_of(filters), paying()
        with self._database.read() as connection:
            asked = (addressed(), version, frozenset(hidden_from(connection, who, version)), page.asked)
            look = look_of(connection, page, addressed(), version)
            kept = self._pages.same(asked, look)
            if kept is None:
                kept = self._joined(connection, page, who, version)
                self._pages.keep(asked, look, kept)
        if kept.following is not None:
            filters[FOLLOWING] = kept.following
        return kept, look[0], kept.following is None

    def _joined(self, connection: Connection, page: Page, who: Payer | None, version: str) -> Joined:
        rows, _, _ = fetch(
            connection,
            select(Location.id, Location.location_id, Location.last_updated).where(
                *of_addressed_party(Location), *shown_in(version)
            ),
            page,
            updated=Location.__table__.c.last_updated,
            order=ORDER,
        )
        found = self._rendered_of(connection, rows, who, version)
        shapes = (shown("locations", location, version).json_bytes for location in found)
        return Joined(found, shapes, following=page.filters.get(FOLLOWING))

    def _get(self, id: str, version: str) -> Rendered | None:
        with self._database.read() as connection:
            found = find(connection, id)
            return self.current(connection, found.id, paying(), version) if found is not None else None

    def _rendered_of(
        self, connection: Connection, rows: Sequence[Any], who: Payer | None, version: str
    ) -> Sequence[Rendered]:
        """In the order of `rows` (id, ..., last_updated). Times alone would not do: two changes may carry the same one.
        Partners that see the same tariffs share what was rendered."""
        hidden = frozenset(hidden_from(connection, who, version))
        looks = {(id, hidden): look for id, look in _looks(connection, rows).items()}
        known = self._rendered.same(looks)
        fresh = _render(connection, [row.id for row in rows if (row.id, hidden) not in known], hidden, self._as_told)
        self._rendered.keep(looks, changed := {(id, hidden): location for id, location in fresh.items()})
        known |= changed
        return [known[row.id, hidden] for row in rows if (row.id, hidden) in known]


def find(connection: Connection, location_id: str) -> Row[Any] | None:
    """The location with this id in any case (TY-04), of the addressed party; when several of ours have one, the caller's
    own comes first."""
    query = select(Location.__table__).where(
        Location.location_key == location_id.casefold(), _ROAMING, *of_addressed_party(Location)
    )
    found = connection.execute(query.order_by(Location.id)).all()
    ours = caller().our_party if len(found) > 1 else None
    return next((row for row in found if (row.country_code, row.party_id) == ours), found[0] if found else None)


def _looks(connection: Connection, rows: Sequence[Any]) -> dict[int, Looks]:
    looks: dict[int, list[Any]] = {row.id: [row.last_updated] for row in rows}
    if looks:
        for seen in connection.execute(_LOOKED_AT, {"rows": list(looks)}):
            looks[seen[0]].append(tuple(seen))
    return {row: tuple(parts) for row, parts in looks.items()}


def _render(
    connection: Connection, rows: Sequence[int], hidden: Hidden, as_told: Callable[..., dict[str, Any]]
) -> dict[int, Rendered]:
    if not rows:
        return {}
    locations = connection.execute(select(Location.__table__).where(Location.id.in_(rows))).all()
    evses = connection.execute(
        select(Evse.__table__).where(_EVSE.location_row.in_(rows)).order_by(_EVSE.station_id, _EVSE.evse)
    ).all()
    query = select(Connector.__table__).where(_CONNECTOR.evse_row.in_([evse.id for evse in evses]))
    parties = {location.id: (location.country_code, location.party_id) for location in locations}
    owners = {evse.id: parties[evse.location_row] for evse in evses}
    plugs = connection.execute(query.order_by(_CONNECTOR.position, _CONNECTOR.id)).all()
    tariffs = _choices(connection, plugs)
    connectors: defaultdict[int, list[Any]] = defaultdict(list)
    for connector in plugs:
        connectors[connector.evse_row].append(_as_seen(connector, owners[connector.evse_row], hidden, tariffs))
    offline = select(Station.station_id, Station.offline_told)
    stations = {
        station.station_id: station
        for station in connection.execute(offline.where(Station.station_id.in_({evse.station_id for evse in evses})))
    }
    can = features_of(connection, {evse.station_id for evse in evses})
    at: defaultdict[int, list[tuple[Any, Sequence[Any]]]] = defaultdict(list)
    for evse in evses:
        at[evse.location_row].append((evse, connectors[evse.id]))
    return {row.id: Rendered(as_told(row, at[row.id], stations, can)) for row in locations}


def _choices(connection: Connection, connectors: Sequence[Row[Any]]) -> Mapping[Key, Row[Any]]:
    """The current tariffs of the connectors that name several."""
    several = (row.tariff_ids for row in connectors if len(row.tariff_ids or ()) > 1)
    keys = {tariff_id.casefold() for ids in several for tariff_id in ids}
    if not keys:
        return {}
    query = select(Tariff.__table__).where(_TARIFF.tariff_key.in_(keys), _TARIFF.current.is_(True))
    return {key_of(row): row for row in connection.execute(query)}


def _as_seen(connector: Row[Any], party: Party, hidden: Hidden, tariffs: Mapping[Key, Row[Any]]) -> Any:
    """With the ids of those tariffs that this reader pays: not those of others (TA-06), and never two at once (LO-49)."""
    named = connector.tariff_ids or ()
    keys = [key for tariff_id in named if (key := (*party, tariff_id.casefold())) not in hidden]
    if len(keys) > 1:
        keys = [key_of(row) for row in offered(tariffs[key] for key in keys if key in tariffs)]
    if len(keys) == len(named):
        return connector
    ids = [tariff_id for tariff_id in named if (*party, tariff_id.casefold()) in keys]
    return SimpleNamespace(**{**connector._mapping, "tariff_ids": ids})
