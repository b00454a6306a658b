"""Rows of stations are listed in one way: the newest first, of one station, in one state."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import InstrumentedAttribute

from ocpi_bridge.api.asked import Asked, Name, Paging, Text, cursor_number


class OfStation(Paging, frozen=True, kw_only=True):
    """None: of any, in any."""

    station: Name | None = None
    state: Text | None = None


def newest(asked: Asked[Any, None], row: Any, number: InstrumentedAttribute[int]) -> Sequence[Row[Any]]:
    """The rows of such a page and one more, by their falling number."""
    wanted, after = asked.query, cursor_number(asked.query.after)
    query = select(row.__table__).order_by(number.desc()).limit(wanted.limit + 1)
    if after is not None:
        query = query.where(number < after)
    if wanted.station is not None:
        query = query.where(row.station_id == wanted.station)
    if wanted.state is not None:
        query = query.where(row.state == str(wanted.state))
    return asked.connection.execute(query).all()
