"""All workers lock in one order: stations, then what belongs to them, each by its key; two never wait for each other.

Who changes rows of stations, or of their EVSEs, takes the stations first, and with them their EVSEs, which nobody touches
without; a site is shared by stations, so who touches sites at two moments of a transaction takes them at the first. Many cards
are taken by their ids, before any is written. SQLite has one writer, and nothing to lock.
"""

from collections.abc import Iterable
from typing import Any, cast

from sqlalchemy import Connection, Table, select

from csms.models import Evse, Location, Station, Token
from csms.prepared import Look, among

_S = cast(Table, Station.__table__)
_E = cast(Table, Evse.__table__)
_L = cast(Table, Location.__table__)
_T = cast(Table, Token.__table__)
_ALL_STATIONS = (
    select(_S.c.station_id)
    .order_by(_S.c.station_id.collate("C"))  # as Python sorts, whatever the database's language
    .with_for_update(key_share=True)
)
_STATIONS = Look(_ALL_STATIONS.where(among(_S.c.station_id, "keys")))
_SITES = select(_L.c.id).order_by(_L.c.id).with_for_update(key_share=True)
_NAMED_SITES = Look(_SITES.where(among(_L.c.id, "keys")))
_SITES_OF = Look(_SITES.where(_L.c.id.in_(select(_E.c.location_row).where(among(_E.c.station_id, "keys")))))

_CARDS = Look(select(_T.c.id).where(among(_T.c.id, "keys")).order_by(_T.c.id).with_for_update(key_share=True))


def stations(connection: Connection, station_ids: Iterable[str]) -> None:
    _lock(connection, _STATIONS, station_ids)


def all_stations(connection: Connection) -> None:
    if connection.dialect.name != "sqlite":
        connection.execute(_ALL_STATIONS).all()


def sites_of(connection: Connection, station_ids: Iterable[str]) -> None:
    _lock(connection, _SITES_OF, station_ids)


def sites(connection: Connection, ids: Iterable[int]) -> None:
    """By their rows' ids."""
    _lock(connection, _NAMED_SITES, ids)


def cards(connection: Connection, ids: Iterable[int]) -> None:
    """By their rows' ids."""
    _lock(connection, _CARDS, ids)


def _lock(connection: Connection, look: Look, keys: Iterable[Any]) -> None:
    wanted = sorted(set(keys))
    if wanted and connection.dialect.name != "sqlite":
        look.rows(connection, keys=wanted)
