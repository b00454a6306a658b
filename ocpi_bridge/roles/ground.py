"""What every role stands on: settings, a clock, the database, what is measured, and an owner for its long tasks."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TypeAlias

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from csms import schema
from csms.database import Database
from csms.journal import Wake
from csms.metrics import Metrics
from ocpi_bridge.settings import Settings
from ocpi_bridge.supervisor import Run, Supervisor

log = structlog.get_logger(__name__)

Clock: TypeAlias = Callable[[], datetime]
Tasks: TypeAlias = Mapping[str, Run]


def utc_now() -> datetime:
    return datetime.now(UTC)


class Ground:
    def __init__(self, settings: Settings, *, clock: Clock, wake: Wake | None = None, due: Wake | None = None) -> None:
        """`wake` and `due`: where other processes are to be woken too."""
        self.settings = settings
        self.clock = clock
        self.metrics = Metrics()
        self.wake = wake or Wake()  # the journal grew
        self.due = due or Wake()  # a partner must hear of something
        self.database = Database(settings.database_url, message_log=settings.message_log)
        self.metrics.counts(
            "database_deadlocks",
            "Transactions that were done again because PostgreSQL gave them up for another's sake",
            "database",
            lambda: {"main": self.database.deadlocks},
        )
        self.supervisor = Supervisor(restarted=lambda task: self.metrics.restarts.labels(task).inc())

    async def migrate(self) -> None:
        """The newest schema. Two roles that start at once do it one after the other; see schema.migrate."""
        url, beside, stop = self.settings.database_url, self.settings.message_log, threading.Event()
        try:
            applied = await asyncio.to_thread(schema.migrate, url, message_log=beside, stop=stop)
        finally:
            stop.set()  # its thread would outlive whoever is told to leave
        if applied:
            log.info("database_migrated", revisions=applied)

    def start(self, tasks: Tasks) -> None:
        for name, run in tasks.items():
            self.supervisor.start(name, run)

    def told(self, read: Callable[[Connection], Mapping[str, float]]) -> Callable[[], Mapping[str, float]]:
        """What a gauge reads from the database at each scrape."""

        def told() -> Mapping[str, float]:
            try:
                with self.database.read() as connection:
                    return read(connection)
            except SQLAlchemyError:  # the other numbers are told all the same, and whether we are ready says why
                return {}

        return told
