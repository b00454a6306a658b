"""Who writes finds a connection that is whole, whatever became of the one before."""

import time

import psycopg
import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import IntegrityError

from csms.database import PING_AFTER_S, Database
from csms.models import JournalCursor

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
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    time.sleep(PING_AFTER_S + 0.1)
    write(database, "after")
    assert names(database) == ["after", "before"]
