"""What the operator must know, said once a day for each subject."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection

from csms.database import insert_into
from csms.models import Alert

log = structlog.get_logger(__name__)


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """`kind` is a word (identity_mismatch, duplicate_identity, ...), `subject` what it is about within that kind."""

    kind: str
    subject: str
    station_id: str | None = None
    detail: dict[str, Any] = {}


def raise_alarms(connection: Connection, alarms: Sequence[Alarm], now: datetime) -> None:
    """Open what is not open yet today (F06); the log line comes each time."""
    for alarm in alarms:
        log.warning("alert", kind=alarm.kind, subject=alarm.subject, station_id=alarm.station_id, **alarm.detail)
    rows = [
        {
            "kind": alarm.kind,
            "subject": alarm.subject,
            "day": f"{now:%Y-%m-%d}",
            "station_id": alarm.station_id,
            "detail": alarm.detail,
            "opened_at": now,
        }
        for alarm in alarms
    ]
    if rows:
        connection.execute(insert_into(connection, Alert).on_conflict_do_nothing(), rows)
