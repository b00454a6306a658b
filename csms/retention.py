"""What is old enough is deleted, a little at a time; what is still needed for a bill is not."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, TypeAlias

import structlog
from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    delete,
    func,
    inspect,
    select,
    tuple_,
)
from sqlalchemy.exc import OperationalError

from csms import models, partitions
from csms.clock_guard import ClockGuard
from csms.database import Database
from csms.message_store import WRITTEN_WITHIN, id_at
from csms.models import (
    Alert,
    AuthorizationDecision,
    DeadLetter,
    FirmwareUpdate,
    HandledEvent,
    InstalledProfile,
    JournalCursor,
    JournalEntry,
    RawEvent,
    RemoteRequest,
    Reservation,
    SecurityEvent,
    StationBoot,
    StationCertificate,
)
from csms.partitions import DEFAULT, MONTHLY, Month
from csms.unsettled import REFUSING_AT_MOST, Disputed, disputed, evidence, needed, refusing

log = structlog.get_logger(__name__)

EVERY_S = 3600.0
PAUSE_S = 0.2
AT_MOST = 5_000  # rows in one transaction: nobody waits long for it

Trim: TypeAlias = Callable[[Connection, datetime, int], int]  # what is older, how many at most; how many went


# ---- samples and messages ---------------------------------------------------------------------------------------------


def _rows_of(connection: Connection, table: str) -> Table:
    """From which rows are deleted by their age: on PostgreSQL only what lies in no month, since months go whole."""
    return DEFAULT[table] if connection.dialect.name == "postgresql" else MONTHLY[table].table


def delete_samples(connection: Connection, days: int, now: datetime, *, at_most: int = AT_MOST) -> int:
    """Meter samples received more than `days` ago, except those of transactions that run or wait in review. Returns how
    many; fewer than `at_most` means that no more are left."""
    sample = _rows_of(connection, "meter_samples")
    keys = (sample.c.received_at, sample.c.event_id)
    old = select(*keys).where(_old_sample(sample, days, now), ~needed(sample.c.transaction_id)).limit(at_most)
    return connection.execute(delete(sample).where(tuple_(*keys).in_(old))).rowcount


def _old_sample(sample: Table, days: int, now: datetime) -> ColumnElement[bool]:
    return sample.c.received_at < now - timedelta(days=days)


def delete_messages(
    connection: Connection, days: int, now: datetime, kept: Sequence[Disputed] = (), *, at_most: int = AT_MOST
) -> int:
    """Frames older than `days`, except those of `kept`; returns how many."""
    frame = _rows_of(connection, "messages")
    aged = _old_frame(frame, days, now)
    old = select(frame.c.id).where(aged, ~evidence(frame, kept)).order_by(frame.c.id).limit(at_most)
    ids = connection.execute(old).scalars().all()
    return connection.execute(delete(frame).where(frame.c.id.in_(ids), aged)).rowcount if ids else 0


def _old_frame(frame: Table, days: int, now: datetime) -> ColumnElement[bool]:
    """By its id too, which says when it was written: nothing else finds it on SQLite."""
    limit = now - timedelta(days=days)
    return and_(frame.c.at < limit, frame.c.id < id_at(limit + WRITTEN_WITHIN))


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
    "raw_events": Past(RawEvent, RawEvent.received_at, needed=needed(RawEvent.transaction_id)),
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
    old = select(key).where(_over(past, before)).limit(at_most)
    if past.in_order:
        old = old.where(key.in_(select(key).order_by(key).limit(at_most)))
    return connection.execute(delete(past.model).where(key.in_(old))).rowcount


def _over(past: Past, before: datetime) -> ColumnElement[bool]:
    return past.age < before if past.needed is None else and_(past.age < before, ~past.needed)


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
        """`also`: what others keep as long as the history. What the service does by itself it does only while `guard` has no
        doubt of the clock."""
        self._database = database
        self.guard = ClockGuard(database, clock=clock)
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
            more = await asyncio.to_thread(self._trim_unless_doubted)
            await asyncio.sleep(PAUSE_S if more else EVERY_S)

    def _trim_unless_doubted(self) -> bool:
        return not self.guard.doubted() and self.trim()

    def trim(self) -> bool:
        """A little of everything; True when more may be left."""
        return sum(trim() for trim in (self.trim_messages, self.trim_samples, self.trim_history)) > 0

    def trim_messages(self) -> bool:
        """True when more may be left."""
        now = self._clock()
        with self._database.read() as connection:
            kept = disputed(connection, now - timedelta(days=self._message_days))
        self._drop_months("messages", self._message_days, kept)
        with self._database.write_log() as connection:
            gone = delete_messages(connection, self._message_days, now, kept)
        return self._told("messages", gone)

    def trim_samples(self) -> bool:
        """True when more may be left."""
        self._drop_months("meter_samples", self._sample_days)
        with self._database.write() as connection:
            gone = delete_samples(connection, self._sample_days, self._clock())
        return self._told("meter_samples", gone)

    def _drop_months(self, table: str, days: int, kept: Sequence[Disputed] = ()) -> None:
        """Whole months, on PostgreSQL: when all that is in one is old enough, and nothing in it still needed."""
        for month in self._old_months(table, days):
            with self._database.read() as connection:
                refused = refusing(connection, month, kept)
            if refused:
                log.warning("month_kept", month=month.name, unsettled=refused)
                continue
            try:
                with self._database.write() as connection:
                    if partitions.hold(connection, month) and not refusing(connection, month, kept):
                        partitions.drop(connection, month)
                        log.info("month_dropped", month=month.name)
            except OperationalError as error:
                if not partitions.busy(error):
                    raise
                log.warning("month_not_dropped", month=month.name, reason="the table is in use")

    def _old_months(self, table: str, days: int) -> Sequence[Month]:
        if self._database.sqlite:
            return []
        limit = self._clock() - timedelta(days=days)
        with self._database.read() as connection:
            return [month for month in partitions.months(connection, table) if month.ends <= limit]

    def trim_history(self) -> bool:
        """True when more may be left."""
        now = self._clock()
        more = []
        for name, trim in self._history.items():
            with self._database.write() as connection:
                gone = trim(connection, self._before(name, now), AT_MOST)
            more.append(self._told(name, gone))
        return any(more)

    def _before(self, name: str, now: datetime) -> datetime:
        days = HISTORY[name].days if name in HISTORY else None
        return now - timedelta(days=self._history_days if days is None else days)

    def plan(self) -> Sequence["Old"]:
        """What is older than its days, and what becomes of it; nothing is changed. The journal and what others keep as long
        as the history are not counted."""
        now = self._clock()
        with self._database.read() as connection:
            kept = disputed(connection, now - timedelta(days=self._message_days))
            found = [
                Old(month.name, _count(connection, month.rows), refusing(connection, month, kept))
                for table, days in (("meter_samples", self._sample_days), ("messages", self._message_days))
                for month in self._old_months(table, days)
            ]
            sample = _rows_of(connection, "meter_samples")
            old, stays = _old_sample(sample, self._sample_days, now), needed(sample.c.transaction_id)
            unsettled = connection.execute(
                select(sample.c.transaction_id).where(old, stays).distinct().limit(REFUSING_AT_MOST)
            )
            found.append(Old(sample.name, _count(connection, sample, old, ~stays), []))
            found.append(Old(sample.name, _count(connection, sample, old, stays), sorted(unsettled.scalars())))
            history = [
                Old(name, _count(connection, past.model, _over(past, self._before(name, now))), [])
                for name, past in HISTORY.items()
            ]
        with self._database.log_engine.connect() as connection:
            frame = _rows_of(connection, "messages")
            aged, of_disputes = _old_frame(frame, self._message_days, now), evidence(frame, kept)
            found.append(Old(frame.name, _count(connection, frame, aged, ~of_disputes), []))
            found += [
                Old(frame.name, _count(connection, frame, aged, evidence(frame, [one])), [one.transaction_id])
                for one in kept
            ]
        return [old for old in (*found, *history) if old.rows or old.name not in _BY_AGE]

    def _told(self, what: str, gone: int) -> bool:
        if gone:
            log.info("deleted_by_age", what=what, rows=gone)
        return gone >= AT_MOST


class Old(NamedTuple):
    """`rows` of a table, or a month with all its rows, that are past their days. They go, unless transactions that run or
    wait in review need them: `refused_by` names some."""

    name: str
    rows: int
    refused_by: Sequence[str]


_BY_AGE: Final = {*HISTORY, *MONTHLY, *(table.name for table in DEFAULT.values())}


def _count(connection: Connection, table: Any, *where: ColumnElement[bool]) -> int:
    return connection.execute(select(func.count()).select_from(table).where(*where)).scalar_one()


def _trim_of(name: str) -> Trim:
    return lambda connection, before, at_most: delete_history(connection, name, before, at_most=at_most)
