"""What is old enough is deleted, a little at a time; what is still needed for a bill is not."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection, and_, delete, exists, or_, select, tuple_

from csms import message_store
from csms.database import Database
from csms.lifecycle import OPEN_STATES
from csms.models import MeterSampleRow, Review, Transaction

log = structlog.get_logger(__name__)

EVERY_S = 3600.0
PAUSE_S = 0.2
AT_MOST = 5_000  # rows in one transaction: nobody waits long for it


def delete_samples(connection: Connection, days: int, now: datetime, *, at_most: int = AT_MOST) -> int:
    """Meter samples received more than `days` ago, except those of transactions that run or wait in review. Returns how
    many; fewer than `at_most` means that no more are left."""
    sample, transaction = MeterSampleRow, Transaction
    needed = exists().where(
        transaction.id == sample.transaction_id,
        or_(
            transaction.state.in_([state.value for state in OPEN_STATES]),
            exists().where(and_(Review.transaction_id == transaction.id, Review.state == "open")),
        ),
    )
    old = (
        select(sample.received_at, sample.event_id)
        .where(sample.received_at < now - timedelta(days=days), ~needed)
        .limit(at_most)
    )
    return connection.execute(delete(sample).where(tuple_(sample.received_at, sample.event_id).in_(old))).rowcount


class Retention:
    def __init__(
        self, database: Database, *, message_days: int, sample_days: int, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._message_days = message_days
        self._sample_days = sample_days
        self._clock = clock

    async def run(self) -> None:
        """Every hour, until cancelled."""
        while True:
            more = [await asyncio.to_thread(trim) for trim in (self.trim_messages, self.trim_samples)]
            await asyncio.sleep(PAUSE_S if any(more) else EVERY_S)

    def trim_messages(self) -> bool:
        """True when more may be left."""
        with self._database.write_log() as connection:
            gone = message_store.delete_older(connection, self._message_days, self._clock(), at_most=AT_MOST)
        return self._told("messages", gone)

    def trim_samples(self) -> bool:
        """True when more may be left."""
        with self._database.write() as connection:
            gone = delete_samples(connection, self._sample_days, self._clock())
        return self._told("meter_samples", gone)

    def _told(self, what: str, gone: int) -> bool:
        if gone:
            log.info("deleted_by_age", what=what, rows=gone)
        return gone >= AT_MOST
