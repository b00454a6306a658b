"""The journal: written in the transaction that made the fact true, read by each subscriber at its own pace."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, insert, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from csms.database import Database
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
        connection.execute(insert(JournalEntry), [_row(fact, at) for fact in facts])


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


class Wake:
    """Tells waiting subscribers of this process that the journal grew; others poll. May be called from any thread."""

    def __init__(self) -> None:
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def __call__(self) -> None:
        """Called after a commit."""
        try:
            here: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        for loop, event in self._waiting:
            if loop is here:
                event.set()
            elif not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    def listen(self) -> asyncio.Event:
        event = asyncio.Event()
        self._waiting.append((asyncio.get_running_loop(), event))
        return event


Handler = Callable[[Connection, Sequence[Recorded]], None]


class Subscriber:
    """One reader with a cursor of its own.

    `handle(connection, facts)` gets facts in order and writes its own rows in the transaction that moves the cursor: each
    fact takes effect exactly once, whatever crashes. A batch that fails is repeated fact by fact; the one that fails alone
    goes to the dead letters with its reason, and so does a fact of a schema newer than ours.
    """

    def __init__(
        self, name: str, database: Database, handle: Handler, *, wake: Wake, batch: int = 500, poll_s: float = 1.0
    ) -> None:
        self.name = name
        self._database = database
        self._handle = handle
        self._wake = wake
        self._batch = batch
        self._poll_s = poll_s

    async def run(self) -> None:
        """Reads until cancelled. A database that is away is an exception: the supervisor starts it again."""
        grown = self._wake.listen()
        while True:
            grown.clear()
            if await asyncio.to_thread(self.catch_up):
                self._wake()  # what this reader wrote may be news to others
                continue
            try:
                async with asyncio.timeout(self._poll_s):
                    await grown.wait()
            except TimeoutError:
                pass

    def catch_up(self) -> int:
        """Take one batch; returns how many facts it held."""
        try:
            with self._database.write() as connection:
                facts = self._take(connection, self._batch)
                self._apply(connection, facts)
                return len(facts)
        except Exception:
            log.exception("journal_batch_failed", subscriber=self.name)
            return self._one_by_one()

    def _one_by_one(self) -> int:
        with self._database.write() as connection:
            facts = self._take(connection, 1)
            if not facts:
                return 0
            try:
                with connection.begin_nested():
                    self._apply(connection, facts)
            except Exception as error:
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

    def _bury(self, connection: Connection, fact: Recorded, reason: str) -> None:
        connection.execute(
            insert(DeadLetter).values(
                subscriber=self.name, journal_id=fact.position, reason=reason, at=datetime.now(UTC)
            )
        )

    def _take(self, connection: Connection, limit: int) -> Sequence[Recorded]:
        """The next facts, with the cursor locked and moved past them."""
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        connection.execute(dialect.insert(JournalCursor).values(subscriber=self.name).on_conflict_do_nothing())
        cursor = select(JournalCursor.xid, JournalCursor.position).where(JournalCursor.subscriber == self.name)
        xid, position = connection.execute(cursor.with_for_update()).one()
        rows = connection.execute(read_after(connection.dialect.name, int(xid), position, limit)).all()
        facts = [_recorded(row) for row in rows]
        if facts:
            connection.execute(
                update(JournalCursor)
                .where(JournalCursor.subscriber == self.name)
                .values(xid=str(facts[-1].xid) if dialect is postgresql else 0, position=facts[-1].position)
            )
        return facts


def read_after(dialect: str, xid: int, position: int, limit: int) -> Any:
    """Facts after (xid, position) that no running transaction can still precede.

    PostgreSQL: `xid < pg_snapshot_xmin(...)` leaves out what is newer than the oldest running transaction, so a late commit
    is never skipped. SQLite commits in the order of ids.
    """
    entry = JournalEntry
    query = select(
        entry.xid,
        entry.id,
        entry.type,
        entry.subject,
        entry.station_id,
        entry.event_id,
        entry.ocpp_version,
        entry.schema_version,
        entry.recorded_at,
        entry.data,
    )
    if dialect == "postgresql":
        after: Any = text(
            "(xid, id) > (CAST(:xid AS xid8), :position) AND xid < pg_snapshot_xmin(pg_current_snapshot())"
        )
        return query.where(after.bindparams(xid=str(xid), position=position)).order_by(entry.xid, entry.id).limit(limit)
    return query.where(entry.id > position).order_by(entry.id).limit(limit)


def _recorded(row: Any) -> Recorded:
    xid, position, type_, subject, station_id, event_id, ocpp_version, schema_version, recorded_at, data = row
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


def last_position(connection: Connection, subscriber: str) -> int:
    """How far `subscriber` has come; 0 before its first fact."""
    found = connection.execute(select(JournalCursor.position).where(JournalCursor.subscriber == subscriber)).scalar()
    return found or 0
