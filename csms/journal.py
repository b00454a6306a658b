"""The journal: written in the transaction that made the fact true, read by each subscriber at its own pace."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, func, insert, select, text, update

from csms.database import Database, away, insert_into, victim
from csms.events import SCHEMA_VERSION
from csms.models import DeadLetter, JournalCursor, JournalEntry

log = structlog.get_logger(__name__)

NO_VERSION = "-"


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
    VENDOR_DATA = "vendor_data"  # station_id
    FIRMWARE_STATUS = "firmware_status"
    DIAGNOSTICS_STATUS = "diagnostics_status"
    CHARGE_RECORD_ISSUED = "charge_record_issued"  # charge_records.id
    REVIEW_OPENED = "review_opened"  # transactions.id


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """`event_id` and `ocpp_version` are those of the charger's event it came from; "-" where none did (A11)."""

    type: FactType
    subject: str
    station_id: str | None = None
    event_id: str = NO_VERSION
    ocpp_version: str = NO_VERSION
    data: dict[str, Any] = {}


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
        connection.execute(_INSERT, [_row(fact, at) for fact in facts])


_INSERT = insert(JournalEntry)


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
    """One who waits for the journal to grow, on the loop that made it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._grown = asyncio.Event()
        self._looked_at = self._loop.time()

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

    def __call__(self) -> None:
        """Called after a commit."""
        for listener in tuple(self._listeners):
            listener.set()

    @contextmanager
    def listening(self) -> Iterator[Listener]:
        """Somebody who listens until the end of the block: a subscriber that is started again listens anew."""
        listener = Listener()
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
    """

    def __init__(
        self,
        name: str,
        database: Database,
        handle: Handler,
        *,
        wake: Wake,
        types: Collection[str] | None = None,
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

    async def run(self) -> None:
        """Reads until cancelled. A database that is away is an exception: the supervisor starts it again."""
        with self._wake.listening() as grown:
            while True:
                self._handled = False
                taken = await asyncio.to_thread(self.catch_up)
                if self._handled:
                    self._then()
                if taken < self._batch:
                    await grown.news(poll_s=self._poll_s, gather_s=self._gather_s)

    def catch_up(self) -> int:
        """Take one batch; returns how many facts it passed, its own and others'."""
        if not self._anything():
            return 0
        try:
            with self._database.write() as connection:
                passed, facts = self._take(connection, self._batch)
                self._apply(connection, facts)
                return passed
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
            passed, facts = self._take(connection, 1)
            if not facts:
                return passed
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
        """A look without a lock: most often there is nothing."""
        with self._database.read() as connection:
            cursor = connection.execute(_cursor(self.name)).one_or_none()
            xid, position = (int(cursor[0]), cursor[1]) if cursor else (0, 0)
            return bool(connection.execute(keys_after(connection.dialect.name, xid, position, 1)).first())

    def _take(self, connection: Connection, limit: int) -> tuple[int, Sequence[Recorded]]:
        """How many facts come next, and those of them that are wanted; the cursor is locked and moved past all."""
        connection.execute(insert_into(connection, JournalCursor).values(subscriber=self.name).on_conflict_do_nothing())
        xid, position = connection.execute(_cursor(self.name).with_for_update()).one()
        keys = connection.execute(keys_after(connection.dialect.name, int(xid), position, limit)).all()
        if not keys:
            return 0, []
        last_xid, last, _ = keys[-1]
        connection.execute(
            update(JournalCursor)
            .where(JournalCursor.subscriber == self.name)
            .values(xid=0 if self._database.sqlite else str(last_xid), position=last)
        )
        wanted = [id_ for _, id_, type_ in keys if self._types is None or type_ in self._types]
        if not wanted:
            return len(keys), []
        rows = {row.id: row for row in connection.execute(_FACTS.where(JournalEntry.id.in_(wanted)))}
        return len(keys), [_recorded(rows[id_]) for id_ in wanted]


def _cursor(subscriber: str) -> Any:
    return select(JournalCursor.xid, JournalCursor.position).where(JournalCursor.subscriber == subscriber)


def keys_after(dialect: str, xid: int, position: int, limit: int) -> Any:
    """(xid, id, type) of the facts after (xid, position) that no running transaction can still precede.

    PostgreSQL: `xid < pg_snapshot_xmin(...)` leaves out what is newer than the oldest running transaction, so a late
    commit is never skipped. SQLite commits in the order of ids.
    """
    query = select(JournalEntry.xid, JournalEntry.id, JournalEntry.type)
    if dialect == "postgresql":
        after: Any = text(
            "(xid, id) > (CAST(:xid AS xid8), :position) AND xid < pg_snapshot_xmin(pg_current_snapshot())"
        )
        query = query.where(after.bindparams(xid=str(xid), position=position))
        return query.order_by(JournalEntry.xid, JournalEntry.id).limit(limit)
    return query.where(JournalEntry.id > position).order_by(JournalEntry.id).limit(limit)


_FACTS = select(
    JournalEntry.xid,
    JournalEntry.id,
    JournalEntry.type,
    JournalEntry.subject,
    JournalEntry.station_id,
    JournalEntry.event_id,
    JournalEntry.ocpp_version,
    JournalEntry.schema_version,
    JournalEntry.recorded_at,
    JournalEntry.data,
)


def _recorded(row: Any) -> Recorded:
    return Recorded(
        xid=int(row.xid),
        position=row.id,
        type=row.type,
        subject=row.subject,
        station_id=row.station_id,
        event_id=row.event_id,
        ocpp_version=row.ocpp_version,
        schema_version=row.schema_version,
        recorded_at=row.recorded_at,
        data=row.data or {},
    )


def behind(connection: Connection) -> dict[str, int]:
    """By subscriber, how many facts it has not passed yet, at most: what rises and does not fall again is stuck."""
    newest = connection.execute(select(func.max(JournalEntry.id))).scalar() or 0
    cursors = connection.execute(select(JournalCursor.subscriber, JournalCursor.position))
    return {subscriber: max(0, newest - position) for subscriber, position in cursors}
