"""What is old enough is deleted, a little at a time; what is still needed for a bill is not."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, TypeAlias

import structlog
from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, inspect, or_, select, tuple_

from csms import message_store, models
from csms.database import Database
from csms.lifecycle import OPEN_STATES
from csms.models import (
    Alert,
    AuthorizationDecision,
    DeadLetter,
    FirmwareUpdate,
    HandledEvent,
    InstalledProfile,
    JournalCursor,
    JournalEntry,
    MeterSampleRow,
    RawEvent,
    RemoteRequest,
    Reservation,
    Review,
    SecurityEvent,
    StationBoot,
    StationCertificate,
    Transaction,
)

log = structlog.get_logger(__name__)

EVERY_S = 3600.0
PAUSE_S = 0.2
AT_MOST = 5_000  # rows in one transaction: nobody waits long for it

Trim: TypeAlias = Callable[[Connection, datetime, int], int]  # what is older, how many at most; how many went


def delete_samples(connection: Connection, days: int, now: datetime, *, at_most: int = AT_MOST) -> int:
    """Meter samples received more than `days` ago, except those of transactions that run or wait in review. Returns how
    many; fewer than `at_most` means that no more are left."""
    sample = MeterSampleRow
    old = (
        select(sample.received_at, sample.event_id)
        .where(sample.received_at < now - timedelta(days=days), ~_needed(sample.transaction_id))
        .limit(at_most)
    )
    return connection.execute(delete(sample).where(tuple_(sample.received_at, sample.event_id).in_(old))).rowcount


def _needed(transaction_id: Any) -> ColumnElement[bool]:
    """Its transaction runs, or waits in review."""
    return exists().where(
        Transaction.id == transaction_id,
        or_(
            Transaction.state.in_([state.value for state in OPEN_STATES]),
            exists().where(and_(Review.transaction_id == Transaction.id, Review.state == "open")),
        ),
    )


# ---- what happened, beside transactions and bills -------------------------------------------------------------------


class Past(NamedTuple):
    """Rows of `model` go by `age`, null while they are not over, unless `needed`. `in_order`: its ids rise with age and none
    is needed for long, so that only the lowest are looked at. `days`: for how long they are kept, if not as the history."""

    model: type[models.Base]
    age: ColumnElement[Any] | Any
    needed: ColumnElement[bool] | None = None
    in_order: bool = False
    days: int | None = None


_certificate = StationCertificate
HISTORY: Final[Mapping[str, Past]] = {
    "security_events": Past(SecurityEvent, SecurityEvent.received_at, in_order=True),
    "authorization_decisions": Past(AuthorizationDecision, AuthorizationDecision.at),
    "station_boots": Past(StationBoot, StationBoot.received_at, in_order=True),
    "connections": Past(models.Connection, models.Connection.closed_at),
    "alerts": Past(Alert, Alert.closed_at),
    # One that was revoked is refused until it ends by itself.
    "station_certificates": Past(_certificate, func.coalesce(_certificate.expires_at, _certificate.finished_at)),
    "raw_events": Past(RawEvent, RawEvent.received_at, needed=_needed(RawEvent.transaction_id)),
    # Of a partner's request whoever must tell the partner knows more, and trims it.
    "remote_requests": Past(
        RemoteRequest, RemoteRequest.created_at, needed=RemoteRequest.requested_by.startswith("partner:")
    ),
    "firmware_updates": Past(FirmwareUpdate, FirmwareUpdate.finished_at),
    "reservations": Past(Reservation, Reservation.finished_at),
    "charging_profiles": Past(InstalledProfile, InstalledProfile.finished_at),
    "handled_events": Past(HandledEvent, HandledEvent.handled_at, in_order=True, days=1),
    "dead_letters": Past(DeadLetter, DeadLetter.at, in_order=True),
}


def delete_history(connection: Connection, name: str, before: datetime, *, at_most: int = AT_MOST) -> int:
    """Rows of HISTORY that are over since before then; returns how many."""
    past = HISTORY[name]
    [key] = inspect(past.model).primary_key
    old = select(key).where(past.age < before).limit(at_most)
    if past.needed is not None:
        old = old.where(~past.needed)
    if past.in_order:
        old = old.where(key.in_(select(key).order_by(key).limit(at_most)))
    return connection.execute(delete(past.model).where(key.in_(old))).rowcount


def delete_facts(connection: Connection, before: datetime, at_most: int = AT_MOST) -> int:
    """Facts of the journal that are older and that every reader has passed; returns how many."""
    entry = JournalEntry
    lowest = select(entry.id).order_by(entry.id).limit(at_most)
    if connection.dialect.name == "sqlite":
        passed = entry.id <= select(func.min(JournalCursor.position)).scalar_subquery()
    else:
        passed = entry.xid < select(JournalCursor.xid).order_by(JournalCursor.xid).limit(1).scalar_subquery()
    gone = delete(entry).where(entry.id.in_(lowest), entry.recorded_at < before, passed)
    return connection.execute(gone).rowcount


# ---- again and again ------------------------------------------------------------------------------------------------


class Retention:
    def __init__(
        self,
        database: Database,
        *,
        message_days: int,
        sample_days: int,
        history_days: int,
        clock: Callable[[], datetime],
        also: Mapping[str, Trim] | None = None,
    ) -> None:
        """`also`: what others keep as long as the history."""
        self._database = database
        self._message_days = message_days
        self._sample_days = sample_days
        self._history_days = history_days
        self._clock = clock
        self._history: Mapping[str, Trim] = {
            **{name: _trim_of(name) for name in HISTORY},
            "journal": delete_facts,
            **(also or {}),
        }

    async def run(self) -> None:
        """Every hour, until cancelled."""
        while True:
            trims = (self.trim_messages, self.trim_samples, self.trim_history)
            more = [await asyncio.to_thread(trim) for trim in trims]
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

    def trim_history(self) -> bool:
        """True when more may be left."""
        now = self._clock()
        more = []
        for name, trim in self._history.items():
            days = HISTORY[name].days if name in HISTORY else None
            before = now - timedelta(days=self._history_days if days is None else days)
            with self._database.write() as connection:
                gone = trim(connection, before, AT_MOST)
            more.append(self._told(name, gone))
        return any(more)

    def _told(self, what: str, gone: int) -> bool:
        if gone:
            log.info("deleted_by_age", what=what, rows=gone)
        return gone >= AT_MOST


def _trim_of(name: str) -> Trim:
    return lambda connection, before, at_most: delete_history(connection, name, before, at_most=at_most)
