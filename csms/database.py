"""One database, written in short transactions: SQLite by one writer at a time, PostgreSQL by many."""

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
import orjson
from sqlalchemy import Connection, DateTime, Dialect, Engine, Text, TypeDecorator, create_engine, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import UserDefinedType

from csms.prepared import driver
from csms.turns import IMMEDIATE, LOG_WRITER_CACHE_KB, READER_CACHE_KB, Turns

T = TypeVar("T")

# ---- types that keep what SQLite would lose -------------------------------------------------------------------------


# Each of them binds and reads its values itself, in one call where SQLAlchemy's way takes three: of a batch's work a fifth.


def _moment(value: datetime | None) -> datetime | None:
    if value is None or value.tzinfo is UTC:
        return value
    if value.tzinfo is None:
        raise ValueError("a naive datetime has no place in the database")
    return value.astimezone(UTC)


def _moment_text(value: datetime | None) -> str | None:
    """As SQLAlchemy's own type writes it on SQLite. msgspec says it in a tenth of the time of isoformat, and leaves out
    microseconds of zero."""
    if value is None:
        return None
    text: str = msgspec.to_builtins(value if value.tzinfo is UTC else _moment(value))
    return f"{text[:10]} {text[11:26]}" if len(text) == 27 else f"{text[:10]} {text[11:19]}.000000"


