"""Who keeps which EVSE, until when."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import select

from csms.models import Reservation
from csms.users import Role
from ocpi_bridge.api.asked import Asked, Name, Page, Paging, Route, Text, cursor_number, paged


class ReservationsQuery(Paging, frozen=True, kw_only=True):
    station: Name | None = None
    state: Text | None = None


class ReservationRow(msgspec.Struct, frozen=True, kw_only=True):
    """`state`: requested, active, refused, cancelled, used, expired. `evse` 0: any of the station's."""

    number: int
    station_id: str
    evse: int
    tag: str | None
    token_id: int | None
    owner_id: int | None
    reference: str | None
    state: str
    detail: str | None
    requested_by: str
    remote_request_id: str | None
    transaction_id: str | None
    created_at: datetime
    expires_at: datetime
    finished_at: datetime | None


def list_reservations(asked: Asked[ReservationsQuery, None]) -> Page[ReservationRow]:
    wanted, after = asked.query, cursor_number(asked.query.after)
    row = Reservation
    query = select(row.__table__).order_by(row.number.desc()).limit(wanted.limit + 1)
    if after is not None:
        query = query.where(row.number < after)
    if wanted.station is not None:
        query = query.where(row.station_id == wanted.station)
    if wanted.state is not None:
        query = query.where(row.state == wanted.state)
    rows = asked.connection.execute(query).all()
    return paged(rows, wanted.limit, lambda row: row.number, lambda row: _row(row, asked))


def _row(row: Any, asked: Asked[Any, None]) -> ReservationRow:
    names = [name for name in ReservationRow.__struct_fields__ if name != "tag"]
    return ReservationRow(tag=asked.card(row.tag), **{name: getattr(row, name) for name in names})


ROUTES: Sequence[Route] = (
    Route(
        method="GET",
        path="/reservations",
        role=Role.VIEWER,
        summary="Reservations, the newest first; made and cancelled by commands.",
        handler=list_reservations,
        query=ReservationsQuery,
        output=Page[ReservationRow],
    ),
)
