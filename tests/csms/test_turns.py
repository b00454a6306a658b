"""Who writes finds a connection that is whole, whatever became of the one before."""

import time
from collections.abc import Callable

import psycopg
import pytest
from sqlalchemy import Connection, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from csms.database import PING_AFTER_S, Database
from csms.models import JournalCursor, MeterSampleRow
from csms.prepared import driver
from tests.csms.core_story import told as core_told

CUT_ALL = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
CUT_ME = "SELECT pg_terminate_backend(pg_backend_pid())"
CUT_IN_THE_COMMIT = """
CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER cut AFTER INSERT ON journal_cursors DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION cut();
"""
NOT_CUT_ANY_MORE = "DROP TRIGGER IF EXISTS cut ON journal_cursors; DROP FUNCTION IF EXISTS cut"
NAMES = select(JournalCursor.subscriber).order_by(JournalCursor.subscriber)


def write(database: Database, name: str) -> object:
    """Returns the driver's connection that it went over."""
    with database.write() as connection:
        connection.execute(insert(JournalCursor).values(subscriber=name))
        return connection.connection.driver_connection


def names(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.execute(NAMES).scalars())


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_writers_of_sqlite_share_a_connection_until_one_fails_or_all_is_over(database: Database) -> None:
    first = write(database, "a")
    assert write(database, "b") is first
    with pytest.raises(IntegrityError), database.write() as connection:
        connection.execute(insert(JournalCursor), [{"subscriber": "lost"}, {"subscriber": "a"}])
    write(database, "c")
    assert names(database) == ["a", "b", "c"]
    database.dispose()
    database.disposed = False
    assert write(database, "d") is not first
    assert names(database) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_a_look_after_a_write_takes_no_right_to_write(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.write():  # its connection goes back to those who look
        raise ZeroDivisionError
    with database.read() as connection:
        connection.execute(text("SELECT 1"))
        write(database, "meanwhile")
    assert names(database) == ["meanwhile"]


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
def test_a_connection_that_died_while_nobody_used_it_is_replaced(database: Database, database_url: str) -> None:
    write(database, "before")
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute(CUT_ALL)
    time.sleep(PING_AFTER_S + 0.1)
    write(database, "after")
    assert names(database) == ["after", "before"]


def by_sqlalchemy(connection: Connection) -> None:
    connection.execute(text(CUT_ME))


def by_the_driver(connection: Connection) -> None:
    with driver(connection, CUT_ME) as raw:
        raw.execute(CUT_ME)


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
@pytest.mark.parametrize("cut", [by_sqlalchemy, by_the_driver], ids=["sqlalchemy", "driver"])
def test_what_was_cut_before_its_commit_is_done_again(database: Database, cut: Callable[[Connection], None]) -> None:
    tries = []

    def work(connection: Connection) -> str:
        connection.execute(insert(JournalCursor).values(subscriber="once"))
        tries.append(1)
        if len(tries) == 1:
            cut(connection)
        return "done"

    assert database.transact(work) == "done"
    assert len(tries) == 2
    assert names(database) == ["once"]


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
def test_what_was_cut_in_its_commit_is_told_and_not_done_again(database: Database) -> None:
    """Perhaps it was kept: whoever gave it gives it again, and an event that was handled is known by its id."""
    tries = []

    def work(connection: Connection) -> None:
        tries.append(1)
        connection.execute(insert(JournalCursor).values(subscriber="perhaps"))

    with database.write() as connection:
        connection.exec_driver_sql(CUT_IN_THE_COMMIT)
    try:
        with pytest.raises(DBAPIError) as told:
            database.transact(work)
    finally:
        with database.write() as connection:
            connection.exec_driver_sql(NOT_CUT_ANY_MORE)
    assert told.value.connection_invalidated
    assert len(tries) == 1


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_what_chargers_say_while_connections_are_cut_is_stored_at_the_first_try(
    database: Database, database_url: str
) -> None:
    async with core_told(database) as story:
        story.site("CP1")
        story.card()
        number = (await story.start()).transaction_id
        with psycopg.connect(database_url, autocommit=True) as other:
            for wh in range(1, 6):
                other.execute(CUT_ALL)
                story.pass_time(minutes=1)
                await story.sample(number, 1000 + wh)
        assert len(story.rows(MeterSampleRow)) == 5
