"""Whose key is it? Looked up once a moment for each key, so that a revoked one opens nothing within a second."""

import time
from collections.abc import Callable

from csms.database import Database
from csms.users import KeyHolder, holder_of

KEPT_S = 0.5
KEPT_AT_MOST = 1_000
LONGEST_KEY = 200


class Keys:
    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._kept: dict[str, tuple[float, KeyHolder]] = {}

    def remembered(self, key: str) -> KeyHolder | None:
        """Without a look at the database; None when that is needed."""
        until, holder = self._kept.get(key, (0.0, None))
        return holder if until > self._clock() else None

    def look_up(self, key: str) -> KeyHolder | None:
        if len(key) > LONGEST_KEY or not key.isascii():
            return None
        began = self._clock()
        with self._database.read() as connection:
            holder = holder_of(connection, key)
        self._kept.pop(key, None)
        if holder is not None:
            if len(self._kept) >= KEPT_AT_MOST:
                self._kept.clear()
            self._kept[key] = (began + KEPT_S, holder)
        return holder