def _moment_read(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(f"{value}+00:00")


def _moment_given(value: datetime | None) -> datetime | None:
    return value if value is None or value.tzinfo is UTC else value.astimezone(UTC)


class Utc(TypeDecorator[datetime]):
    """An aware moment, stored and returned in UTC; a naive one is refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Any:
        return _moment_text if dialect.name == "sqlite" else _moment

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        return _moment_read if dialect.name == "sqlite" else _moment_given


class Money(TypeDecorator[Decimal]):
    """A Decimal with every digit it had, as text: SQLite's NUMERIC is a float."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> str | None:
        return None if value is None else format(value, "f")

    def process_result_value(self, value: str | None, dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)


class Plain(TypeDecorator[str]):
    """Text without NUL, which PostgreSQL cannot hold and chargers do send (D03), and without half a surrogate pair."""

    impl = Text
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Any:
        return _plain

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        return None


def _plain(value: str | None) -> str | None:
    if value is None or (value.isascii() and "\x00" not in value):
        return value
    return value.replace("\x00", "").encode("utf-8", "replace").decode()


def _plain_column(values: Sequence[str | None]) -> Iterable[str | None]:
    """As `_plain` makes each of them, in a tenth of the time: nearly always there is nothing to make."""
    if not any(values):
        return values
    try:
        text = "".join(cast(Sequence[str], values))
    except TypeError:  # None among them
        return map(_plain, values)
    return values if text.isascii() and "\x00" not in text else map(_plain, values)


class Json(TypeDecorator[Any]):
    """A JSON value as text, the same on both databases; a NUL inside travels as its escape."""

    impl = Text
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Any:
        return _json_text

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        return _json_read


def _json_text(value: Any) -> str | None:
    if value is None:
        return None
    try:
        return orjson.dumps(value, default=str).decode()
    except TypeError:  # half a surrogate pair, or an integer of more than 64 bits, somewhere inside
        return json.dumps(value, default=_spelt)


def _spelt(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _json_read(value: str | None) -> Any:
    return None if value is None else orjson.loads(value)


class TransactionId(UserDefinedType[int]):
    """PostgreSQL's xid8: which database transaction wrote a row. SQLite, with one writer, needs none and holds 0."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "XID8"


@compiles(TransactionId, "sqlite")
def _transaction_id_on_sqlite(*_: Any, **__: Any) -> str:
    return "BIGINT"


class current_transaction(FunctionElement[int]):
    """The id of the running database transaction."""

    inherit_cache = True


@compiles(current_transaction)
def _current_transaction(*_: Any, **__: Any) -> str:
    return "pg_current_xact_id()"


@compiles(current_transaction, "sqlite")
def _current_transaction_on_sqlite(*_: Any, **__: Any) -> str:
    return "0"


# What binds a whole column at once, by what binds one value.
_OF_COLUMNS: dict[Any, Callable[[Sequence[Any]], Iterable[Any]]] = {_plain: _plain_column}


def bind_column(process: Callable[[Any], Any] | None, values: Sequence[Any]) -> Iterable[Any]:
    """`values` of one column as the driver takes them; `process` is what the column's type makes of one."""
    if process is None:
        return values
    together = _OF_COLUMNS.get(process)
    return map(process, values) if together is None else together(values)


# ---- the engines ----------------------------------------------------------------------------------------------------

SQLITE_BUSY_TIMEOUT_S = 20
POSTGRES_IDLE_LIMIT_MS = 60_000  # a forgotten open transaction would stall every journal cursor
POOL_SIZE = 8
PING_AFTER_S = 1.0
DISPOSE_LIMIT_S = 5.0
DEADLOCKS_AT_MOST = 4


class Database:
    """The engines of one process.

    `url` is the operator's (`sqlite:///file`, `postgresql://...`). On SQLite the message log lives in `message_log` beside
    it, so that a frame written to the log never waits for a transaction, nor the other way round; on PostgreSQL both are
    one database.
    """

    def __init__(self, url: str, *, message_log: Path | None = None) -> None:
        parsed = make_url(url)
        self.sqlite = parsed.get_backend_name() == "sqlite"
        self.disposed = False
        self.deadlocks = 0  # transactions that PostgreSQL gave up for another's sake, and that were done again
        if self.sqlite:
            self.engine = _sqlite(url)
            beside = message_log or _beside(parsed.database)
            beside.parent.mkdir(parents=True, exist_ok=True)
            self.log_engine = _sqlite(f"sqlite:///{beside}", synchronous="NORMAL")  # no answer rests on the log
        else:
            self.engine = _postgres(parsed.set(drivername="postgresql+psycopg"))
            self.log_engine = self.engine
        self._turns = Turns(self.engine, lambda: self.disposed)
        self._log_turns = Turns(self.log_engine, lambda: self.disposed, LOG_WRITER_CACHE_KB)
        for engine in {self.engine, self.log_engine}:
            event.listen(engine, "checkin", self._returned)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction that may write; committed at the end, rolled back by an exception. On SQLite one after the other."""
        with self._transaction(self.engine, self._turns) as connection:
            yield connection

    def transact(self, work: Callable[[Connection], T]) -> T:
        """`work` in one transaction; once more when PostgreSQL made it a deadlock's victim, or when its connection died
        before the commit was asked for: of one that dies in the commit nobody here knows whether it was kept. What `work`
        does beside the database must bear repeating."""
        for _ in range(DEADLOCKS_AT_MOST):
            worked = False
            try:
                with self.write() as connection:
                    result = work(connection)
                    worked = True
                return result
            except DBAPIError as error:
                if victim(error):
                    self.deadlocks += 1
                elif worked or not error.connection_invalidated:
                    raise
        with self.write() as connection:
            return work(connection)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A look; nothing written here is kept. On SQLite all its statements see one moment, on PostgreSQL each sees what was
        committed when it began (one snapshot for all would double what a look costs)."""
        with self.engine.connect() as connection:
            if not self.sqlite:
                connection = connection.execution_options(postgresql_readonly=True)
            yield connection
            connection.rollback()

    @contextmanager
    def write_log(self) -> Iterator[Connection]:
        """As `write`, on the message log."""
        with self._transaction(self.log_engine, self._log_turns) as connection:
            yield connection

    @contextmanager
    def _transaction(self, engine: Engine, turns: Turns) -> Iterator[Connection]:
        with turns.taken() if self.sqlite else engine.begin() as connection:
            yield connection

    def next_numbers(self, connection: Connection, count: int) -> Sequence[int]:
        """`count` unused transaction numbers: positive, unique in the fleet (C05).

        PostgreSQL has a sequence; on SQLite the caller holds the only write transaction and transactions are never deleted.
        """
        if self.sqlite:
            last = connection.execute(text("SELECT coalesce(max(number), 0) FROM transactions")).scalar_one()
            return range(last + 1, last + 1 + count)
        rows = connection.execute(
            text("SELECT nextval('transaction_numbers') FROM generate_series(1, :count)"), {"count": count}
        )
        return [int(number) for (number,) in rows]

    def dispose(self) -> None:
        """Closes what is open. A thread that still works for somebody who was cancelled is waited for; should one only begin
        now, what it opens is closed when it has done."""
        self.disposed = True
        until = time.monotonic() + DISPOSE_LIMIT_S
        for turns in (self._turns, self._log_turns):
            turns.close(until)
        while self._in_use() and time.monotonic() < until:
            time.sleep(0.01)
        self.engine.dispose()
        if self.log_engine is not self.engine:
            self.log_engine.dispose()

    def _returned(self, _: Any, record: ConnectionPoolEntry) -> None:
        if self.disposed:
            record.close()

    def _in_use(self) -> bool:
        return _out(self.engine) > 0 or _out(self.log_engine) > 0


def _out(engine: Engine) -> int:
    return engine.pool.checkedout() if isinstance(engine.pool, QueuePool) else 0


def insert_into(connection: Connection, table: Any) -> postgresql.Insert:
    """An INSERT that can say what to do ON CONFLICT, in the words of this connection's database."""
    return insert_for(connection.dialect.name, table)


def insert_for(dialect: str, table: Any) -> postgresql.Insert:
    """The same for a dialect's name, where the statement is kept."""
    # Both dialects' INSERTs have the methods that are used here.
    return cast(postgresql.Insert, (postgresql if dialect == "postgresql" else sqlite).insert(table))


_VICTIM = frozenset({"40P01", "40001"})  # deadlock_detected, serialization_failure
_AWAY = frozenset({"08", "53", "57"})  # classes: connection, resources, operator intervention
_SQLITE_AWAY = frozenset({"BUSY", "LOCKED", "FULL", "IOERR", "CANTOPEN", "READONLY", "CORRUPT", "NOTADB"})


def victim(error: BaseException) -> bool:
    """Whether PostgreSQL gave up this transaction for another's sake: it would succeed now."""
    return isinstance(error, OperationalError) and getattr(error.orig, "sqlstate", None) in _VICTIM


def away(error: BaseException) -> bool:
    """Whether the database itself cannot be reached or written, so that no other statement would fare better now."""
    if isinstance(error, NoConnection):
        return True
    if not isinstance(error, DBAPIError):
        return False
    name = getattr(error.orig, "sqlite_errorname", None)
    if name is not None:
        return name.split("_")[1] in _SQLITE_AWAY
    state = getattr(error.orig, "sqlstate", None)
    unreached = isinstance(error, OperationalError) and state is None
    return error.connection_invalidated or unreached or (state or "")[:2] in _AWAY


def _beside(database: str | None) -> Path:
    if not database or database == ":memory:":
        raise ValueError("SQLite needs a file: sqlite:///roambridge.db")
    path = Path(database)
    return path.with_name(f"{path.stem}-messages{path.suffix or '.db'}")


def _sqlite(url: str, *, synchronous: str = "FULL") -> Engine:
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=POOL_SIZE,
        pool_use_lifo=True,  # each connection has a cache of its own: few are used where few are needed
        max_overflow=32,
        hide_parameters=True,
        connect_args={"check_same_thread": False, "timeout": SQLITE_BUSY_TIMEOUT_S},
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves: the driver's own would be DEFERRED
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            f"synchronous={synchronous}",
            "foreign_keys=ON",
            f"busy_timeout={SQLITE_BUSY_TIMEOUT_S * 1000}",
            f"cache_size=-{READER_CACHE_KB}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if connection.info.get(IMMEDIATE):
            with driver(connection, "BEGIN IMMEDIATE") as raw:
                raw.execute("BEGIN IMMEDIATE")
        else:  # it waits for nobody, and SQLAlchemy's way to say it costs as much as a small look
            cast(Any, connection.connection.dbapi_connection).execute("BEGIN")

    return engine


def _postgres(url: Any) -> Engine:
    engine = create_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=32,
        pool_use_lifo=True,  # each connection has prepared statements of its own
        pool_recycle=1800,
        hide_parameters=True,
        connect_args={
            "connect_timeout": 10,
            "options": f"-c timezone=UTC -c idle_in_transaction_session_timeout={POSTGRES_IDLE_LIMIT_MS}",
        },
    )

    @event.listens_for(engine, "checkin")
    def left(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["left_at"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def ask(connection: Any, record: ConnectionPoolEntry, _fairy: Any) -> None:
        """One that nobody used for a while may be dead; to ask it costs a way there and back."""
        if time.monotonic() - record.info.get("left_at", math.inf) > PING_AFTER_S:
            try:
                engine.dialect.do_ping(connection)
            except engine.dialect.dbapi.Error as error:  # type: ignore[union-attr]
                raise InvalidatePoolError from error

    return engine
