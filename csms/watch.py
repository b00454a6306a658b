"""What time decides: stations that stay away, transactions that fall silent, starts that never come, missing bills."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog
from sqlalchemy import Connection, and_, case, delete, or_, select, text, update

from csms import (
    certificates,
    diagnostics,
    effects,
    firmware,
    lock_order,
    remote,
    reservations,
    sampling,
    skew,
    tariff_changes,
    unused_reservations,
)
from csms.alerts import Alarm, close_where, raise_alarms
from csms.bus import Admission
from csms.database import Database
from csms.events import AuthorizationStatus, ConnectorStatus
from csms.journal import Fact, FactType, Wake, append
from csms.lifecycle import Cause, State, Trigger, step
from csms.locations import touch_stations
from csms.models import Alert, ChargeRecord, Evse, Review, Station, Tap, Transaction
from csms.smart_charging import profiles
from csms.standing import Payers, no_partners

log = structlog.get_logger(__name__)

OFFLINE_AFTER = timedelta(seconds=60)  # shorter absences are nobody's business (LO-63)
SILENT_AFTER = timedelta(hours=12)  # no sample and no end
IDLE_AFTER = timedelta(minutes=10)  # the EVSE says it is free, and the transaction says nothing
GIVEN_UP_AFTER = timedelta(hours=24)
UNSEEN = "station_unseen"
UNSEEN_AFTER = timedelta(minutes=10)
UNSEEN_AT_MOST = 10_000  # all of them may fall silent at once, and each must be told within seconds
UNBILLED_AFTER = timedelta(minutes=15)
UNBILLED_SOUGHT = timedelta(days=7)  # what was told on seven days is not told again; its alerts stay open
AT_MOST = 1000  # rows a rule takes at once

_OPEN = text("state <> 'ended'")  # word for word the condition of the index over what has not ended
Rule = Callable[[Connection, datetime], Sequence[Fact]]


def offline_stations(connection: Connection, now: datetime) -> Sequence[Fact]:
    """Stations that have been away long enough that partners see their EVSEs as unknown."""
    gone = select(Station.station_id).where(
        Station.connection_id.is_(None),
        Station.offline_since < now - OFFLINE_AFTER,
        Station.offline_told.is_(False),
        Station.admission == Admission.KNOWN.value,
    )
    lock_order.stations(connection, connection.execute(gone).scalars())
    stations = sorted(connection.execute(gone).scalars())  # again: who came back meanwhile is not gone
    if not stations:
        return []
    connection.execute(update(Station).where(Station.station_id.in_(stations)).values(offline_told=True))
    facts = [Fact(type=FactType.STATION_OFFLINE, subject=station, station_id=station) for station in stations]
    return [*facts, *touch_stations(connection, stations, now)]


def silent_transactions(connection: Connection, now: datetime) -> Sequence[Fact]:
    """Those that nobody speaks of any more: the card is freed, the EVSE's story stays open (E01)."""
    heard = Transaction.last_updated
    free = (
        select(Evse.id)
        .where(
            Evse.station_id == Transaction.station_id,
            Evse.evse == Transaction.evse,
            Evse.status == ConnectorStatus.AVAILABLE.value,
            Evse.status_at > heard,
            Evse.status_at < now - IDLE_AFTER,
        )
        .exists()
    )
    silent = select(Transaction.id, Transaction.station_id, Transaction.state).where(
        _OPEN,
        Transaction.state.in_((State.ACTIVE.value, State.REFUSED.value)),
        or_(heard < now - SILENT_AFTER, and_(heard < now - IDLE_AFTER, free)),
    )
    return _step_all(connection, silent, Trigger.SILENT, FactType.TRANSACTION_ORPHANED, {"last_updated": now})


def never_stopped(connection: Connection, now: datetime) -> Sequence[Fact]:
    """ORPHANED ones whose end never came. They end where we last heard of them, and wait for a person."""
    given_up = select(Transaction.id, Transaction.station_id, Transaction.state).where(
        _OPEN, Transaction.state == State.ORPHANED.value, Transaction.last_updated < now - GIVEN_UP_AFTER
    )
    heard = Transaction.__table__.c
    accepted = heard.authorization == AuthorizationStatus.ACCEPTED.value
    ending = {
        "cause": case((accepted, Cause.NEVER_STOPPED.value), else_=Cause.REFUSED.value),
        "power_w": None,
        "ended_at": _later(heard.started_at, heard.last_sample_at),
        "ended_received_at": now,
        "ended_rule": "server_missing",
        "last_updated": now,
    }
    return _step_all(connection, given_up, Trigger.GIVE_UP, FactType.TRANSACTION_ENDED, ending)


def unbilled_transactions(connection: Connection, now: datetime) -> Sequence[Fact]:
    """E11: ended, and neither billed, nor in review, nor written off (a closed review). A fault of ours is never silent."""
    bill = select(ChargeRecord.id).where(ChargeRecord.transaction_id == Transaction.id, text("NOT credit"))
    billed = bill.exists()
    reviewed = select(Review.id).where(Review.transaction_id == Transaction.id).exists()
    query = (
        select(Transaction.id, Transaction.station_id)
        .where(
            Transaction.state == State.ENDED.value,
            Transaction.ended_received_at.between(now - UNBILLED_SOUGHT, now - UNBILLED_AFTER),
            ~billed,
            ~reviewed,
        )
        .limit(AT_MOST)
    )
    alarms = [
        Alarm(kind="transaction_unbilled", subject=transaction_id, station_id=station_id)
        for transaction_id, station_id in connection.execute(query)
    ]
    raise_alarms(connection, alarms, now)
    settled = select(Transaction.id).where(Transaction.id == Alert.subject, or_(billed, reviewed)).exists()
    close_where(connection, "transaction_unbilled", settled, now)
    return []


