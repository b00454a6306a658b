"""Writers of one process take turns on SQLite, over one connection: its own busy handler sleeps up to 100 ms, and the pages
that a connection knows stay true only while nobody else writes."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Connection, Engine

IMMEDIATE: Final = "immediate"  # in the connection's `info`: it will write, and takes the right to at once


class Turns:
    """`over`: whether nobody needs the connection any more, so that it is given back after each transaction."""

    def __init__(self, engine: Engine, over: Callable[[], bool]) -> None:
        self._engine = engine
        self._over = over
        self._lock = threading.Lock()
        self._kept: Connection | None = None

    @contextmanager
    def taken(self) -> Iterator[Connection]:
        """One transaction, committed at the end, rolled back by an exception; after that on a connection of its own."""
        with self._lock:
            connection, self._kept = self._kept or self._engine.connect(), None
            connection.info[IMMEDIATE] = True
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
    connection.close()
