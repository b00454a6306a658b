"""On PostgreSQL samples and messages are kept by months, which are made ahead and go whole; no row lacks a place meanwhile."""

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import structlog
from sqlalchemy import Connection, MetaData, Table, text
from sqlalchemy.exc import OperationalError

from csms.database import Database
from csms.message_store import at_of, id_at
from csms.models import Message, MeterSampleRow
from csms.months import month_of, months_later

log = structlog.get_logger(__name__)

AHEAD = 2  # months beyond the running one
BEHIND = 36  # rows of so many past months are moved out of the default partition; older ones are a clock's mistake
EVERY_S = 3600.0
AGAIN_S = 60.0
LOCK_LIMIT_S = 2  # so long do others wait behind us at most
LOCK_NOT_AVAILABLE = "55P03"


class Cut(NamedTuple):
    """How a table is cut: `literal` says in SQL where a month begins in its `key`, `moment` reads a key."""

    table: Table
    key: str
    literal: Callable[[datetime], str]
    moment: Callable[[Any], datetime]


MONTHLY: Final = {
    "meter_samples": Cut(MeterSampleRow.__table__, "received_at", lambda at: f"'{at.isoformat()}'", lambda key: key),  # type: ignore[arg-type]
    "messages": Cut(Message.__table__, "id", lambda at: str(id_at(at)), at_of),  # type: ignore[arg-type]
}
DEFAULT: Final = {name: cut.table.to_metadata(MetaData(), name=f"{name}_default") for name, cut in MONTHLY.items()}


class Month(NamedTuple):
    """A partition of `table`: rows from `begins` up to `ends`."""

    table: str
    begins: datetime

    @property
    def ends(self) -> datetime:
        return months_later(self.begins)

    @property
    def name(self) -> str:
        return f"{self.table}_{self.begins:%Y_%m}"

    @property
    def rows(self) -> Table:
        """To read what is in it alone."""
        return MONTHLY[self.table].table.to_metadata(MetaData(), name=self.name)

    @property
    def span(self) -> tuple[str, str]:
        """Where it begins and ends in the table's key, in SQL."""
        literal = MONTHLY[self.table].literal
        return literal(self.begins), literal(self.ends)


def months(connection: Connection, table: str) -> Sequence[Month]:
    """Those that there are, the oldest first."""
    query = "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = CAST(:t AS regclass)"
    names = connection.execute(text(query), {"t": table}).scalars()
    spelt = [re.fullmatch(rf"{table}_(\d{{4}})_(\d\d)", name) for name in names]
    return sorted(Month(table, datetime(int(one[1]), int(one[2]), 1, tzinfo=UTC)) for one in spelt if one)


# ---- made ahead -----------------------------------------------------------------------------------------------------


def make_ahead(database: Database, now: datetime) -> Sequence[str]:
    """The running month, the next two, and those whose rows came while there was no place for them but the default one.
    Returns what was made; the rest when others would wait too long for us. On SQLite there is nothing to make."""
    if database.sqlite:
        return []
    made = []
    for table in MONTHLY:
        with database.read() as connection:
            there = set(months(connection, table))
            wanted = {*_ahead(table, now), *_of_stray_rows(connection, table, now)}
        for month in sorted(wanted - there):
            with database.write() as connection:
                made += [month.name] if _make(connection, month) else []
    if made:
        log.info("months_made", months=made)
    return made


def _ahead(table: str, now: datetime) -> Iterable[Month]:
    return (Month(table, months_later(month_of(now), by)) for by in range(AHEAD + 1))


def _of_stray_rows(connection: Connection, table: str, now: datetime) -> Iterable[Month]:
    cut, last = MONTHLY[table], months_later(month_of(now), AHEAD + 1)
    begin, end = months_later(month_of(now), -BEHIND), last
    query = (
        f"SELECT min({cut.key}), max({cut.key}) FROM {table}_default "  # noqa: S608 - words of ours
        f"WHERE {cut.key} >= {cut.literal(begin)} AND {cut.key} < {cut.literal(end)}"
    )
    least, most = connection.execute(text(query)).one()
    if least is None:
        return
    month = month_of(cut.moment(least))
    while month <= month_of(cut.moment(most)):
        yield Month(table, month)
        month = months_later(month)


def _make(connection: Connection, month: Month) -> bool:
    """False: somebody else was first. Rows that are in the default partition and belong here are moved."""
    key, (begin, end) = MONTHLY[month.table].key, month.span
    table, default = month.table, f"{month.table}_default"
    _wait_little(connection)
    connection.execute(text(f"LOCK TABLE ONLY {table} IN SHARE UPDATE EXCLUSIVE MODE"))
    if month in months(connection, table):
        return False
    connection.execute(text(f"LOCK TABLE {default} IN ACCESS EXCLUSIVE MODE"))
    for statement in (
        f"CREATE TABLE {month.name} (LIKE {table} INCLUDING DEFAULTS)" + _disk(connection, table),
        f"WITH strays AS (DELETE FROM {default} WHERE {key} >= {begin} AND {key} < {end} RETURNING *) "  # noqa: S608
        f"INSERT INTO {month.name} SELECT * FROM strays",
        f"ALTER TABLE {table} ATTACH PARTITION {month.name} FOR VALUES FROM ({begin}) TO ({end})",
    ):
        connection.execute(text(statement))
    return True


def _disk(connection: Connection, table: str) -> str:
    """In SQL, where an operator put the table (docs/message-log.md); a month's indexes follow those of the table."""
    query = (
        "SELECT quote_ident(spcname) FROM pg_class JOIN pg_tablespace ON pg_tablespace.oid = reltablespace"
        " WHERE pg_class.oid = CAST(:t AS regclass)"
    )
    place = connection.execute(text(query), {"t": table}).scalar()
    return "" if place is None else f" TABLESPACE {place}"


# ---- dropped --------------------------------------------------------------------------------------------------------


def hold(connection: Connection, month: Month) -> bool:
    """Nobody reads or writes the table until the transaction's end; False: the month is gone already. First of all in its
    transaction, so that what is asked of the month then is still true when it is dropped."""
    _wait_little(connection)
    connection.execute(text(f"LOCK TABLE ONLY {month.table} IN ACCESS EXCLUSIVE MODE"))
    return month in months(connection, month.table)


def drop(connection: Connection, month: Month) -> None:
    connection.execute(text(f"ALTER TABLE {month.table} DETACH PARTITION {month.name}"))
    connection.execute(text(f"DROP TABLE {month.name}"))


def busy(error: BaseException) -> bool:
    """Whether others used the table for longer than we wait."""
    return isinstance(error, OperationalError) and getattr(error.orig, "sqlstate", None) == LOCK_NOT_AVAILABLE


def _wait_little(connection: Connection) -> None:
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_LIMIT_S}s'"))


# ---- again and again ------------------------------------------------------------------------------------------------


class Ahead:
    """The task that makes months: at once when it starts, then every hour."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            pause_s = await asyncio.to_thread(self.make)
            await asyncio.sleep(pause_s)

    def make(self) -> float:
        """Returns after how many seconds to look again."""
        try:
            make_ahead(self._database, self._clock())
        except OperationalError as error:
            if not busy(error):
                raise
            log.warning("months_not_made", reason="the table is in use")
            return AGAIN_S
        return EVERY_S
