"""Lists as partners page through them: filtered and counted by the database, in an order that no update disturbs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func

from adapters.rendered import Rendered

LIMIT = 100  # where the route gives none

Listed = tuple[list[Rendered], int, bool]  # the page, how many there are in all, whether it is the last


@dataclass(frozen=True, kw_only=True)
class Page:
    """`date_from` inclusive, `date_to` exclusive, both on last_updated (PG-02)."""

    offset: int = 0
    limit: int = LIMIT
    date_from: datetime | None = None
    date_to: datetime | None = None


def page_of(filters: dict[str, Any]) -> Page:
    """From py_ocpi's filters, which the routes have checked."""
    return Page(
        offset=filters.get("offset") or 0,
        limit=LIMIT if filters.get("limit") is None else filters["limit"],
        date_from=filters.get("date_from"),
        date_to=filters.get("date_to"),
    )


def fetch(
    connection: Connection,
    query: Any,
    page: Page,
    *,
    updated: ColumnElement[datetime],
    order: Sequence[ColumnElement[Any]],
) -> tuple[Sequence[Row[Any]], int, bool]:
    """The rows of the page, how many there are in all (PG-05), and whether this is the last page."""
    if page.date_from is not None:
        query = query.where(updated >= page.date_from)
    if page.date_to is not None:
        query = query.where(updated < page.date_to)
    total = connection.execute(query.with_only_columns(func.count(), maintain_column_froms=True)).scalar_one()
    if page.offset >= total:
        return [], total, True
    rows = connection.execute(query.order_by(*order).offset(page.offset).limit(page.limit)).all()
    return rows, total, page.offset + len(rows) >= total
