"""Stations: what each said it is, which box its identity belongs to, and what an operator decides of it."""

import random
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, cast

import structlog
from sqlalchemy import Connection, Table, func, insert, select, update

from csms import models, vendor_data
from csms.alerts import Alarm
from csms.batch import Batch
from csms.bus import Admission
from csms.clock import Gap
from csms.database import insert_into
from csms.events import (
    BootReply,
    RegistrationStatus,
    StationBooted,
    VendorDataReceived,
    VendorDataReply,
)
from csms.journal import FactType
from csms.lifecycle import State
from csms.models import Station, StationBoot, StationSecurity, Transaction
from csms.passwords import hash_password
from csms.prepared import Look, among
from csms.strangers import STRANGERS_AT_MOST, waiting

log = structlog.get_logger(__name__)

STRANGER_RETRY_S = (60, 90)  # each at its own, or those that were told together come back together (X07)
VENDOR_DEFAULT_IDENTITY = re.compile(r"(CP|EVSE|CHARGER|TEST|CHARGEPOINT)?[-_]?0*1?", re.IGNORECASE)  # CP001, 0000, ...


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


# What a Boot is decided by, of its station.
_DECIDING = ("station_id", "admission", "binding", "fingerprint", "boot_epoch", "heartbeat_interval_s")
_S, _T = cast(Table, Station.__table__).c, cast(Table, Transaction.__table__).c
_BOOTING = Look(select(*(_S[name] for name in _DECIDING)).where(among(_S.station_id, "stations")))
_CHARGING = Look(select(_T.id, _T.station_id).where(among(_T.station_id, "stations"), _T.state == State.ACTIVE.value))


# ---- within a batch -------------------------------------------------------------------------------------------------


class Boots:
    """The Boots of one batch."""

    def __init__(self, batch: Batch, events: Sequence[StationBooted], *, strangers: bool) -> None:
        self._batch = batch
        self._strangers = strangers
        ids = sorted({event.station_id for event in events})
        found = _BOOTING.rows(batch.connection, stations=ids)  # locked since the batch began
        self._stations: dict[str, dict[str, Any]] = {row[0]: dict(zip(_DECIDING, row, strict=True)) for row in found}
        self._waiting = waiting(batch.connection) if len(self._stations) < len(ids) else 0
        self._sockets = _open_sockets(batch.connection, [name for name in ids if name not in self._stations])
        self._active: dict[str, list[str]] = {}
        for transaction_id, station_id in _CHARGING.rows(batch.connection, stations=ids):
            self._active.setdefault(station_id, []).append(transaction_id)

    def boot(self, event: StationBooted) -> BootReply:
        """C01, T1, B12: answered with our time; the box is bound to its identity at its first accepted Boot."""
        station = self._stations.get(event.station_id) or self._stranger(event)
        if station is None:
            return _answer(RegistrationStatus.REJECTED, event, retry_s(), close=True)
        offered = fingerprint(event)
        binding = bind(station["fingerprint"], offered)
        status, close = admit(station["admission"], station["binding"], binding)
        self._record(event, station, status, binding, offered)
        interval = station["heartbeat_interval_s"] if status is RegistrationStatus.ACCEPTED else retry_s()
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


def retry_s() -> int:
    """When a station that is not accepted may send its next Boot."""
    return random.randint(*STRANGER_RETRY_S)  # noqa: S311 - spreads load


def _answer(status: RegistrationStatus, event: StationBooted, interval_s: int, *, close: bool) -> BootReply:
    return BootReply(status=status, current_time=event.received_at, interval_s=interval_s, close=close)


class Notices:
    """What stations say beside charging: kept, and journaled for whoever wants to know."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def vendor_data(self, event: VendorDataReceived) -> VendorDataReply:
        """Also what nobody here understands is in the journal, its data cut where it is too long for any dialect."""
        data: dict[str, Any] = {"vendor_id": event.vendor_id, "message_id": event.message_id, "data": event.data}
        if event.data is not None and len(event.data) > vendor_data.KEPT:
            data |= {"data": event.data[: vendor_data.KEPT], "cut": True}
        self._batch.fact(FactType.VENDOR_DATA, event.station_id, event, **data)
        return vendor_data.reply_to(event)


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


def _open_sockets(connection: Connection, station_ids: Sequence[str]) -> dict[str, str]:
    """The newest open socket of stations that were not known when it opened."""
    if not station_ids:
        return {}
    table = models.Connection
    query = (
        select(table.station_id, table.connection_id)
        .where(table.station_id.in_(station_ids), table.closed_at.is_(None))
        .order_by(table.opened_at)
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


def provision_all(connection: Connection, passwords: Mapping[str, str | None], now: datetime) -> None:
    """As `provision` of each, for thousands at once."""
    rows = [
        {
            "station_id": station_id,
            "admission": Admission.KNOWN.value,
            "password_hash": hash_password(password) if password else None,
            "created_at": now,
        }
        for station_id, password in passwords.items()
    ]
    if rows:
        statement = insert_into(connection, Station).on_conflict_do_nothing().returning(Station.station_id)
        added = set(connection.execute(statement, rows).scalars())
        for station_id in passwords.keys() - added:  # it came by itself meanwhile
            provision(connection, station_id, passwords[station_id], now)


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
    """The password of HTTP Basic from the next connection on; None takes it away. One that is being changed is void."""
    _change(connection, station_id, password_hash=hash_password(password) if password else None)
    void = {"next_password_hash": None, "next_password_sealed": None, "next_password_taken": False}
    connection.execute(update(StationSecurity).where(StationSecurity.station_id == station_id).values(**void))


def must_exist(connection: Connection, station_id: str) -> None:
    """Whoever it is: adopted, waiting or refused. Raises UnknownStation."""
    if connection.execute(select(Station.station_id).where(Station.station_id == station_id)).scalar() is None:
        raise UnknownStation(station_id)


def _admission(connection: Connection, station_id: str) -> str:
    found = connection.execute(select(Station.admission).where(Station.station_id == station_id)).scalar()
    if found is None:
        raise UnknownStation(station_id)
    return found


def _change(connection: Connection, station_id: str, **values: Any) -> None:
    if not connection.execute(update(Station).where(Station.station_id == station_id).values(**values)).rowcount:
        raise UnknownStation(station_id)
