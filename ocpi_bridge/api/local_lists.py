"""The lists of cards that stations keep for when they are alone."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import select

from csms.local_list import lists
from csms.models import LocalList
from csms.users import Role
from ocpi_bridge.api.asked import Asked, Input, Page, Paging, Route, Text, paged
from ocpi_bridge.api.problems import not_found


class LocalListsQuery(Paging, frozen=True, kw_only=True):
    state: Text | None = None


class LocalListRow(msgspec.Struct, frozen=True, kw_only=True):
    """`version` and `cards` are what the station holds as far as we know. `state`: never, sent, failed, not_supported,
    offline. `due_at`: when it is told next."""

    station_id: str
    wanted: bool | None
    version: int | None
    cards: int
    state: str
    detail: str | None
    tried_at: datetime | None
    succeeded_at: datetime | None
    due_at: datetime | None


class Keeping(Input, frozen=True, kw_only=True):
    wanted: bool


def list_lists(asked: Asked[LocalListsQuery, None]) -> Page[LocalListRow]:
    wanted = asked.query
    row = LocalList
    query = select(row.__table__).order_by(row.station_id).limit(wanted.limit + 1)
    if wanted.after is not None:
        query = query.where(row.station_id > wanted.after)
    if wanted.state is not None:
        query = query.where(row.state == wanted.state)
    rows = asked.connection.execute(query).all()
    return paged(rows, wanted.limit, lambda row: row.station_id, _row)


def keep(asked: Asked[None, Keeping]) -> LocalListRow:
    change = lists.enable if asked.body.wanted else lists.disable
    change(asked.connection, asked.path["station_id"], asked.now)
    return _found(asked)


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    stations: int


def keep_all(asked: Asked[None, None]) -> Kept:
    return Kept(stations=lists.enable_all(asked.connection, asked.now))


def push(asked: Asked[None, None]) -> LocalListRow:
    lists.push(asked.connection, asked.path["station_id"], asked.now)
    return _found(asked)


def _found(asked: Asked[None, Any]) -> LocalListRow:
    query = select(LocalList.__table__).where(LocalList.station_id == asked.path["station_id"])
    row = asked.connection.execute(query).one_or_none()
    if row is None:
        raise not_found("local list", asked.path["station_id"])
    return _row(row)


def _row(row: Any) -> LocalListRow:
    names = [name for name in LocalListRow.__struct_fields__ if name != "cards"]
    return LocalListRow(cards=len(row.entries), **{name: getattr(row, name) for name in names})


ROUTES: Sequence[Route] = (
    Route(
        method="GET",
        path="/local-lists",
        role=Role.VIEWER,
        summary="Which stations keep a list of cards, and what became of telling them.",
        handler=list_lists,
        query=LocalListsQuery,
        output=Page[LocalListRow],
    ),
    Route(
        method="PUT",
        path="/stations/{station_id}/local-list",
        role=Role.OPERATOR,
        summary="Have a station keep a list of cards, or empty it and leave it alone.",
        handler=keep,
        body=Keeping,
        output=LocalListRow,
    ),
    Route(
        method="POST",
        path="/local-lists/enable-all",
        role=Role.OPERATOR,
        summary="Have every station that is known now keep a list of cards.",
        handler=keep_all,
        output=Kept,
    ),
    Route(
        method="POST",
        path="/stations/{station_id}/local-list/push",
        role=Role.OPERATOR,
        summary="Tell a station its cards now instead of at night.",
        handler=push,
        output=LocalListRow,
        status=202,
    ),
)
