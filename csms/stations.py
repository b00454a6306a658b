"""Stations: who may connect, what each said it is, and whether it is there."""

import asyncio
import re
from collections import deque
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, cast

import structlog
from sqlalchemy import Connection, Table, bindparam, func, insert, or_, select, update

from csms import models
from csms.alerts import Alarm, raise_alarms
from csms.batch import Batch
from csms.bus import Admission, ConnectionClosed, ConnectionOpened, StationCredentials
from csms.clock import Gap
from csms.database import Database, insert_into
from csms.events import (
    Ack,
    BootReply,
    DiagnosticsStatusReported,
    FirmwareStatusReported,
    RegistrationStatus,
    StationBooted,
    VendorDataReceived,
    VendorDataReply,
    VendorDataStatus,
)
from csms.journal import Fact, FactType, append
from csms.lifecycle import State
from csms.locations import touch_stations
from csms.models import Station, StationBoot, Transaction
from csms.passwords import hash_password
from csms.strangers import STRANGERS_AT_MOST, Knocking, waiting

log = structlog.get_logger(__name__)

STRANGER_RETRY_S = 60
SEEN_EVERY_S = 5.0
VENDOR_DEFAULT_IDENTITY = re.compile(r"(CP|EVSE|CHARGER|TEST|CHARGEPOINT)?[-_]?0*1?", re.IGNORECASE)  # CP001, 0000, ...


News = ConnectionOpened | ConnectionClosed | Alarm


class UnknownStation(Exception):
    """No station has this identity."""


# ---- the identity (T1) ----------------------------------------------------------------------------------------------


class BindingPolicy(StrEnum):
    STRICT = "strict"  # another box is rejected
    WARN = "warn"  # it is served, and an alert says so
    OFF = "off"  # the identity is whoever came last


class Binding(StrEnum):
    FIRST = "first"  # nothing was bound yet
    SAME = "same"
    REFINED = "refined"  # the same vendor and model, now with a serial number
    MISMATCH = "mismatch"


def fingerprint(event: StationBooted) -> str:
    """What tells this box from another with the same identity: its serial number, else vendor and model."""
    serial = (event.serial_number or "").strip()
    if serial:
        return f"serial:{serial}|{event.vendor.strip()}|{event.model.strip()}".casefold()
    return f"model:{event.vendor.strip()}|{event.model.strip()}".casefold()


def bind(bound: str | None, offered: str) -> Binding:
    """T1's cases. A station that once gave a serial number and now gives none, of the same vendor and model, is the same;
    one that now gives another serial number is not. A new vendor or model string with the same serial is a firmware's
    change of spelling."""
    if bound is None:
        return Binding.FIRST
    if bound == offered:
        return Binding.SAME
    bound_kind, _, bound_rest = bound.partition(":")
    kind, _, rest = offered.partition(":")
    if bound_kind == kind == "serial":
        same = bound_rest.partition("|")[0] == rest.partition("|")[0]
    elif bound_kind == "serial":
        same = bound_rest.partition("|")[2] == rest
    elif kind == "serial":
        return Binding.REFINED if rest.partition("|")[2] == bound_rest else Binding.MISMATCH
    else:
        same = False
    return Binding.SAME if same else Binding.MISMATCH


def admit(admission: str, policy: str, binding: Binding) -> tuple[RegistrationStatus, bool]:
    """The answer to a Boot, and whether the connection ends after it."""
    if admission == Admission.REFUSED:
        return RegistrationStatus.REJECTED, True
    if admission == Admission.PENDING:
        return RegistrationStatus.PENDING, False
    if binding is Binding.MISMATCH and policy == BindingPolicy.STRICT:
        return RegistrationStatus.REJECTED, True
    return RegistrationStatus.ACCEPTED, False


# ---- within a batch -------------------------------------------------------------------------------------------------


