"""Why was this card let in, or not? Every decision, by card, station and day."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import msgspec
from sqlalchemy import select

from csms.models import AuthorizationDecision
from csms.standing import short
from csms.tokens import normalize
from csms.users import Role
from ocpi_bridge.api.asked import Asked, Moment, Name, Page, Paging, Route, Text, cursor_number, paged
from ocpi_bridge.api.transactions import raw_card


class DecisionsQuery(Paging, frozen=True, kw_only=True):
    """`tag` as it was presented, in any case. `day` (UTC) is short for its first and last moment."""

    tag: Name | None = None
    station: Name | None = None
    day: date | None = None
    since: Moment | None = None
    until: Moment | None = None
    status: Text | None = None


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """`kind`: authorize, start, stop, or owner (a question to the card's owner)."""

    id: int
    at: datetime
    station_id: str
    kind: str
    id_token: str | None
    status: str
    reason: str
    token_id: int | None
    owner_id: int | None
    auth_method: str | None
    authorization_reference: str | None
    event_id: str


def list_decisions(asked: Asked[DecisionsQuery, None]) -> Page[Decision]:
    wanted, after = asked.query, cursor_number(asked.query.after)
    row = AuthorizationDecision
    query = select(row.__table__).order_by(row.id.desc()).limit(wanted.limit + 1)
    if after is not None:
        query = query.where(row.id < after)
    if wanted.tag is not None:
        query = query.where(row.id_token_key == short(normalize(wanted.tag)))
    if wanted.station is not None:
        query = query.where(row.station_id == wanted.station)
    if wanted.day is not None:
        first = datetime.combine(wanted.day, time(), UTC)
        query = query.where(row.at >= first)
        if wanted.day < date.max:
            query = query.where(row.at < first + timedelta(days=1))
    if wanted.since is not None:
        query = query.where(row.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(row.at <= wanted.until)
    if wanted.status is not None:
        query = query.where(row.status == wanted.status)
    rows = asked.connection.execute(query).all()
    return paged(rows, wanted.limit, lambda row: row.id, lambda row: _decision(row, asked))


def _decision(row: Any, asked: Asked[Any, None]) -> Decision:
    names = [name for name in Decision.__struct_fields__ if name != "id_token"]
    return Decision(id_token=asked.card(raw_card(row.id_token)), **{name: getattr(row, name) for name in names})


ROUTES = (
    Route(
        method="GET",
        path="/authorizations",
        role=Role.VIEWER,
        summary="Decisions about cards, the newest first; also as text/csv.",
        handler=list_decisions,
        query=DecisionsQuery,
        output=Page[Decision],
        csv=Decision.__struct_fields__,
    ),
)
