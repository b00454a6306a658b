"""What every role stands on: settings, a clock, the database, what is measured, and an owner for its long tasks."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TypeAlias

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from csms import schema
from csms.database import Database
from csms.journal import Wake
from csms.metrics import Metrics
from ocpi_bridge.settings import Settings
from ocpi_bridge.supervisor import Run, Supervisor

Clock: TypeAlias = Callable[[], datetime]
Tasks: TypeAlias = Mapping[str, Run]


def utc_now() -> datetime:
    return datetime.now(UTC)


class Ground:
    def __init__(self, settings: Settings, *, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.metrics = Metrics()
        self.wake = Wake()  # the journal grew
        self.due = Wake()  # a partner must hear of something
        self.database = Database(settings.database_url, message_log=settings.message_log)
        self.supervisor = Supervisor(restarted=lambda task: self.metrics.restarts.labels(task).inc())

    def migrate(self) -> list[str]:
        """Two roles that start at once do it one after the other; see schema.migrate."""
        return schema.migrate(self.settings.database_url, message_log=self.settings.message_log)

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