class Boots:
    """The Boots of one batch."""

    def __init__(self, batch: Batch, events: Sequence[StationBooted], *, strangers: bool) -> None:
        self._batch = batch
        self._strangers = strangers
        ids = sorted({event.station_id for event in events})
        query = select(Station.__table__).where(Station.station_id.in_(ids)).order_by(Station.station_id)
        rows = batch.connection.execute(query.with_for_update())
        self._stations = {row.station_id: dict(row._mapping) for row in rows}
        self._waiting = waiting(batch.connection) if len(self._stations) < len(ids) else 0
        self._sockets = _open_sockets(batch.connection, [name for name in ids if name not in self._stations])
        active = select(Transaction.id, Transaction.station_id).where(
            Transaction.station_id.in_(ids), Transaction.state == State.ACTIVE
        )
        self._active: dict[str, list[str]] = {}
        for row in batch.connection.execute(active):
            self._active.setdefault(row.station_id, []).append(row.id)

    def boot(self, event: StationBooted) -> BootReply:
        """C01, T1, B12: answered with our time; the box is bound to its identity at its first accepted Boot."""
        station = self._stations.get(event.station_id) or self._stranger(event)
        if station is None:
            return _answer(RegistrationStatus.REJECTED, event, STRANGER_RETRY_S, close=True)
        offered = fingerprint(event)
        binding = bind(station["fingerprint"], offered)
        status, close = admit(station["admission"], station["binding"], binding)
        self._record(event, station, status, binding, offered)
        interval = station["heartbeat_interval_s"] if status is RegistrationStatus.ACCEPTED else STRANGER_RETRY_S
        return _answer(status, event, interval, close=close)

    def _record(
        self, event: StationBooted, station: dict[str, Any], status: RegistrationStatus, binding: Binding, offered: str
    ) -> None:
        batch = self._batch
        said = {
            "vendor": event.vendor,
            "model": event.model,
            "serial_number": event.serial_number,
            "firmware_version": event.firmware_version,
        }
        history = {"station_id": event.station_id, "event_id": event.event_id, "ocpp_version": event.ocpp_version}
        batch.insert(StationBoot, {**history, "received_at": event.received_at, **said, "answer": status.value})
        if binding is Binding.MISMATCH and station["admission"] == Admission.KNOWN:
            detail = {"bound_to": station["fingerprint"], "offered": offered, "policy": station["binding"]}
            subject = event.station_id
            batch.alarm(Alarm(kind="identity_mismatch", subject=subject, station_id=event.station_id, detail=detail))
        if status is RegistrationStatus.REJECTED:
            return  # an impostor changes nothing of the real one
        changes: dict[str, Any] = {"registered": status.value, "ocpp_version": event.ocpp_version}
        changes |= {**said, "iccid": event.iccid, "imsi": event.imsi, "booted_at": event.received_at}
        if status is RegistrationStatus.ACCEPTED:
            if station["binding"] == BindingPolicy.OFF or binding in (Binding.FIRST, Binding.REFINED):
                changes["fingerprint"] = offered
            changes["boot_epoch"] = station["boot_epoch"] + 1
            changes["keeps_our_time"] = None  # it was told the time just now: what it makes of that is to be seen
            for transaction_id in self._active.get(event.station_id, ()):
                batch.update(Transaction, "id", transaction_id, {"booted_inside": True})
            batch.fact(FactType.STATION_BOOTED, event.station_id, event, firmware_version=event.firmware_version)
            if binding is Binding.FIRST and VENDOR_DEFAULT_IDENTITY.fullmatch(event.station_id):
                log.warning("vendor_default_identity", station_id=event.station_id)  # B13: another may come with it too
        batch.update(Station, "station_id", event.station_id, changes)
        station |= changes

    def _stranger(self, event: StationBooted) -> dict[str, Any] | None:
        """A station nobody announced waits for adoption, while there is room for it."""
        if not self._strangers or self._waiting >= STRANGERS_AT_MOST:
            return None
        self._waiting += 1
        station = {
            "station_id": event.station_id,
            "admission": Admission.PENDING.value,
            "binding": BindingPolicy.STRICT.value,
            "fingerprint": None,
            "boot_epoch": 0,
            "heartbeat_interval_s": 300,
            "connection_id": self._sockets.get(event.station_id),
            "connected_at": event.received_at,
            "last_seen_at": event.received_at,
            "created_at": event.received_at,
        }
        self._batch.claim(Station, station)
        self._batch.alarm(Alarm(kind="station_waiting", subject=event.station_id, station_id=event.station_id))
        self._stations[event.station_id] = station
        return station


