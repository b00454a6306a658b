"""What the operator must know."""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import select

from csms import alerts
from csms.models import Alert
from csms.users import Role
from ocpi_bridge.api.asked import Asked, Name, Number, Page, Paging, Route, cursor_number, paged


class AlertsQuery(Paging, frozen=True, kw_only=True):
    open: bool | None = None
    kind: Name | None = None
    station: Name | None = None


class AlertRow(msgspec.Struct, frozen=True, kw_only=True):
    """`closed_by` null: it was over by itself."""

    id: int
    kind: str
    subject: str
    station_id: str | None
    detail: dict[str, Any]
    opened_at: datetime
    closed_at: datetime | None
    closed_by: str | None


def list_alerts(asked: Asked[AlertsQuery, None]) -> Page[AlertRow]:
    wanted, after = asked.query, cursor_number(asked.query.after)
    row = Alert
    query = select(row.__table__).order_by(row.id.desc()).limit(wanted.limit + 1)
    if after is not None:
        query = query.where(row.id < after)
    if wanted.open is not None:
        query = query.where(row.closed_at.is_(None) if wanted.open else row.closed_at.is_not(None))
    if wanted.kind is not None:
        query = query.where(row.kind == wanted.kind)
    if wanted.station is not None:
        query = query.where(row.station_id == wanted.station)
    rows = asked.connection.execute(query).all()
    return paged(rows, wanted.limit, lambda row: row.id, lambda row: _row(row, asked))


def close(asked: Asked[None, None]) -> AlertRow:
    return _row(alerts.close_by_hand(asked.connection, asked.path["id"], by=asked.by, now=asked.now), asked)


def _row(row: Any, asked: Asked[Any, None]) -> AlertRow:
    known = {name: getattr(row, name) for name in AlertRow.__struct_fields__}
    return AlertRow(**{**known, "detail": asked.value(row.detail)})


ROUTES = (
    Route(
        method="GET",
        path="/alerts",
        role=Role.VIEWER,
        summary="Alerts, the newest first.",
        handler=list_alerts,
        query=AlertsQuery,
        output=Page[AlertRow],
    ),
    Route(
        method="POST",
        path="/alerts/{id}/close",
        role=Role.OPERATOR,
        summary="Close an alert that somebody has looked at; it opens again when its cause returns.",
        handler=close,
        output=AlertRow,
        path_types={"id": Number},
    ),
)
