"""What an EVSE told of its status while a transaction ran, read from the journal (TC-14)."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select, text

from csms import clock
from csms.billing.parking import Change
from csms.clock import SKEW_LIMIT
from csms.models import Evse, JournalEntry

DAY = timedelta(days=1)

_ENTRY = JournalEntry.__table__.c
_EVSES = select(Evse.id, Evse.station_id, Evse.evse).where(Evse.station_id.in_(bindparam("stations", expanding=True)))
_TOLD = (
    select(_ENTRY.subject, _ENTRY.data, _ENTRY.recorded_at, _ENTRY.event_id)
    .where(
        text("type = 'evse_status'"),
        _ENTRY.subject.in_(bindparam("subjects", expanding=True)),
        _ENTRY.recorded_at >= bindparam("since"),
    )
    .order_by(_ENTRY.recorded_at, _ENTRY.id)
)
_TOLD_UNTIL = _TOLD.where(_ENTRY.recorded_at <= bindparam("until"))


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """`until`: when its end was received, None while it runs."""

    id: str
    subject: str
    since: datetime
    until: datetime | None

    def together(self) -> Hashable:
        """Who may be read with others: those of one day, so that nobody's statuses of long ago are read for another's sake."""
        if self.until is None:
            return self.since.date(), None
        return self.id if self.until - self.since > DAY else (self.since.date(), self.until.date())


def changes(connection: Connection, transactions: Sequence[Any]) -> Mapping[str, tuple[Change, ...]]:
    """What the EVSE of each of `transactions` (rows of their table) told while it ran, as far as we had received it at its
    end: what comes later changes no bill."""
    stations = sorted({one.station_id for one in transactions})
    evses = {(row.station_id, row.evse): str(row.id) for row in connection.execute(_EVSES, {"stations": stations})}
    found: dict[str, tuple[Change, ...]] = {one.id: () for one in transactions}
    groups: defaultdict[Hashable, list[_Asked]] = defaultdict(list)
    for one in transactions:
        subject = evses.get((one.station_id, one.evse))
        if subject is not None:
            since = min(one.started_at, one.started_received_at) - SKEW_LIMIT
            asked = _Asked(id=one.id, subject=subject, since=since, until=one.ended_received_at)
            groups[asked.together()].append(asked)
    for group in groups.values():
        told = _told(connection, group)
        found |= {asked.id: tuple(_heard(asked, told[asked.subject])) for asked in group}
    return found


def _told(connection: Connection, group: Sequence[_Asked]) -> Mapping[str, Sequence[Row[Any]]]:
    named: dict[str, Any] = {"subjects": sorted({asked.subject for asked in group})}
    named["since"] = min(asked.since for asked in group)
    ends = [asked.until for asked in group if asked.until is not None]
    rows: Iterable[Any] = (
        connection.execute(_TOLD_UNTIL, named | {"until": max(ends) + DAY})
        if ends
        else connection.execute(_TOLD, named)
    )
    told: defaultdict[str, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        told[row.subject].append(row)
    return told


def _heard(asked: _Asked, told: Iterable[Row[Any]]) -> Iterable[Change]:
    for row in told:
        if row.recorded_at >= asked.since and (asked.until is None or row.recorded_at <= asked.until + DAY):
            for change in _read(row.data or {}, row.recorded_at, row.event_id):
                if asked.until is None or change.received_at <= asked.until:
                    yield change


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
