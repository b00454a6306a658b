"""What the operator must know, said once a day for each subject, and taken back when it is over."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import structlog
from sqlalchemy import ColumnElement, Connection, Row, func, select, update

from csms.database import insert_into
from csms.models import Alert

log = structlog.get_logger(__name__)


class UnknownAlert(Exception):
    """No alert has this id."""


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """`kind` is a word (identity_mismatch, duplicate_identity, ...), `subject` what it is about within that kind."""

    kind: str
    subject: str
    station_id: str | None = None
    detail: dict[str, Any] = {}


def raise_alarms(connection: Connection, alarms: Sequence[Alarm], now: datetime) -> None:
    """Open what is not open yet today (F06); the log line comes each time. What closed today and is back is open again,
    as the one it was."""
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
        for alarm in sorted(alarms, key=lambda alarm: (alarm.kind, alarm.subject))  # two workers lock in one order
    ]
    if rows:
        statement = insert_into(connection, Alert)
        again = statement.on_conflict_do_update(
            index_elements=["kind", "subject", "day"],
            set_={"closed_at": None, "closed_by": None, "detail": statement.excluded.detail},
            where=Alert.closed_at.is_not(None),
        )
        connection.execute(again, rows)


def close_by_hand(connection: Connection, alert_id: int, *, by: str, now: datetime) -> Row[Any]:
    """Somebody has looked: it is closed, until what raised it happens again. Returns its row, also of one that was closed.
    Raises UnknownAlert."""
    row = Alert
    open_ = (row.id == alert_id, row.closed_at.is_(None))
    connection.execute(update(row).where(*open_).values(closed_at=now, closed_by=by))
    found = connection.execute(select(row.__table__).where(row.id == alert_id)).one_or_none()
    if found is None:
        raise UnknownAlert(alert_id)
    return found


def close(connection: Connection, kind: str, subject: str, now: datetime) -> int:
    """It is over: what is open of it, of whichever day, is closed. Returns how many were."""
    return close_where(connection, kind, Alert.subject == subject, now)


def close_where(connection: Connection, kind: str, over: ColumnElement[bool], now: datetime) -> int:
    """As `close`, for all alerts of `kind` of which `over` (a condition on their row) is true."""
    open_ = (Alert.kind == kind, Alert.closed_at.is_(None), over)
    ordered = select(Alert.id).where(*open_).order_by(Alert.subject, Alert.day).with_for_update()  # as they are raised
    ids = list(connection.execute(ordered).scalars())
    if not ids:
        return 0
    return connection.execute(update(Alert).where(Alert.id.in_(ids)).values(closed_at=now)).rowcount


def open_by_kind(connection: Connection) -> Mapping[str, float]:
    """How many are open."""
    query = select(Alert.kind, func.count()).where(Alert.closed_at.is_(None)).group_by(Alert.kind)
    return {kind: float(count) for kind, count in connection.execute(query)}
