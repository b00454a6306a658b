"""What a transaction that runs, or waits in review, still needs of samples and messages, however old these are."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    Text,
    and_,
    column,
    exists,
    false,
    or_,
    select,
    text,
    union,
    values,
)

from csms.database import Utc
from csms.lifecycle import OPEN_STATES
from csms.message_store import id_at
from csms.models import Review, Transaction
from csms.models.message_log import BEGINS
from csms.partitions import Month

REFUSING_AT_MOST = 20  # are named; one is enough to refuse
AROUND = timedelta(hours=1)  # what a station said so long before and after a transaction belongs to it


def needed(transaction_id: Any) -> ColumnElement[bool]:
    """Its transaction runs, or waits in review."""
    return exists().where(
        Transaction.id == transaction_id,
        or_(
            Transaction.state.in_([state.value for state in OPEN_STATES]),
            exists().where(and_(Review.transaction_id == Transaction.id, Review.state == "open")),
        ),
    )


class Disputed(NamedTuple):
    """A transaction in review: what its station said from one moment to another is evidence."""

    transaction_id: str
    station_id: str
    since: datetime
    until: datetime


def disputed(connection: Connection, before: datetime) -> Sequence[Disputed]:
    """Those that began before then."""
    row = Transaction
    query = (
        select(row.id, row.station_id, row.started_received_at, row.ended_received_at, row.last_sample_at)
        .join(Review, Review.transaction_id == row.id)
        .where(Review.state == "open", row.started_received_at < before)
        .order_by(row.id)
    )
    return [
        Disputed(id_, station_id, began - AROUND, max(at for at in (began, ended, heard) if at is not None) + AROUND)
        for id_, station_id, began, ended, heard in connection.execute(query)
    ]


def evidence(frame: Table, kept: Sequence[Disputed]) -> ColumnElement[bool]:
    """A frame of one of these, of which there may be thousands."""
    if not kept:
        return false()
    columns = (column("station", Text), column("since", Utc), column("until", Utc))
    spans = values(*columns, name="spans").data([(one.station_id, one.since, one.until) for one in kept])
    disputes = spans.cte("disputes").c
    return exists().where(disputes.station == frame.c.station_id, frame.c.at.between(disputes.since, disputes.until))


def refusing(connection: Connection, month: Month, kept: Sequence[Disputed] = ()) -> Sequence[str]:
    """The transactions for whose sake this month must stay, at most REFUSING_AT_MOST of them. Of messages they are among
    `kept`."""
    rows = month.rows
    if month.table == "meter_samples":
        running = select(Transaction.id).where(text("state <> 'ended'"))  # word for word the condition of its index
        reviewed = select(Review.transaction_id.label("id")).where(Review.state == "open")
        ids = union(running, reviewed).subquery().c.id
        here = select(ids).where(exists().where(rows.c.transaction_id == ids))
        return connection.execute(here.order_by(ids).limit(REFUSING_AT_MOST)).scalars().all()
    found = []
    for one in kept:
        written = rows.c.id.between(id_at(one.since), id_at(one.until))
        said = select(rows.c.id).where(rows.c.station_id == one.station_id, BEGINS, written)
        if connection.execute(said.limit(1)).first():
            found.append(one.transaction_id)
        if len(found) == REFUSING_AT_MOST:
            break
    return found
