"""All workers lock in one order: stations, then what belongs to them, each by its key; two never wait for each other.

Who changes rows of several stations takes the stations first, and with them their EVSEs; a site is shared by stations, so who
touches sites at two moments of a transaction takes them at the first. SQLite has one writer, and nothing to lock.
"""

from collections.abc import Iterable
from typing import Any, cast

from sqlalchemy import Connection, Select, Table, bindparam, select

from csms.models import Evse, Location, Station

_S = cast(Table, Station.__table__)
_E = cast(Table, Evse.__table__)
_L = cast(Table, Location.__table__)
_STATIONS = (
    select(_S.c.station_id)
    .where(_S.c.station_id.in_(bindparam("keys", expanding=True)))
    .order_by(_S.c.station_id.collate("C"))  # as Python sorts, whatever the database's language
    .with_for_update(key_share=True)
)
_SITES = select(_L.c.id).order_by(_L.c.id).with_for_update(key_share=True)
_NAMED_SITES = _SITES.where(_L.c.id.in_(bindparam("keys", expanding=True)))
_SITES_OF = _SITES.where(
    _L.c.id.in_(select(_E.c.location_row).where(_E.c.station_id.in_(bindparam("keys", expanding=True))))
)


def stations(connection: Connection, station_ids: Iterable[str]) -> None:
    _lock(connection, _STATIONS, station_ids)


def sites_of(connection: Connection, station_ids: Iterable[str]) -> None:
    _lock(connection, _SITES_OF, station_ids)


def sites(connection: Connection, ids: Iterable[int]) -> None:
    """By their rows' ids."""
    _lock(connection, _NAMED_SITES, ids)


def _lock(connection: Connection, query: Select[Any], keys: Iterable[Any]) -> None:
    wanted = sorted(set(keys))
    if wanted and connection.dialect.name != "sqlite":
        connection.execute(query, {"keys": wanted}).all()
