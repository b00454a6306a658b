"""A station's settings: what they are by its own word, what they should be, and how far the two are apart."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any, Final, TypeAlias, cast

from sqlalchemy import Connection, Row, Table, bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import Insert

from csms import features
from csms.alerts import Alarm, raise_alarms
from csms.commands import (
    Answer,
    ChangeConfiguration,
    ConfigurationAnswer,
    ConfigurationSetting,
    GetConfiguration,
    Outcome,
)
from csms.database import insert_for, insert_into
from csms.journal import Fact
from csms.models import ActualSetting, DesiredSetting, Station
from csms.requests import enqueue, is_secret
from csms.setting_values import number_in, same
from csms.stations import UnknownStation
from csms.tokens import masked

HEARTBEAT = "HeartbeatInterval"
PING = "WebSocketPingInterval"
SAMPLING = "MeterValueSampleInterval"
MAX_KEYS = "GetConfigurationMaxKeys"
MAX_CURRENT = "MaxCurrent"

SAMPLES_WELL_S = range(30, 61)
TRIES_AT_MOST = 2  # Q03: so often may a station say yes and do no
KEY_LENGTH, VALUE_LENGTH = 50, 500
READBACK = "job:readback"

SAMPLED_BY = frozenset({SAMPLING.casefold(), "clockaligneddatainterval"})
HAVE_THEIR_OWN_WAY = {  # writing these in passing would lock the station out
    "authorizationkey": "a password is changed by `station password --rotate`",
    "securityprofile": "a security profile is raised by `station security`",
}


KeyOf: TypeAlias = Callable[[str, str, str | None], str | None]


class Unwise(Exception):
    """The value would harm; says why. `sure` overrules it."""


class NotWritable(Exception):
    """The key cannot be set so; says why."""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """A setting that is not as it should be. `actual` None: never read, or the station has no such key. `state` as in
    DesiredSetting; `since` is when the value was wished for."""

    station_id: str
    key: str
    desired: str
    actual: str | None
    state: str
    since: datetime
    detail: str | None = None


# ---- what people and programs ask for -------------------------------------------------------------------------------


def read(
    connection: Connection,
    station_id: str,
    *,
    requested_by: str,
    now: datetime,
    keys: Sequence[str] = (),
    timeout_s: float = 30.0,
) -> tuple[str, ...]:
    """Ask for all settings, or for `keys`; returns the ids of the requests. There are several when the station takes fewer
    keys at once than are named. What it answers becomes its ActualSettings. Raises UnknownStation."""
    _known(connection, station_id)
    return tuple(
        enqueue(connection, command, requested_by=requested_by, now=now, timeout_s=timeout_s)
        for command in questions(connection, station_id, keys)
    )


def wish(
    connection: Connection,
    station_id: str,
    key: str,
    value: str,
    *,
    wished_by: str,
    now: datetime,
    sure: bool = False,
    timeout_s: float = 30.0,
) -> str:
    """The setting should be `value` from now on; returns the id of the request that sets it. It is read back, and set again
    after a Boot that lost it. Raises UnknownStation, NotWritable (read only, too long, or a key with a way of its own) and
    Unwise (samples finer than 30 s, C06), which `sure` overrules."""
    _known(connection, station_id)
    if why := own_way(key):
        raise NotWritable(why)
    if is_secret(key):
        raise NotWritable(f"{key} is a secret, and what should be is kept readable")
    if not 0 < len(key) <= KEY_LENGTH or len(value) > VALUE_LENGTH:
        raise NotWritable(f"a key has 1 to {KEY_LENGTH} characters, a value at most {VALUE_LENGTH}")
    known = _actual(connection, station_id).get(key.casefold())
    if known is not None and known.readonly:
        raise NotWritable(f"{known.key} is read only at {station_id}")
    if not sure and _too_fine(key, value):
        raise Unwise(f"{key} of {value} s: samples finer than {SAMPLES_WELL_S.start} s cost more than they tell")
    key = key if known is None else known.key  # as the station spells it
    want(connection, station_id, key, value, wished_by, now)
    command = ChangeConfiguration(station_id=station_id, key=key, value=value)
    return enqueue(connection, command, requested_by=wished_by, now=now, timeout_s=timeout_s)


def throttle(
    connection: Connection,
    station_id: str,
    amperes: int | Decimal,
    *,
    requested_by: str,
    now: datetime,
    key_of: KeyOf,
    timeout_s: float = 30.0,
) -> str:
    """G10: limit a station that knows no charging profiles; returns the id of the request. `key_of` says what its vendor
    calls the limit, of the vendor, model and firmware that its Boot told. What it took is read back. Raises as `wish`, and
    NotWritable for what is no current."""
    if not Decimal(amperes).is_finite() or amperes < 0:
        raise NotWritable(f"{amperes} A is no current")
    value = format(Decimal(amperes).normalize(), "f")
    query = select(Station.vendor, Station.model, Station.firmware_version).where(Station.station_id == station_id)
    said = connection.execute(query).one_or_none()
    key = (key_of(*said) if said is not None else None) or MAX_CURRENT
    return wish(connection, station_id, key, value, wished_by=requested_by, now=now, timeout_s=timeout_s)


def own_way(key: str) -> str | None:
    """How this setting is changed, where it is not by writing it."""
    return HAVE_THEIR_OWN_WAY.get(key.strip().casefold())


def forget(connection: Connection, station_id: str, key: str) -> bool:
    """Nobody wishes anything of this setting any more; the station keeps what it has. False when nobody did."""
    gone = delete(DesiredSetting).where(
        DesiredSetting.station_id == station_id, func.lower(DesiredSetting.key) == key.lower()
    )
    return bool(connection.execute(gone).rowcount)


def settings(connection: Connection, station_id: str) -> Sequence[Row[Any]]:
    """ActualSettings as last told, by key. Raises UnknownStation."""
    _known(connection, station_id)
    return sorted(_actual(connection, station_id).values(), key=lambda row: str(row.key).casefold())


def drift(connection: Connection, station_id: str | None = None) -> Sequence[Drift]:
    """What is not as it should be, of one station or of all, by station and key."""
    wanted, told = select(DesiredSetting.__table__), select(ActualSetting.__table__)
    if station_id is not None:
        wanted = wanted.where(DesiredSetting.station_id == station_id)
        told = told.where(ActualSetting.station_id == station_id)
    else:
        told = told.where(ActualSetting.station_id.in_(select(DesiredSetting.station_id)))
    actual = {(row.station_id, row.key.casefold()): row.value for row in connection.execute(told)}
    rows = connection.execute(wanted.order_by(DesiredSetting.station_id, DesiredSetting.key)).all()
    return [
        Drift(
            station_id=row.station_id,
            key=row.key,
            desired=row.value,
            actual=has,
            state=row.state,
            since=row.wished_at,
            detail=row.detail,
        )
        for row in rows
        if not same(row.value, has := actual.get((row.station_id, row.key.casefold()))) or row.state != "set"
    ]


# ---- what a station answered (outcomes.FOLLOWS) ---------------------------------------------------------------------


def was_read(
    connection: Connection, _: str, command: GetConfiguration, answer: Answer, now: datetime
) -> Sequence[Fact]:
    if answer.outcome is Outcome.ACCEPTED and isinstance(answer, ConfigurationAnswer):
        told(connection, command.station_id, answer, now, whole=not command.keys)
        if not command.keys and not answer.settings:  # some tell nothing but what they are asked for by name
            read(
                connection,
                command.station_id,
                requested_by=READBACK,
                now=now,
                keys=(HEARTBEAT, PING, SAMPLING, MAX_KEYS),
            )
    return []


def was_changed(
    connection: Connection, _: str, command: ChangeConfiguration, answer: Answer, now: datetime
) -> Sequence[Fact]:
    """What was wished for is read back when the station says that it took it."""
    if landed(connection, command, answer, now):
        read(connection, command.station_id, requested_by=READBACK, now=now, keys=(command.key,))
    return []


def told(
    connection: Connection, station_id: str, answer: ConfigurationAnswer, now: datetime, *, whole: bool = False
) -> None:
    """Keep what the station says of its settings, and judge what was wished for by it. Never the value of a secret. `whole`:
    it was asked for all, and has no others unless it stopped at the most that it tells at once."""
    known = _actual(connection, station_id)
    rows: dict[str, dict[str, Any]] = {}
    for setting in answer.settings:
        key = setting.key.casefold()
        rows[key] = {
            "station_id": station_id,
            "key": known[key].key if key in known else setting.key,
            "value": None if is_secret(setting.key) else setting.value,
            "readonly": setting.readonly,
            "read_at": now,
        }
    most = number_in(known[MAX_KEYS.casefold()].value) if MAX_KEYS.casefold() in known else None
    if whole and rows and len(rows) != most:
        others = (ActualSetting.station_id == station_id, ActualSetting.key.not_in([r["key"] for r in rows.values()]))
        connection.execute(delete(ActualSetting).where(*others))
    gone = [known[key].key for name in answer.unknown if (key := name.casefold()) in known and key not in rows]
    if gone:
        no_more = (ActualSetting.station_id == station_id, ActualSetting.key.in_(gone))
        connection.execute(delete(ActualSetting).where(*no_more))
    if rows:
        connection.execute(_keep(connection.dialect.name), [rows[key] for key in sorted(rows)])
    feature = features.SETTING.casefold()
    before = known[feature].value if feature in known else None
    features.changed(connection, station_id, before, rows[feature]["value"] if feature in rows else None, now)
    has = {
        key: ConfigurationSetting(key=key, value=row["value"], readonly=row["readonly"]) for key, row in rows.items()
    }
    _judge(connection, station_id, has, {name.casefold() for name in answer.unknown}, now)


@cache
def _keep(dialect: str) -> Insert:
    statement = insert_for(dialect, ActualSetting)
    said = {name: statement.excluded[name] for name in ("value", "readonly", "read_at")}
    return statement.on_conflict_do_update(index_elements=["station_id", "key"], set_=said)


def landed(connection: Connection, command: ChangeConfiguration, answer: Answer, now: datetime) -> bool:
    """What a station made of a value that was wished for; True when it said that the setting is changed now. False for
    anything else, also for what nobody wished for."""
    wished = wishes_of(connection, command.station_id).get(command.key.casefold())
    if wished is None or wished.value != command.value:
        return False
    state, counts = LANDED[answer.outcome]
    _set(
        connection,
        wished,
        state=state,
        tries=wished.tries + counts,
        tried_at=now,
        detail=None if state == "set" else answer.detail or answer.outcome.value,
    )
    return state == "set"


LANDED: Final[Mapping[Outcome, tuple[str, int]]] = {  # the state it leads to; does it count as a yes that must hold?
    Outcome.ACCEPTED: ("set", 1),
    Outcome.SCHEDULED: ("set", 1),
    Outcome.REBOOT_REQUIRED: ("reboot_required", 1),
    Outcome.REJECTED: ("refused", 0),
    Outcome.OCCUPIED: ("refused", 0),
    Outcome.INOPERATIVE: ("refused", 0),
    Outcome.VERSION_MISMATCH: ("refused", 0),
    Outcome.NOT_SUPPORTED: ("unsupported", 0),
    Outcome.NOT_FOUND: ("unsupported", 0),
    Outcome.OFFLINE: ("open", 0),  # nothing was decided: the next Boot tries again
    Outcome.TIMEOUT: ("open", 0),
    Outcome.FAILED: ("open", 0),
}


def _judge(
    connection: Connection, station_id: str, has: Mapping[str, ConfigurationSetting], unknown: set[str], now: datetime
) -> None:
    """Each wish by what the station just told. A yes that did not hold is asked for once more, and then no more (Q03)."""
    wishes = wishes_of(connection, station_id)
    if not wishes:
        return
    booted_at = connection.execute(select(Station.booted_at).where(Station.station_id == station_id)).scalar()
    for key, wished in wishes.items():
        if key in unknown:
            _set(connection, wished, state="unsupported", detail="the station has no such key")
        if key not in has:
            continue
        if same(wished.value, has[key].value):
            _set(connection, wished, state="set", tries=0, detail=None)
        elif has[key].readonly:
            _set(connection, wished, state="refused", detail="read only")
        elif wished.state == "set" or (wished.state == "reboot_required" and _since(booted_at, wished.tried_at)):
            if wished.tries < TRIES_AT_MOST:
                _set(connection, wished, state="open", detail="not kept")
                continue
            _set(connection, wished, state="ignored", detail=f"accepted {wished.tries} times and not kept")
            told_of = {"desired": wished.value, "actual": has[key].value or ""}
            if "idtag" in key or "idtoken" in key:  # an alert is logged, and a card's number is not
                told_of = {name: masked(value) for name, value in told_of.items()}
            detail = {"key": wished.key, **told_of}
            subject = f"{station_id} {wished.key}"
            raise_alarms(
                connection,
                [Alarm(kind="setting_ignored", subject=subject, station_id=station_id, detail=detail)],
                now,
            )


# ---- what is asked ---------------------------------------------------------------------------------------------------


def questions(connection: Connection, station_id: str, keys: Sequence[str]) -> Sequence[GetConfiguration]:
    """For `keys`, as many at once as the station says that it takes; without any, for all."""
    if not keys:
        return [GetConfiguration(station_id=station_id)]
    row = _actual(connection, station_id).get(MAX_KEYS.casefold())
    return asked_at_once(station_id, keys, row.value if row is not None else None)


def asked_at_once(station_id: str, keys: Sequence[str], most: str | None) -> Sequence[GetConfiguration]:
    if not keys:
        return [GetConfiguration(station_id=station_id)]
    at_once = number_in(most) or len(keys)
    return [
        GetConfiguration(station_id=station_id, keys=tuple(keys[start : start + at_once]))
        for start in range(0, len(keys), at_once)
    ]


# ---- what it leans on -----------------------------------------------------------------------------------------------


def _too_fine(key: str, value: str) -> bool:
    seconds = number_in(value)
    # 0 is no clock-aligned data; and no samples, no bill.
    never = seconds == 0 and key.casefold() != SAMPLING.casefold()
    return key.casefold() in SAMPLED_BY and seconds is not None and seconds < SAMPLES_WELL_S.start and not never


def _since(booted_at: datetime | None, tried_at: datetime | None) -> bool:
    return booted_at is not None and (tried_at is None or booted_at > tried_at)


def _known(connection: Connection, station_id: str) -> None:
    query = select(Station.station_id).where(Station.station_id == station_id)
    if connection.execute(query).scalar() is None:
        raise UnknownStation(station_id)


_A = cast(Table, ActualSetting.__table__)
_D = cast(Table, DesiredSetting.__table__)
_ACTUAL = select(_A).where(_A.c.station_id == bindparam("station"))
_WISHED = select(_D).where(_D.c.station_id == bindparam("station"))


def _actual(connection: Connection, station_id: str) -> dict[str, Row[Any]]:
    return {row.key.casefold(): row for row in connection.execute(_ACTUAL, {"station": station_id})}


def wishes_of(connection: Connection, station_id: str) -> dict[str, Row[Any]]:
    return {row.key.casefold(): row for row in connection.execute(_WISHED, {"station": station_id})}


def want(connection: Connection, station_id: str, key: str, value: str, wished_by: str, now: datetime) -> None:
    wished = wishes_of(connection, station_id).get(key.casefold())
    fresh = {"value": value, "wished_by": wished_by, "wished_at": now, "state": "open", "tries": 0, "detail": None}
    statement = insert_into(connection, DesiredSetting).values(
        station_id=station_id, key=key if wished is None else wished.key, **fresh
    )
    connection.execute(statement.on_conflict_do_update(index_elements=["station_id", "key"], set_=fresh))


def _set(connection: Connection, wished: Row[Any], **values: Any) -> None:
    if any(getattr(wished, name) != value for name, value in values.items()):
        this = (DesiredSetting.station_id == wished.station_id, DesiredSetting.key == wished.key)
        connection.execute(update(DesiredSetting).where(*this).values(**values))
