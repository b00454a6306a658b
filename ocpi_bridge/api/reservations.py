"""Who keeps which EVSE, until when."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from csms.models import Reservation
from csms.users import Role
from ocpi_bridge.api.asked import Asked, Page, Route, paged
from ocpi_bridge.api.of_stations import OfStation, newest


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


def list_reservations(asked: Asked[OfStation, None]) -> Page[ReservationRow]:
    rows = newest(asked, Reservation, Reservation.number)
    return paged(rows, asked.query.limit, lambda row: row.number, lambda row: _row(row, asked))


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
        query=OfStation,
        output=Page[ReservationRow],
    ),
)
