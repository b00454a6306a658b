"""How far each reader of the journal is behind, in facts and in seconds: what rises and does not fall again is stuck.

On PostgreSQL no reader passes what came after the oldest transaction that still runs, so one that is left open anywhere in the
cluster shows here, at all readers at once.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, func, select, text

from csms.models import JournalCursor, JournalEntry

COUNTED_AT_MOST = 10_000  # who is so far behind need not know it exactly


class Lag(NamedTuple):
    """`facts` not passed yet, COUNTED_AT_MOST or fewer; since when the first of them waits."""

    facts: int
    since: datetime | None


def lags(connection: Connection) -> Mapping[str, Lag]:
    """By subscriber."""
    cursors = connection.execute(select(JournalCursor.subscriber, JournalCursor.xid, JournalCursor.position)).all()
    return {subscriber: _behind(connection, xid, position) for subscriber, xid, position in cursors}


def facts_behind(connection: Connection) -> dict[str, int]:
    return {subscriber: lag.facts for subscriber, lag in lags(connection).items()}


def seconds_behind(connection: Connection, now: datetime) -> dict[str, float]:
    """Of a reader that has passed everything 0."""
    return {
        subscriber: 0.0 if lag.since is None else max(0.0, (now - lag.since).total_seconds())
        for subscriber, lag in lags(connection).items()
    }


def _behind(connection: Connection, xid: int, position: int) -> Lag:
    ahead = select(JournalEntry.recorded_at).limit(COUNTED_AT_MOST)
    if connection.dialect.name == "postgresql":
        after = text("(xid, id) > (CAST(:xid AS xid8), :position)").bindparams(xid=str(xid), position=position)
        ahead = ahead.where(after).order_by(JournalEntry.xid, JournalEntry.id)
    else:
        ahead = ahead.where(JournalEntry.id > position).order_by(JournalEntry.id)
    waiting = ahead.subquery()
    return Lag(*connection.execute(select(func.count(), func.min(waiting.c.recorded_at))).one())