def _answer(status: RegistrationStatus, event: StationBooted, interval_s: int, *, close: bool) -> BootReply:
    return BootReply(status=status, current_time=event.received_at, interval_s=interval_s, close=close)


class Notices:
    """What stations say beside charging: kept, and journaled for whoever wants to know."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def vendor_data(self, event: VendorDataReceived) -> VendorDataReply:
        """No vendor's dialect is spoken yet, so none is claimed to be; the data is in the journal."""
        data = {"vendor_id": event.vendor_id, "message_id": event.message_id, "data": event.data}
        self._batch.fact(FactType.VENDOR_DATA, event.station_id, event, **data)
        return VendorDataReply(status=VendorDataStatus.UNKNOWN_VENDOR)

    def firmware_status(self, event: FirmwareStatusReported) -> Ack:
        self._batch.update(Station, "station_id", event.station_id, {"firmware_status": event.status})
        self._batch.fact(FactType.FIRMWARE_STATUS, event.station_id, event, status=event.status)
        return Ack()

    def diagnostics_status(self, event: DiagnosticsStatusReported) -> Ack:
        self._batch.update(Station, "station_id", event.station_id, {"diagnostics_status": event.status})
        self._batch.fact(FactType.DIAGNOSTICS_STATUS, event.station_id, event, status=event.status)
        return Ack()


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


# ---- who may connect, and who is here -------------------------------------------------------------------------------


