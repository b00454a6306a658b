"""Which facts a reader can see, and the order in which they became visible; put together once, since readers ask often."""

from collections.abc import Collection
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Select, Table, bindparam, select, text

from csms.models import JournalEntry

_J = cast(Table, JournalEntry.__table__)

Place = tuple[int, int]  # (xid, id) of a fact: the order in which facts become visible
START: Place = (0, 0)  # before the first


def place(xid: Any, position: int) -> Place:
    return int(xid), position


_NEWEST = select(_J.c.xid, _J.c.id).order_by(_J.c.id.desc()).limit(1)
_NEWEST_ON_POSTGRES = (
    select(_J.c.xid, _J.c.id)
    .where(text("xid < pg_snapshot_xmin(pg_current_snapshot())"))
    .order_by(_J.c.xid.desc(), _J.c.id.desc())
    .limit(1)
)


def newest_of(connection: Connection) -> Place | None:
    """The last fact that no running transaction can still precede.

    PostgreSQL: `xid < pg_snapshot_xmin(...)` leaves out what is newer than the oldest running transaction, so a late
    commit is never skipped. SQLite commits in the order of ids.
    """
    row = connection.execute(_NEWEST_ON_POSTGRES if _on_postgres(connection) else _NEWEST).one_or_none()
    return place(*row) if row is not None else None


def facts_between(
    *, postgres: bool, types: Collection[str] | None, only: ColumnElement[bool] | None = None
) -> Select[Any]:
    """The facts after one place up to another, in order: `between` names the places, `limit` how many."""
    query = select(
        _J.c.xid,
        _J.c.id,
        _J.c.type,
        _J.c.subject,
        _J.c.station_id,
        _J.c.event_id,
        _J.c.ocpp_version,
        _J.c.schema_version,
        _J.c.recorded_at,
        _J.c.data,
    ).limit(bindparam("limit"))
    if types is not None:
        query = query.where(_J.c.type.in_(types))
    if only is not None:
        query = query.where(only)
    if postgres:
        inside = (
            "(xid, id) > (CAST(:xid AS xid8), :position) AND (xid, id) <= (CAST(:until_xid AS xid8), :until_position)"
        )
        return query.where(text(inside)).order_by(_J.c.xid, _J.c.id)
    return query.where(_J.c.id > bindparam("position"), _J.c.id <= bindparam("until_position")).order_by(_J.c.id)


def between(connection: Connection, after: Place, until: Place) -> dict[str, Any]:
    ids = {"position": after[1], "until_position": until[1]}
    return ids | {"xid": str(after[0]), "until_xid": str(until[0])} if _on_postgres(connection) else ids


def _on_postgres(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"
