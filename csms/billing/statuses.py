"""What an EVSE told of its status while a transaction ran, read from the journal (TC-14)."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select, text

from csms import clock
from csms.billing.parking import Change
from csms.clock import SKEW_LIMIT
from csms.models import Evse, JournalEntry

DAY = timedelta(days=1)


def changes(connection: Connection, transaction: Any) -> tuple[Change, ...]:
    """What the EVSE of `transaction` (a row of its table) told while it ran, as far as we had received it at its end: what
    comes later changes no bill."""
    entry = JournalEntry.__table__.c
    received_until = transaction.ended_received_at
    since = min(transaction.started_at, transaction.started_received_at) - SKEW_LIMIT
    evse = select(Evse.id).where(Evse.station_id == transaction.station_id, Evse.evse == transaction.evse)
    subject = connection.execute(evse).scalar()
    if subject is None:
        return ()
    query = (
        select(entry.data, entry.recorded_at, entry.event_id)
        .where(text("type = 'evse_status'"), entry.subject == str(subject), entry.recorded_at >= since)
        .order_by(entry.recorded_at, entry.id)
    )
    if received_until is not None:
        query = query.where(entry.recorded_at <= received_until + DAY)
    told = [
        change for row in connection.execute(query) for change in _read(row.data or {}, row.recorded_at, row.event_id)
    ]
    return tuple(one for one in told if received_until is None or one.received_at <= received_until)


def _read(data: dict[str, Any], recorded_at: datetime, event_id: str) -> Iterable[Change]:
    if "status" not in data:
        return  # its station was lost, or is back
    received_at = clock.read(data.get("received_at")) or recorded_at
    yield Change(
        status=data["status"],
        at=clock.read(data.get("at")) or recorded_at,
        received_at=received_at,
        claimed_at=clock.read(data.get("claimed_at")),
        event_id=event_id,
    )
    then = data.get("then") or {}
    if (at := clock.read(then.get("at"))) is not None:
        yield Change(status=then["status"], at=at, received_at=received_at, event_id=event_id)
