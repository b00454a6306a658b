"""Of a SQLite file only the connection that writes keeps many pages; readers are many, and small."""

from pathlib import Path

from sqlalchemy import Connection

from csms.database import Database
from csms.turns import LOG_WRITER_CACHE_KB, READER_CACHE_KB, WRITER_CACHE_KB


def cache_kb(connection: Connection) -> int:
    return -int(connection.exec_driver_sql("PRAGMA cache_size").scalar_one())


def test_who_writes_keeps_more_pages_than_those_who_read(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/a.db")
    try:
        with database.write() as connection:
            assert cache_kb(connection) == WRITER_CACHE_KB
        with database.read() as one, database.read() as another:
            assert {cache_kb(one), cache_kb(another)} == {READER_CACHE_KB}
        with database.write() as connection:
            assert cache_kb(connection) == WRITER_CACHE_KB
        with database.write_log() as connection:  # its indexes are far larger than any cache
            assert cache_kb(connection) == LOG_WRITER_CACHE_KB
    finally:
        database.dispose()


def test_a_connection_that_writes_no_more_keeps_what_a_reader_keeps(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/a.db")
    try:
        try:
            with database.write():
                raise LookupError  # the connection is given back then, and reads
        except LookupError:
            pass
        with database.read() as connection:
            assert cache_kb(connection) == READER_CACHE_KB
    finally:
        database.dispose()