def answered_strangers(connection: Connection, now: datetime) -> Sequence[Fact]:
    """A station that waited for adoption was let in, or kept out."""
    answered = and_(Station.station_id == Alert.subject, Station.admission != Admission.PENDING.value)
    close_where(connection, "station_waiting", select(Station.station_id).where(answered).exists(), now)
    return []


def unseen_stations(connection: Connection, now: datetime) -> Sequence[Fact]:
    """T8, B09: nothing came from it for ten minutes, or twice its heartbeat interval, though its socket may be open: its
    application hangs. Any frame closes the alert."""
    open_ = select(Alert.subject).where(Alert.kind == UNSEEN, Alert.closed_at.is_(None))
    query = select(Station.station_id, Station.last_seen_at, Station.heartbeat_interval_s).where(
        Station.admission == Admission.KNOWN.value, Station.last_seen_at.is_not(None)
    )
    stale = query.where(Station.last_seen_at < now - UNSEEN_AFTER, Station.station_id.not_in(open_))
    fresh = [row for row in connection.execute(stale.order_by(Station.last_seen_at)) if _unseen(row, now)]
    alarms = [
        Alarm(
            kind=UNSEEN,
            subject=row.station_id,
            station_id=row.station_id,
            detail={"last_seen_at": str(row.last_seen_at)},
        )
        for row in fresh[:UNSEEN_AT_MOST]
    ]
    raise_alarms(connection, alarms, now)
    back = [
        row.station_id
        for row in connection.execute(query.where(Station.station_id.in_(open_)))
        if not _unseen(row, now)
    ]
    if back:
        close_where(connection, UNSEEN, Alert.subject.in_(back), now)
    return []


def _unseen(row: Any, now: datetime) -> bool:
    return bool(now - row.last_seen_at > max(UNSEEN_AFTER, 2 * timedelta(seconds=row.heartbeat_interval_s)))


def forgotten_taps(connection: Connection, now: datetime) -> Sequence[Fact]:
    connection.execute(delete(Tap).where(Tap.expires_at < now - timedelta(minutes=15)))
    return []


RULES: dict[str, tuple[float, Rule]] = {  # name: (every s, rule)
    "no_shows": (1.0, remote.no_shows),
    "lost_requests": (5.0, remote.settle_lost),
    "effects": (2.0, effects.look),
    "sampled_too_often": (600.0, sampling.sampled_too_often),
    "offline_stations": (5.0, offline_stations),
    "unseen_stations": (5.0, unseen_stations),
    "silent_transactions": (60.0, silent_transactions),
    "never_stopped": (60.0, never_stopped),
    "unbilled_transactions": (60.0, unbilled_transactions),
    "answered_strangers": (60.0, answered_strangers),
    "clock_alerts": (60.0, skew.clock_alerts),
    "forgotten_taps": (60.0, forgotten_taps),
    "reservations": (5.0, reservations.expire),
    "certificates_to_deliver": (10.0, certificates.deliver),
    "certificates_expiring": (3600.0, certificates.expiring),
    "tariffs_come_and_go": (5.0, tariff_changes.come_and_go),
    "profiles_over": (60.0, profiles.end_with_transactions),
    "firmware_boots": (5.0, firmware.follow_boots),
    "firmware_stuck": (60.0, firmware.find_stuck),
    "uploads_missing": (60.0, diagnostics.find_missing),
    "uploads_expired": (60.0, diagnostics.expire),
}


class Watch:
    """Applies each rule when it is due; a rule that fails is logged and tried again, and stops no other."""

    def __init__(
        self, database: Database, *, wake: Wake, clock: Callable[[], datetime], payers: Payers = no_partners
    ) -> None:
        self._database = database
        self._wake = wake
        self._clock = clock
        unused = partial(unused_reservations.settle, numbers=database.next_numbers, payers=payers)
        self._rules: dict[str, tuple[float, Rule]] = {**RULES, "reservations_unused": (600.0, unused)}

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        due = dict.fromkeys(self._rules, loop.time())
        while True:
            now = loop.time()
            for name, (every_s, _) in self._rules.items():
                if due[name] <= now:
                    due[name] = now + every_s
                    if await asyncio.to_thread(self.apply, name):
                        self._wake()
            await asyncio.sleep(1.0)

    def apply(self, name: str) -> int:
        """One rule, once; returns how many facts it made."""
        try:
            facts = self._database.transact(lambda connection: self._apply(connection, self._rules[name][1]))
        except Exception:
            log.exception("watch_rule_failed", rule=name)
            return 0
        return len(facts)

    def _apply(self, connection: Connection, rule: Rule) -> Sequence[Fact]:
        facts = rule(connection, self._clock())
        append(connection, facts, now=self._clock())
        return facts


def _step_all(
    connection: Connection, found: Any, trigger: Trigger, type_: FactType, changes: dict[str, Any]
) -> Sequence[Fact]:
    rows = connection.execute(found.order_by(Transaction.id).limit(AT_MOST).with_for_update()).all()
    for transaction_id, _, state in rows:
        values = {"state": step(State(state), trigger).value, **changes}
        connection.execute(update(Transaction).where(Transaction.id == transaction_id).values(**values))
    return [Fact(type=type_, subject=row[0], station_id=row[1]) for row in rows]


def _later(start: Any, sample: Any) -> Any:
    """The last sample, or the start where there is none or an earlier one."""
    return case((sample > start, sample), else_=start)
