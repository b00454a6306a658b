"""When a station was really away: what it says of that time, late, may be true (T2)."""

from datetime import datetime

from sqlalchemy import Connection, func, select

from csms import models
from csms.clock import SKEW_LIMIT, Gap


def told_late(connection: Connection, station_id: str, claimed: datetime | None, received_at: datetime) -> bool:
    """Whether an old claim falls into the station's last absence: it speaks of then, and says nothing of its clock."""
    if claimed is None or received_at - claimed <= SKEW_LIMIT:
        return False
    gap = last_gap(connection, station_id, claimed)
    return gap is not None and gap.since is not None and gap.since <= claimed <= gap.until


def last_gap(connection: Connection, station_id: str, claimed: datetime) -> Gap | None:
    """The time around `claimed` in which the station was really away; None when it was connected then (T2)."""
    table = models.Connection
    before = connection.execute(
        select(table.closed_at, table.last_frame_at)
        .where(table.station_id == station_id, table.opened_at <= claimed)
        .order_by(table.opened_at.desc())
        .limit(1)
    ).one_or_none()
    until = connection.execute(
        select(func.min(table.opened_at)).where(table.station_id == station_id, table.opened_at > claimed)
    ).scalar()
    if until is None:
        return None  # no connection since: it was, and is, connected by the one before
    if before is None:
        return Gap(since=None, until=until)
    since = before.last_frame_at or before.closed_at
    return Gap(since=since, until=until) if since is not None and since <= claimed else None
