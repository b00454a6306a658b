"""The journal: written in the transaction that made the fact true, read by each subscriber at its own pace."""

import asyncio
import time
from collections.abc import Callable, Collection, Iterator, Sequence, Set
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, cast

import msgspec
import structlog
from sqlalchemy import ColumnElement, Connection, Table, bindparam, insert, select, update

from csms.bulk import insert_rows
from csms.database import Database, away, insert_into, victim
from csms.events import SCHEMA_VERSION
from csms.models import DeadLetter, JournalCursor, JournalEntry
from csms.visible_facts import START, Place, between, facts_between, newest_of, place

log = structlog.get_logger(__name__)

NO_VERSION = "-"
PASSED_EVERY_S = 2.0  # a cursor is moved past what concerns nobody at most so often


class FactType(StrEnum):
    """What can become true. `subject` of a fact is the id of the row it speaks of."""

    STATION_BOOTED = "station_booted"  # station_id
    STATION_ONLINE = "station_online"
    STATION_OFFLINE = "station_offline"  # offline long enough that others should know
    EVSE_STATUS = "evse_status"  # evses.id
    LOCATION_CHANGED = "location_changed"  # locations.id
    TARIFF_CHANGED = "tariff_changed"  # tariffs.id, of the new version
    TOKEN_CHANGED = "token_changed"  # tokens.id
    TRANSACTION_STARTED = "transaction_started"  # transactions.id, here and below
    TRANSACTION_REFUSED = "transaction_refused"
    TRANSACTION_SAMPLED = "transaction_sampled"
    TRANSACTION_ORPHANED = "transaction_orphaned"
    TRANSACTION_ENDED = "transaction_ended"
    REMOTE_START_UNANSWERED = "remote_start_unanswered"  # remote_requests.id
    REMOTE_OUTCOME = "remote_outcome"  # remote_requests.id
    HARD_RESET_ORDERED = "hard_reset_ordered"  # remote_requests.id
    RESERVATION_CHANGED = "reservation_changed"  # reservations.number
    PROFILES_CHANGED = "profiles_changed"  # station_id: the charging profiles it holds
    VENDOR_DATA = "vendor_data"  # station_id
    FIRMWARE_STATUS = "firmware_status"
    DIAGNOSTICS_STATUS = "diagnostics_status"
    LOG_STATUS = "log_status"
    FIRMWARE_UPDATE = "firmware_update"  # firmware_updates.id: its state changed
    UPLOAD_RECEIVED = "upload_received"  # uploads.id
    SECURITY_EVENT = "security_event"  # security_events.event_id
    CERTIFICATE_REQUESTED = "certificate_requested"  # station_certificates.event_id
    PASSWORD_CHANGED = "password_changed"  # station_id: the new one was used
    SECURITY_PROFILE_RAISED = "security_profile_raised"  # station_id
    CHARGE_RECORD_ISSUED = "charge_record_issued"  # charge_records.id
    CHARGE_RECORD_CREDITED = "charge_record_credited"  # charge_records.id, of the credit
    REVIEW_OPENED = "review_opened"  # transactions.id, here and below
    REVIEW_TAKEN = "review_taken"
    REVIEW_DECIDED = "review_decided"
    REFUND_OPENED = "refund_opened"
    REFUND_TAKEN = "refund_taken"
    REFUND_DECIDED = "refund_decided"


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """`event_id` and `ocpp_version` are those of the charger's event it came from; "-" where none did (A11)."""

    type: FactType
    subject: str
    station_id: str | None = None
    event_id: str = NO_VERSION
    ocpp_version: str = NO_VERSION
    data: dict[str, Any] = {}


def fact_about(type_: FactType, transaction: Any, subject: str | None = None, **data: Any) -> Fact:
    """What follows from the end of `transaction`, a row of its table; of a person's decision too."""
    return Fact(
        type=type_,
        subject=subject or transaction.id,
        station_id=transaction.station_id,
        event_id=transaction.end_event_id or NO_VERSION,
        ocpp_version=transaction.ocpp_version,
        data=data,
    )


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """A fact as a subscriber reads it; `position` sorts as the facts became visible."""

    xid: int
    position: int
    type: str
    subject: str
    station_id: str | None
    event_id: str
    ocpp_version: str
    schema_version: int
    recorded_at: datetime
    data: dict[str, Any]


def append(connection: Connection, facts: Sequence[Fact], *, now: datetime | None = None) -> None:
    """Write `facts` in the running transaction, in order."""
    if facts:
        at = now or datetime.now(UTC)
        insert_rows(connection, _JOURNAL, [_row(fact, at) for fact in facts])


