"""Writers of one process take turns on SQLite, over one connection: its own busy handler sleeps up to 100 ms, and the pages
that a connection knows stay true only while nobody else writes."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, cast

from sqlalchemy import Connection, Engine

IMMEDIATE: Final = "immediate"  # in the connection's `info`: it will write, and takes the right to at once

# Pages that a connection keeps by itself. Readers are many, and have what they miss from the operating system.
READER_CACHE_KB, WRITER_CACHE_KB, LOG_WRITER_CACHE_KB = 2_000, 16_000, 4_000


class Turns:
    """`over`: whether nobody needs the connection any more, so that it is given back after each transaction. `cache_kb`: of
    pages that it keeps."""

    def __init__(self, engine: Engine, over: Callable[[], bool], cache_kb: int = WRITER_CACHE_KB) -> None:
        self._engine = engine
        self._over = over
        self._cache_kb = cache_kb
        self._lock = threading.Lock()
        self._kept: Connection | None = None

    @contextmanager
    def taken(self) -> Iterator[Connection]:
        """One transaction, committed at the end, rolled back by an exception; after that on a connection of its own."""
        with self._lock:
            connection, self._kept = self._kept or self._mine(), None
            try:
                with connection.begin():
                    yield connection
            except BaseException:
                _give_back(connection)
                raise
            if self._over():
                _give_back(connection)
            else:
                self._kept = connection

    def _mine(self) -> Connection:
        connection = self._engine.connect()
        connection.info[IMMEDIATE] = True
        _cache(connection, self._cache_kb)
        return connection

    def close(self, until: float) -> None:
        """Waits for whoever writes now, until that moment (monotonic) at most; who writes on gives the connection back."""
        if self._lock.acquire(timeout=max(0.0, until - time.monotonic())):
            try:
                if self._kept is not None:
                    _give_back(self._kept)
                self._kept = None
            finally:
                self._lock.release()


def _give_back(connection: Connection) -> None:
    if not connection.invalidated:
        connection.info.pop(IMMEDIATE, None)
        _cache(connection, READER_CACHE_KB)
    connection.close()


def _cache(connection: Connection, kilobytes: int) -> None:
    with suppress(sqlite3.Error):  # it only costs more then
        cast(Any, connection.connection.dbapi_connection).execute(f"PRAGMA cache_size=-{kilobytes}")
