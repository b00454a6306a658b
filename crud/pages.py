"""Lists as partners page through them: filtered and counted by the database, in an order that no update disturbs."""

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import BigInteger, ColumnElement, Connection, Integer, Row, func, literal, tuple_

from adapters.rendered import Rendered
from crud.caller import Refusal
from csms.database import Plain, Utc

LIMIT = 100  # where the route gives none
FOLLOWING = "following"  # in the filters, after a list: where the next page begins

Listed = tuple[list[Rendered], int, bool]  # the page, how many there are in all, whether it is the last


class Joined(list[Rendered]):
    """Objects and their bytes, `,` between them: a page that can leave again as it left before."""

    def __init__(self, objects: Iterable[Rendered], json_bytes: Iterable[bytes], *, following: str | None) -> None:
        super().__init__(objects)
        self.json_bytes = b",".join(json_bytes)
        self.following = following


@dataclass(frozen=True, kw_only=True)
class Page:
    """`date_from` inclusive, `date_to` exclusive, both on last_updated (PG-02). `after`: of a next link of ours, the order of
    the last object before the page; `filters` is told the same of the page itself (PG-18)."""

    filters: dict[str, Any]
    offset: int = 0
    limit: int = LIMIT
    date_from: datetime | None = None
    date_to: datetime | None = None
    after: str | None = None

    @property
    def asked(self) -> tuple[object, ...]:
        return self.offset, self.limit, self.date_from, self.date_to, self.after

    def is_whole(self, last: bool) -> bool:
        """It holds all that there is: nothing need be counted."""
        return last and not self.offset and self.after is None


def page_of(filters: dict[str, Any]) -> Page:
    """From py_ocpi's filters, which the routes have checked."""
    return Page(
        filters=filters,
        offset=filters.get("offset") or 0,
        limit=LIMIT if filters.get("limit") is None else filters["limit"],
        date_from=filters.get("date_from"),
        date_to=filters.get("date_to"),
        after=filters.get("after"),
    )


def fetch(
    connection: Connection,
    query: Any,
    page: Page,
    *,
    updated: ColumnElement[datetime],
    order: Sequence[ColumnElement[Any]],
) -> tuple[Sequence[Row[Any]], int, bool]:
    """The rows of the page, how many there are in all (PG-05), and whether this is the last page. Deep pages that our own
    links lead to cost no more than the first."""
    if page.date_from is not None:
        query = query.where(updated >= page.date_from)
    if page.date_to is not None:
        query = query.where(updated < page.date_to)
    keyed = query.add_columns(*(column.label(f"key_{number}") for number, column in enumerate(order))).order_by(*order)
    if page.after is not None:
        place = zip(place_of(page.after, order), order, strict=True)
        keyed = keyed.where(tuple_(*order) > tuple_(*(literal(value, column.type) for value, column in place)))
    elif page.offset:
        keyed = keyed.offset(page.offset)
    rows = connection.execute(keyed.limit(page.limit + 1)).all()
    last = len(rows) <= page.limit
    total = len(rows)
    if not page.is_whole(last):
        total = connection.execute(query.with_only_columns(func.count(), maintain_column_froms=True)).scalar_one()
    if not last:
        page.filters[FOLLOWING] = _cursor([getattr(rows[page.limit - 1], f"key_{n}") for n in range(len(order))])
    return rows[: page.limit], total, last


def _cursor(key: Sequence[Any]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(key)).decode().rstrip("=")


def place_of(cursor: str, order: Sequence[ColumnElement[Any]]) -> Sequence[Any]:
    """Where a next link of ours begins, in the order of its list; raises Refusal 2001 (PG-17)."""
    try:
        values = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        if not isinstance(values, list) or len(values) != len(order):
            raise ValueError(cursor)
        return [READERS[type(column.type)](value) for value, column in zip(values, order, strict=True)]
    except (ValueError, TypeError, binascii.Error):
        raise Refusal(200, 2001, "after is no next link of ours", {"field": "after"}) from None


def _moment(value: str) -> datetime:
    read = datetime.fromisoformat(value)
    if read.tzinfo is None:
        raise ValueError(value)
    return read


def _whole(value: int) -> int:
    if abs(int(value)) >= 2**63:
        raise ValueError(value)
    return int(value)


READERS: dict[type[Any], Callable[[Any], Any]] = {Utc: _moment, Plain: str, BigInteger: _whole, Integer: _whole}
