"""How long this installation keeps what, by its settings: the same for the service and for the command."""

from collections.abc import Callable
from datetime import datetime

from crud.retention import delete_partners_requests
from csms.database import Database
from csms.retention import Retention
from ocpi_bridge.settings import Settings


def retention_of(settings: Settings, database: Database, clock: Callable[[], datetime]) -> Retention:
    return Retention(
        database,
        message_days=settings.message_log_days,
        sample_days=settings.meter_sample_days,
        history_days=settings.history_days,
        also={"partners_requests": delete_partners_requests},
        clock=clock,
    )