_JOURNAL = cast(Table, JournalEntry.__table__)


def _row(fact: Fact, at: datetime) -> dict[str, Any]:
    return {
        "type": fact.type.value,
        "schema_version": SCHEMA_VERSION,
        "ocpp_version": fact.ocpp_version,
        "event_id": fact.event_id,
        "station_id": fact.station_id,
        "subject": fact.subject,
        "recorded_at": at,
        "data": fact.data,
    }


class Listener:
    """One who waits for the journal to grow by facts of its `types` (None: by any), on the loop that made it."""

    def __init__(self, types: Collection[str] | None = None) -> None:
        self.types = types
        self._loop = asyncio.get_running_loop()
        self._grown = asyncio.Event()
        self._looked_at = self._loop.time()

    @property
    def woken(self) -> bool:
        return self._grown.is_set()

    def set(self) -> None:
        """There is news. May be called from any thread."""
        try:
            here: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is self._loop:
            self._grown.set()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._grown.set)

    async def news(self, *, poll_s: float, gather_s: float) -> None:
        """Returns when there is news, after `poll_s` in any case, and never twice within `gather_s`: a rare fact is seen at
        once, and under load one look serves many commits."""
        try:
            async with asyncio.timeout(poll_s):
                await self._grown.wait()
        except TimeoutError:
            pass
        too_early_s = self._looked_at + gather_s - self._loop.time()
        if too_early_s > 0:
            await asyncio.sleep(too_early_s)
        self._grown.clear()
        self._looked_at = self._loop.time()