class Stations:
    """Answers the gateway's questions, and takes its word for who is connected (bus.Credentials, bus.Presence)."""

    def __init__(self, database: Database, *, strangers: bool, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._strangers_wait = strangers
        self._clock = clock
        self._knocking = Knocking()
        self._seen: dict[str, datetime] = {}
        self._news: deque[News] = deque()
        self.on_news: Callable[[], None] = lambda: None
        self.on_opened: Callable[[ConnectionOpened], None] = lambda _: None

    async def credentials(self, station_id: str, /) -> StationCredentials:
        known = await asyncio.to_thread(self._look_up, station_id, self._knocking.names())
        if isinstance(known, StationCredentials):
            return known
        waits, stored = known
        now = asyncio.get_running_loop().time()
        room = self._strangers_wait and self._knocking.let_in(station_id, now, waiting=waits, stored=stored)
        return StationCredentials(admission=Admission.PENDING if room else Admission.UNKNOWN)

    def _look_up(self, station_id: str, knocking: Collection[str]) -> StationCredentials | tuple[int, Collection[str]]:
        """Of a stranger: how many wait for adoption, and who of `knocking` does by now."""
        with self._database.read() as connection:
            query = select(Station.admission, Station.password_hash).where(Station.station_id == station_id)
            found = connection.execute(query).one_or_none()
            if found is not None:
                return StationCredentials(admission=Admission(found.admission), password_hash=found.password_hash)
            stored = connection.execute(select(Station.station_id).where(Station.station_id.in_(knocking))).scalars()
            return waiting(connection), set(stored)

    def opened(self, connection: ConnectionOpened, /) -> None:
        self._knocking.opened(connection.station_id)
        self._news.append(connection)
        self.on_opened(connection)
        self.on_news()

    def closed(self, connection: ConnectionClosed, /) -> None:
        self._seen.pop(connection.station_id, None)
        self._knocking.closed(connection.station_id)
        self._news.append(connection)
        self.on_news()

    def duplicate(self, station_id: str, older: str, newer: str, /) -> None:
        """B13: two boxes answer to one identity. The newer is served; somebody must look."""
        detail = {"older": older, "newer": newer}
        self._news.append(Alarm(kind="duplicate_identity", subject=station_id, station_id=station_id, detail=detail))
        self.on_news()

    def seen(self, station_id: str, at: datetime, /) -> None:
        self._seen[station_id] = at

    def news(self) -> Sequence[News]:
        """Who came and went and is not written yet, in order."""
        return list(self._news)

    def forget(self, written: int) -> None:
        """The first `written` of `news` are committed."""
        for _ in range(written):
            self._news.popleft()

    def flush_seen(self) -> None:
        """Write the last sign of life of each station that gave one (C02, T8): one statement for all of them."""
        seen, self._seen = self._seen, {}
        if not seen:
            return
        rows = [{"the_station": station_id, "at": at} for station_id, at in sorted(seen.items())]
        try:
            self._database.transact(lambda connection: connection.execute(_SEEN, rows))
        except Exception:
            self._seen = seen | self._seen
            raise

    def close_stale(self) -> None:
        """At start: sockets that an earlier process left open are gone; their last frame is the last we heard."""
        now = self._clock()
        with self._database.write() as connection:
            last_seen = select(Station.last_seen_at).where(Station.station_id == models.Connection.station_id)
            connection.execute(
                update(models.Connection)
                .where(models.Connection.closed_at.is_(None))
                .values(
                    closed_at=now,
                    last_frame_at=func.coalesce(last_seen.scalar_subquery(), models.Connection.opened_at),
                    close_reason="the service stopped",
                )
            )
            connection.execute(
                update(Station).where(Station.connection_id.is_not(None)).values(connection_id=None, offline_since=now)
            )


_STATIONS = cast(Table, Station.__table__)
_CONNECTIONS = cast(Table, models.Connection.__table__)
_OLDER = or_(_STATIONS.c.last_seen_at.is_(None), _STATIONS.c.last_seen_at < bindparam("at"))
_SEEN = (
    update(_STATIONS)
    .where(_STATIONS.c.station_id == bindparam("the_station"), _OLDER)
    .values(last_seen_at=bindparam("at"))
)
_HERE = (
    update(_STATIONS)
    .where(_STATIONS.c.station_id == bindparam("the_station"))
    .values(
        connection_id=bindparam("new"),
        connected_at=bindparam("at"),
        last_seen_at=bindparam("at"),
        offline_since=None,
        ocpp_version=bindparam("version"),
    )
)
_CLOSED = (
    update(_CONNECTIONS)
    .where(_CONNECTIONS.c.connection_id == bindparam("old"))
    .values(
        closed_at=bindparam("at"),
        last_frame_at=bindparam("heard"),
        close_code=bindparam("code"),
        close_reason=bindparam("why"),
    )
)
_GONE = (
    update(_STATIONS)
    .where(_STATIONS.c.station_id == bindparam("the_station"), _STATIONS.c.connection_id == bindparam("old"))
    .values(connection_id=None, offline_since=bindparam("at"), last_seen_at=bindparam("heard"))
)


def write_news(connection: Connection, news: Sequence[News], now: datetime) -> None:
    """At the head of a batch, so that what a connection delivers is judged with the connection known. All that came are
    written before all that went: a socket that went takes its station away only while none came after it."""
    raise_alarms(connection, [item for item in news if isinstance(item, Alarm)], now)
    if came := [item for item in news if isinstance(item, ConnectionOpened)]:
        _write_came(connection, came, now)
    if went := [item for item in news if isinstance(item, ConnectionClosed)]:
        rows = [
            {
                "the_station": item.station_id,
                "old": item.connection_id,
                "at": item.closed_at,
                "heard": item.last_frame_at,
                "code": item.code,
                "why": item.reason,
            }
            for item in sorted(went, key=lambda item: item.station_id)
        ]
        connection.execute(_CLOSED, rows)
        connection.execute(_GONE, rows)


def _write_came(connection: Connection, came: Sequence[ConnectionOpened], now: datetime) -> None:
    rows = [
        {
            "connection_id": item.connection_id,
            "station_id": item.station_id,
            "ocpp_version": item.ocpp_version,
            "peer": item.peer,
            "opened_at": item.opened_at,
        }
        for item in came
    ]
    connection.execute(insert_into(connection, _CONNECTIONS).on_conflict_do_nothing(), rows)
    here = [
        {
            "the_station": item.station_id,
            "new": item.connection_id,
            "at": item.opened_at,
            "version": item.ocpp_version,
        }
        for item in sorted({item.station_id: item for item in came}.values(), key=lambda item: item.station_id)
    ]
    connection.execute(_HERE, here)
    stations = {item.station_id for item in came}
    told = select(Station.station_id).where(Station.station_id.in_(stations), Station.offline_told.is_(True))
    back = sorted(connection.execute(told).scalars())
    if back:
        connection.execute(update(Station).where(Station.station_id.in_(back)).values(offline_told=False))
        facts = [Fact(type=FactType.STATION_ONLINE, subject=station_id, station_id=station_id) for station_id in back]
        append(connection, [*facts, *touch_stations(connection, back, now)], now=now)


def _open_sockets(connection: Connection, station_ids: Sequence[str]) -> dict[str, str]:
    """The newest open socket of stations that were not known when it opened."""
    if not station_ids:
        return {}
    query = (
        select(_CONNECTIONS.c.station_id, _CONNECTIONS.c.connection_id)
        .where(_CONNECTIONS.c.station_id.in_(station_ids), _CONNECTIONS.c.closed_at.is_(None))
        .order_by(_CONNECTIONS.c.opened_at)
    )
    return {row.station_id: row.connection_id for row in connection.execute(query)}


# ---- what an operator does ------------------------------------------------------------------------------------------


def provision(connection: Connection, station_id: str, password: str | None, now: datetime) -> bool:
    """Announce a station, with its password if it has one; True when it is new. A stranger who waited is adopted."""
    if connection.execute(select(Station.station_id).where(Station.station_id == station_id)).scalar() is not None:
        connection.execute(
            update(Station)
            .where(Station.station_id == station_id, Station.admission == Admission.PENDING)
            .values(admission=Admission.KNOWN.value)
        )
        return False
    connection.execute(
        insert(Station).values(
            station_id=station_id,
            admission=Admission.KNOWN.value,
            password_hash=hash_password(password) if password else None,
            created_at=now,
        )
    )
    return True


def adopt(connection: Connection, station_id: str, now: datetime) -> bool:
    """Let a waiting (or refused) station in; False when it was in already. Its next Boot binds it."""
    admission = _admission(connection, station_id)
    _change(connection, station_id, admission=Admission.KNOWN.value)
    return admission != Admission.KNOWN


def refuse(connection: Connection, station_id: str) -> None:
    """Keep a station out: its next connection is answered 403."""
    _change(connection, station_id, admission=Admission.REFUSED.value)


def refused_and_here(connection: Connection) -> Sequence[str]:
    """Refused stations whose socket is still open."""
    query = select(Station.station_id).where(
        Station.admission == Admission.REFUSED.value, Station.connection_id.is_not(None)
    )
    return connection.execute(query).scalars().all()


def rebind(connection: Connection, station_id: str) -> None:
    """Forget which box the identity belongs to: the next accepted Boot binds it anew (T1, after an exchange of hardware)."""
    _change(connection, station_id, fingerprint=None)


def set_binding(connection: Connection, station_id: str, policy: BindingPolicy) -> None:
    """From the next Boot on (T1)."""
    _change(connection, station_id, binding=str(policy))


def set_password(connection: Connection, station_id: str, password: str | None) -> None:
    """The password of HTTP Basic from the next connection on; None takes it away."""
    _change(connection, station_id, password_hash=hash_password(password) if password else None)


def _admission(connection: Connection, station_id: str) -> str:
    found = connection.execute(select(Station.admission).where(Station.station_id == station_id)).scalar()
    if found is None:
        raise UnknownStation(station_id)
    return found


def _change(connection: Connection, station_id: str, **values: Any) -> None:
    if not connection.execute(update(Station).where(Station.station_id == station_id).values(**values)).rowcount:
        raise UnknownStation(station_id)
