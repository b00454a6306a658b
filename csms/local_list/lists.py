"""Which stations keep a list, when each is told next, and what became of it."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, and_, exists, func, literal, or_, select, true, update

from csms.bus import Admission
from csms.database import insert_into
from csms.events import RegistrationStatus
from csms.local_list.night import next_night
from csms.models import ActualSetting, Evse, LocalList, Location, Station
from csms.stations import UnknownStation

ENABLED = "LocalAuthListEnabled"
LIST_LENGTH = "LocalAuthListMaxLength"
MESSAGE_LENGTH = "SendLocalListMaxLength"
PROFILES = "SupportedFeatureProfiles"
PROFILE = "LocalAuthListManagement"
SETTINGS = (ENABLED, LIST_LENGTH, MESSAGE_LENGTH, PROFILES)

SETTLE = timedelta(seconds=15)  # after it came back a station has its Boot and its backlog to tell first
BUSY = timedelta(minutes=30)  # as long as a list may take; a process that died is not waited for longer
AGAIN = timedelta(minutes=15)  # after a failure, when somebody cannot wait for the night
URGENT_FOR = timedelta(hours=6)
AT_MOST = 1000  # rows a look takes at once


class NoList(Exception):
    """Nobody has asked that this station keeps a list."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A station to be told, with what we know of it. `settings` as it last told them."""

    station_id: str
    wanted: bool | None
    version: int | None
    entries: Mapping[str, str]
    firmware_version: str | None
    settings: Mapping[str, str]
    asked_at: datetime | None
    taken_at: datetime


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it. `version` None: nobody knows what the station holds."""

    state: str
    detail: str | None = None
    version: int | None = None
    entries: Mapping[str, str] = {}


# ---- verbs ----------------------------------------------------------------------------------------------------------


def enable(connection: Connection, station_id: str, now: datetime) -> None:
    """The station shall keep a list from now on: it is switched on there, and told as soon as may be. Raises
    UnknownStation."""
    if not _enable(connection, Station.station_id == station_id, now):
        raise UnknownStation(station_id)


def enable_all(connection: Connection, now: datetime) -> int:
    """All stations that are known now; returns how many."""
    return _enable(connection, true(), now)


def disable(connection: Connection, station_id: str, now: datetime) -> None:
    """The station's list is emptied, and then left alone. Raises NoList."""
    _ask(connection, station_id, wanted=False, asked_at=now, due_at=now)


def push(connection: Connection, station_id: str, now: datetime) -> None:
    """Tell it now instead of at night. Raises NoList."""
    _ask(connection, station_id, asked_at=now, due_at=now)


def push_all(connection: Connection, now: datetime) -> int:
    """Tell all now, because a card may no longer charge; returns how many will be."""
    listed = (LocalList.state != "not_supported", LocalList.wanted.is_not(False))
    return connection.execute(update(LocalList).where(*listed).values(asked_at=now, due_at=now)).rowcount


def _ask(connection: Connection, station_id: str, **changes: Any) -> None:
    row = LocalList
    if not connection.execute(update(row).where(row.station_id == station_id).values(**changes)).rowcount:
        raise NoList(station_id)
    again = update(row).where(row.station_id == station_id, row.state == "not_supported")
    connection.execute(again.values(state="never"))


def _enable(connection: Connection, which: Any, now: datetime) -> int:
    known = select(Station.station_id).where(which, Station.admission == Admission.KNOWN.value)
    stations = connection.execute(known).scalars().all()
    if stations:
        statement = insert_into(connection, LocalList)
        new = {"wanted": True, "due_at": now, "asked_at": now}
        again = statement.on_conflict_do_update(index_elements=["station_id"], set_={**new, "state": "never"})
        connection.execute(
            again, [{"station_id": station_id, "entries": {}, "state": "never", **new} for station_id in stations]
        )
    return len(stations)


# ---- what time decides ----------------------------------------------------------------------------------------------


def anything(connection: Connection, now: datetime) -> bool:
    """Whether `take` or `mark_offline` would find something: a look without a lock."""
    due = select(LocalList.station_id).join(Station, Station.station_id == LocalList.station_id)
    return connection.execute(due.where(or_(_ready(now), _away(now))).limit(1)).scalar() is not None


def prepare(connection: Connection, now: datetime) -> None:
    """Stations whose list is switched on are told too, though nobody asked; what is due at night gets its time; and what a
    station's firmware did not support is tried again with another firmware."""
    switched_on = (
        select(Station.station_id, literal("{}"), literal("never"))
        .join(ActualSetting, ActualSetting.station_id == Station.station_id)
        .where(
            Station.admission == Admission.KNOWN.value,
            ActualSetting.key == ENABLED,
            func.lower(ActualSetting.value) == "true",
            ~exists().where(LocalList.station_id == Station.station_id),
        )
    )
    new = insert_into(connection, LocalList).from_select(["station_id", "entries", "state"], switched_on)
    connection.execute(new.on_conflict_do_nothing())
    firmware = select(Station.firmware_version).where(Station.station_id == LocalList.station_id).scalar_subquery()
    changed = and_(LocalList.state == "not_supported", firmware.is_distinct_from(LocalList.firmware_version))
    connection.execute(update(LocalList).where(changed).values(state="never", due_at=now))
    unplanned = select(LocalList.station_id).where(
        LocalList.due_at.is_(None), LocalList.state != "not_supported", LocalList.wanted.is_not(False)
    )
    stations = connection.execute(unplanned.limit(AT_MOST)).scalars().all()
    zones = _zones(connection, stations)
    for station_id in stations:
        _change(connection, station_id, due_at=next_night(station_id, zones.get(station_id), now))


