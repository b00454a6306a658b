"""Nothing is deleted for its age while our own clock is in doubt: one that was set months ahead would take months of data."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import Connection, func, select

from csms.alerts import Alarm, raise_alarms
from csms.database import Database
from csms.models import Alert, JournalEntry

log = structlog.get_logger(__name__)

KIND: Final = "clock_jumped"
AHEAD_AT_MOST: Final = timedelta(days=1)  # what is deleted a day too soon harms nobody
SILENT_AT_MOST: Final = timedelta(days=7)  # between the last fact of the run before and the first look of this one


class ClockGuard:
    """Three witnesses against a clock that runs ahead: the database's server, this process's own count of seconds, and the
    last fact that was written before it began. A doubt is an alert, and stands until somebody closes that: from then on the
    clock is taken at its word."""

    def __init__(
        self, database: Database, *, clock: Callable[[], datetime], seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._clock = clock
        self._seconds = seconds
        self._began = self._since = clock()
        self._since_s = seconds()
        self._looked = False

    def doubted(self) -> bool:
        """Whether nothing may be deleted now; says why in the log, and as an alert."""
        now, now_s = self._clock(), self._seconds()
        with self._database.read() as connection:
            reason = self._reason(connection, now, now_s)
            stands = select(Alert.id).where(Alert.kind == KIND, Alert.closed_at.is_(None)).limit(1)
            doubted = connection.execute(stands).first() is not None
        self._since, self._since_s, self._looked = now, now_s, True
        if reason is not None:
            with self._database.write() as connection:
                raise_alarms(connection, [Alarm(kind=KIND, subject="retention", detail={"reason": reason})], now)
        elif doubted:
            log.warning("retention_halted", reason=f"the alert {KIND} is open")
        return doubted or reason is not None

    def _reason(self, connection: Connection, now: datetime, now_s: float) -> str | None:
        passed = timedelta(seconds=now_s - self._since_s)
        if now - self._since > passed + AHEAD_AT_MOST:
            return f"this clock went {now - self._since} ahead within {passed}"
        if connection.dialect.name == "postgresql":
            server = connection.execute(select(func.now())).scalar_one().astimezone(UTC)
            if now > server + AHEAD_AT_MOST:
                return f"this clock is {now - server} ahead of the database server's"
        if not self._looked:
            fact = JournalEntry.recorded_at
            last = select(fact).where(fact < self._began).order_by(JournalEntry.id.desc()).limit(1)
            known = connection.execute(last).scalar()
            if known is not None and now > known + SILENT_AT_MOST:
                return f"nothing was recorded for {now - known}"
        return None
