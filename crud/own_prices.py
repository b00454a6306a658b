"""Some partners price by themselves what they are told, and want no prices of ours: which, and of what began when (CD-34)."""

from collections.abc import Callable, Collection
from datetime import datetime

from sqlalchemy import Connection, bindparam, select, update

from crud.models import Partner
from csms import clock

_SPANS = select(Partner.id, Partner.prices_itself).where(Partner.id.in_(bindparam("ids", expanding=True)))


def let_price(connection: Connection, partner_id: int, itself: bool, now: datetime) -> None:
    """From now on it prices sessions itself, or takes our prices again (CD-34)."""
    query = select(Partner.prices_itself).where(Partner.id == partner_id)
    spans = [list(span) for span in connection.execute(query).scalar_one() or ()]
    open_ = bool(spans) and spans[-1][1] is None
    if itself and not open_:
        spans.append([now.isoformat(), None])
    elif open_ and not itself:
        spans[-1][1] = now.isoformat()
    connection.execute(update(Partner).where(Partner.id == partner_id).values(prices_itself=spans or None))


def prices_itself(connection: Connection, owners: Collection[int | None]) -> Callable[[int | None, datetime], bool]:
    """Whether one of these partners priced, at a moment, what began then."""
    known = {
        row.id: [(clock.read(since), clock.read(until)) for since, until in row.prices_itself or ()]
        for row in connection.execute(_SPANS, {"ids": [each for each in owners if each]})
    }

    def at(owner: int | None, moment: datetime) -> bool:
        spans = known.get(owner or 0, ())
        return any(
            since is not None and since <= moment and (until is None or moment < until) for since, until in spans
        )

    return at