class Wake:
    """Tells waiting subscribers of this process that the journal grew; others poll. May be called from any thread."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def __call__(self, told: Set[str] | None = None) -> None:
        """Called after a commit, with the types of the facts that it held where they are known."""
        for listener in tuple(self._listeners):
            if told is None or listener.types is None or not told.isdisjoint(listener.types):
                listener.set()

    @contextmanager
    def listening(self, types: Collection[str] | None = None) -> Iterator[Listener]:
        """Somebody who listens until the end of the block: a subscriber that is started again listens anew."""
        listener = Listener(types)
        self._listeners.append(listener)
        try:
            yield listener
        finally:
            self._listeners.remove(listener)


Handler = Callable[[Connection, Sequence[Recorded]], None]


class Subscriber:
    """One reader with a cursor of its own.

    `handle(connection, facts)` gets the facts of its `types` (None: of all) in order, and writes its own rows in the
    transaction that moves the cursor: each fact takes effect exactly once, whatever crashes. A batch that fails is
    repeated fact by fact; the one that fails alone goes to the dead letters with its reason, and so does a fact of a
    schema newer than ours. `then` is called on the loop after facts were handled.

    `only`: a condition on rows of the journal, which leaves out facts that `handle` would do nothing for at this moment. What
    is left out is looked at once, and its passing is written down now and then: read again after a crash it is harmless.
    """

    def __init__(
        self,
        name: str,
        database: Database,
        handle: Handler,
        *,
        wake: Wake,
        types: Collection[str] | None = None,
        only: ColumnElement[bool] | None = None,
        then: Callable[[], None] = lambda: None,
        batch: int = 500,
        poll_s: float = 1.0,
        gather_s: float = 0.2,
    ) -> None:
        self.name = name
        self._database = database
        self._handle = handle
        self._wake = wake
        self._types = None if types is None else frozenset(map(str, types))
        self._then = then
        self._batch = batch
        self._poll_s = poll_s
        self._gather_s = gather_s
        self._handled = False
        self._facts = facts_between(postgres=not database.sqlite, types=self._types, only=only)
        self._next = self._facts.with_only_columns(_JOURNAL.c.id)
        self._looked_to = START  # nothing up to here and behind the cursor is ours
        self._passed_to = START
        self._passed_at = -PASSED_EVERY_S

    async def run(self) -> None:
        """Reads until cancelled. A database that is away is an exception: the supervisor starts it again."""
        with self._wake.listening(self._types) as grown:
            while True:
                self._handled = False
                taken = await asyncio.to_thread(self.catch_up)
                if self._handled:
                    self._then()
                if taken < self._batch:
                    await grown.news(poll_s=self._poll_s, gather_s=self._gather_s)

    def catch_up(self) -> int:
        """Take one batch; returns how many facts of its own it passed, and passes all others on the way."""
        if not self._anything():
            self._pass()
            return 0
        try:
            with self._database.write() as connection:
                facts = self._take(connection, self._batch)
                self._apply(connection, facts)
                return len(facts)
        except Exception:
            log.exception("journal_batch_failed", subscriber=self.name)
        return self._one_by_one()

    def _one_by_one(self) -> int:
        """The facts of a batch that failed, each in a transaction of its own."""
        passed = 0
        while passed < self._batch and self._one_alone():
            passed += 1
        return passed

    def _one_alone(self) -> int:
        with self._database.write() as connection:
            facts = self._take(connection, 1)
            if not facts:
                return 0
            try:
                with connection.begin_nested():
                    self._apply(connection, facts)
            except Exception as error:
                if away(error) or victim(error):
                    raise  # no fault of the fact's: it is read again
                log.exception("journal_fact_failed", subscriber=self.name, position=facts[0].position)
                self._bury(connection, facts[0], f"{type(error).__name__}: {error}"[:500])
        return 1

    def _apply(self, connection: Connection, facts: Sequence[Recorded]) -> None:
        known = []
        for fact in facts:
            if fact.schema_version > SCHEMA_VERSION:
                self._bury(connection, fact, f"schema_version {fact.schema_version} is newer than {SCHEMA_VERSION}")
            else:
                known.append(fact)
        if known:
            self._handle(connection, known)
            self._handled = True

    def _bury(self, connection: Connection, fact: Recorded, reason: str) -> None:
        connection.execute(
            insert(DeadLetter).values(
                subscriber=self.name, journal_id=fact.position, reason=reason, at=datetime.now(UTC)
            )
        )

    def _anything(self) -> bool:
        """A look without a lock: most often there is nothing for us."""
        with self._database.read() as connection:
            cursor = connection.execute(_CURSOR, {"name": self.name}).one_or_none()
            newest = newest_of(connection)
            after = max(self._looked_to, START if cursor is None else place(*cursor))
            if newest is None or newest <= after:
                return False
            if connection.execute(self._next, {"limit": 1} | between(connection, after, newest)).first() is not None:
                return True
            self._looked_to = newest
            return False

    def _pass(self) -> None:
        """The cursor follows to where we looked, so that nobody believes us to be behind, nor keeps old facts for us."""
        now = time.monotonic()
        if self._looked_to == self._passed_to or now - self._passed_at < PASSED_EVERY_S:
            return
        with self._database.write() as connection:
            if self._looked_to > self._locked_place(connection):
                self._move(connection, self._looked_to)
        self._passed_at, self._passed_to = now, self._looked_to

    def _take(self, connection: Connection, limit: int) -> Sequence[Recorded]:
        """The next facts that are wanted; the cursor is locked and moved past them, and past all others when these are the
        last."""
        after = self._locked_place(connection)
        newest = newest_of(connection)
        if newest is None or newest <= after:
            return []
        rows = connection.execute(self._facts, {"limit": limit} | between(connection, after, newest))
        facts = [_recorded(*row) for row in rows]
        last = (facts[-1].xid, facts[-1].position) if len(facts) == limit else newest
        self._move(connection, last)
        return facts

    def _move(self, connection: Connection, to: Place) -> None:
        xid = 0 if self._database.sqlite else str(to[0])
        connection.execute(_MOVED, {"name": self.name, "to_xid": xid, "to_position": to[1]})

    def _locked_place(self, connection: Connection) -> Place:
        if (known := connection.execute(_LOCKED_CURSOR, {"name": self.name}).one_or_none()) is not None:
            return place(*known)
        connection.execute(insert_into(connection, JournalCursor).values(subscriber=self.name).on_conflict_do_nothing())
        return place(*connection.execute(_LOCKED_CURSOR, {"name": self.name}).one())


_C = cast(Table, JournalCursor.__table__)
_CURSOR = select(_C.c.xid, _C.c.position).where(_C.c.subscriber == bindparam("name"))
_LOCKED_CURSOR = _CURSOR.with_for_update()
_MOVED = (
    update(_C)
    .where(_C.c.subscriber == bindparam("name"))
    .values(xid=bindparam("to_xid"), position=bindparam("to_position"))
)


def _recorded(
    xid: Any,
    position: int,
    type_: str,
    subject: str,
    station_id: str | None,
    event_id: str,
    ocpp_version: str,
    schema_version: int,
    recorded_at: datetime,
    data: Any,
) -> Recorded:
    return Recorded(
        xid=int(xid),
        position=position,
        type=type_,
        subject=subject,
        station_id=station_id,
        event_id=event_id,
        ocpp_version=ocpp_version,
        schema_version=schema_version,
        recorded_at=recorded_at,
        data=data or {},
    )