def mark_offline(connection: Connection, now: datetime) -> int:
    """Due, and not there: seen as such, and told when they are back."""
    away = select(LocalList.station_id).join(Station, Station.station_id == LocalList.station_id).where(_away(now))
    gone = update(LocalList).where(LocalList.station_id.in_(away)).values(state="offline", detail=None, tried_at=now)
    return connection.execute(gone).rowcount


def take(connection: Connection, now: datetime, at_most: int) -> Sequence[Job]:
    """The stations that have waited longest; nobody else takes them until they are finished."""
    due = (
        select(LocalList.__table__, Station.firmware_version.label("firmware"))
        .join(Station, Station.station_id == LocalList.station_id)
        .where(_ready(now))
        .order_by(LocalList.due_at)
        .limit(at_most)
        .with_for_update(skip_locked=True, of=LocalList)
    )
    rows = connection.execute(due).all()
    ids = [row.station_id for row in rows]
    connection.execute(update(LocalList).where(LocalList.station_id.in_(ids)).values(busy_until=now + BUSY))
    settings = _settings(connection, ids)
    return [
        Job(
            station_id=row.station_id,
            wanted=row.wanted,
            version=row.version,
            entries=row.entries,
            firmware_version=row.firmware,
            settings=settings.get(row.station_id, {}),
            asked_at=row.asked_at,
            taken_at=now,
        )
        for row in rows
    ]


def finish(connection: Connection, job: Job, told: Told, now: datetime) -> None:
    """What became of it is stored, and when the next time is: at once, when somebody asked in the meantime."""
    query = select(LocalList.asked_at, LocalList.wanted).where(LocalList.station_id == job.station_id)
    row = connection.execute(query.with_for_update()).one()
    zone = _zones(connection, [job.station_id]).get(job.station_id)
    changes: dict[str, Any] = {
        "state": told.state,
        "detail": told.detail,
        "version": told.version,
        "entries": dict(told.entries),
        "tried_at": now,
        "busy_until": None,
        "asked_at": None,
        "due_at": next_night(job.station_id, zone, now),
    }
    if told.state == "sent":
        changes["succeeded_at"] = now
        changes["due_at"] = None if row.wanted is False else changes["due_at"]
    elif told.state == "not_supported":
        changes |= {"due_at": None, "firmware_version": job.firmware_version}
    elif told.state == "offline":
        changes |= {"asked_at": row.asked_at, "due_at": now + timedelta(seconds=60)}
    elif row.asked_at is not None and now - row.asked_at < URGENT_FOR:
        changes |= {"asked_at": row.asked_at, "due_at": min(now + AGAIN, changes["due_at"])}
    if row.asked_at != job.asked_at and told.state != "not_supported":
        changes |= {"asked_at": row.asked_at, "due_at": now}
    _change(connection, job.station_id, **changes)


def _ready(now: datetime) -> Any:
    settled = or_(LocalList.asked_at.is_not(None), Station.connected_at <= now - SETTLE)
    here = and_(Station.connection_id.is_not(None), Station.registered == RegistrationStatus.ACCEPTED.value)
    return and_(_due(now), here, settled, Station.admission == Admission.KNOWN.value)


def _away(now: datetime) -> Any:
    return and_(_due(now), Station.connection_id.is_(None), LocalList.state != "offline")


def _due(now: datetime) -> Any:
    free = or_(LocalList.busy_until.is_(None), LocalList.busy_until < now)
    return and_(LocalList.due_at <= now, free, LocalList.state != "not_supported")


def _settings(connection: Connection, station_ids: Sequence[str]) -> dict[str, dict[str, str]]:
    row = ActualSetting
    query = select(row.station_id, row.key, row.value).where(row.station_id.in_(station_ids), row.key.in_(SETTINGS))
    found: dict[str, dict[str, str]] = {}
    for station_id, key, value in connection.execute(query):
        if value is not None:
            found.setdefault(station_id, {})[key] = value
    return found


def _zones(connection: Connection, station_ids: Sequence[str]) -> dict[str, str]:
    query = select(Evse.station_id, Location.time_zone).join(Location, Location.id == Evse.location)
    rows = connection.execute(query.where(Evse.station_id.in_(station_ids), Evse.removed.is_(False)))
    return {row.station_id: row.time_zone for row in rows}


def _change(connection: Connection, station_id: str, **changes: Any) -> None:
    connection.execute(update(LocalList).where(LocalList.station_id == station_id).values(**changes))
