"""After its Boot a station is asked for its settings, and told those that we count on and those that somebody wished for."""

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

import msgspec
from sqlalchemy import BindParameter, Connection, Table, bindparam, case, func, select

from csms.bus import Admission
from csms.commands import (
    Answer,
    ChangeConfiguration,
    ConfigurationAnswer,
    ConfigurationSetting,
    GetConfiguration,
    Outcome,
)
from csms.configuration import (
    HEARTBEAT,
    MAX_KEYS,
    PING,
    SAMPLES_WELL_S,
    SAMPLING,
    TRIES_AT_MOST,
    asked_at_once,
    questions,
    told,
    want,
    wishes_of,
)
from csms.models import ActualSetting, DesiredSetting, Station
from csms.setting_values import number_in, same

PING_S = 60  # T7: below every NAT's patience
SAMPLE_S = 60  # C06
READ_EVERY = timedelta(days=1)
AFTER_BOOT = "job:after_boot"


class BootPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to ask a station after its Boot. `first`: its settings were never read before."""

    heartbeat_interval_s: int
    first: bool
    questions: tuple[GetConfiguration, ...]


def boot_plans(connection: Connection, station_ids: Collection[str], now: datetime) -> Mapping[str, BootPlan | None]:
    """Of each station all settings when they were never read, or not for a day; else those that we count on or wish
    something of. None for a station that is not ours to ask."""
    stations = {"stations": sorted(station_ids)}
    read = {row.station_id: row for row in connection.execute(_READ, stations)}
    wished: dict[str, list[Any]] = {}
    for wish in connection.execute(_WISHED_OF, stations):
        wished.setdefault(wish.station_id, []).append(wish)
    plans: dict[str, BootPlan | None] = dict.fromkeys(station_ids)
    for station_id, interval_s in connection.execute(_OURS, stations):
        told_of = read.get(station_id)
        # Read back one by one, some keys are always fresh: it is the stalest that tells when all were read.
        fresh = told_of is not None and told_of.oldest >= now - READ_EVERY
        keys = _counted_on(wished.get(station_id, ())) if fresh else ()
        plans[station_id] = BootPlan(
            heartbeat_interval_s=interval_s,
            first=told_of is None,
            questions=tuple(asked_at_once(station_id, keys, told_of.most if told_of is not None else None)),
        )
    return plans


def named(connection: Connection, station_id: str) -> Sequence[GetConfiguration]:
    """The same by name, for a station that told nothing when asked for all."""
    return questions(connection, station_id, _counted_on(wishes_of(connection, station_id).values()))


def to_change(
    connection: Connection,
    station_id: str,
    plan: BootPlan,
    answers: Iterable[tuple[GetConfiguration, Answer]],
    now: datetime,
    left_alone: Container[str] = (),
) -> Sequence[ChangeConfiguration]:
    """Keep what the station told after its Boot, wish what we count on, and say what must be sent to it: B08, T7, C06 and
    what drifted. A key that it does not have, or does not let us write, is left alone; so is one of `left_alone`, unless
    somebody wished for it."""
    has: dict[str, ConfigurationSetting] = {}
    for asked, answer in answers:
        if isinstance(answer, ConfigurationAnswer) and answer.outcome is Outcome.ACCEPTED:
            told(connection, station_id, answer, now, whole=not asked.keys)
            has |= {setting.key.casefold(): setting for setting in answer.settings}
    wishes, added = wishes_of(connection, station_id), False
    for key, value in _counted_values(plan, has).items():
        setting, wished = has.get(key.casefold()), wishes.get(key.casefold())
        if key in left_alone or setting is None or setting.readonly or (wished is None and same(value, setting.value)):
            continue
        if wished is None or (wished.wished_by == AFTER_BOOT and wished.value != value):
            want(connection, station_id, setting.key, value, AFTER_BOOT, now)
            added = True
    if added:
        wishes = wishes_of(connection, station_id)
    return [
        ChangeConfiguration(station_id=station_id, key=wished.key, value=wished.value)
        for key, wished in sorted(wishes.items())
        if wished.state == "open"
        and wished.tries < TRIES_AT_MOST
        and not (key in has and (has[key].readonly or same(wished.value, has[key].value)))
    ]


def _counted_values(plan: BootPlan, has: Mapping[str, ConfigurationSetting]) -> dict[str, str]:
    values = {HEARTBEAT: str(plan.heartbeat_interval_s), PING: str(PING_S)}
    sampled = has.get(SAMPLING.casefold())
    if plan.first and sampled is not None and number_in(sampled.value) not in SAMPLES_WELL_S:
        values[SAMPLING] = str(SAMPLE_S)
    return values


def _counted_on(wishes: Iterable[Any]) -> tuple[str, ...]:
    alive = [row.key for row in wishes if row.state not in ("unsupported", "refused")]
    return tuple({key.casefold(): key for key in (HEARTBEAT, PING, *sorted(alive))}.values())


_A = cast(Table, ActualSetting.__table__)
_D = cast(Table, DesiredSetting.__table__)
_S = cast(Table, Station.__table__)
_MANY: BindParameter[Any] = bindparam("stations", expanding=True)
_WISHED_OF = select(_D.c.station_id, _D.c.key, _D.c.state).where(_D.c.station_id.in_(_MANY))
_OURS = select(_S.c.station_id, _S.c.heartbeat_interval_s).where(
    _S.c.station_id.in_(_MANY), _S.c.admission == Admission.KNOWN.value
)
_READ = (
    select(
        _A.c.station_id,
        func.min(_A.c.read_at).label("oldest"),
        func.max(case((func.lower(_A.c.key) == MAX_KEYS.lower(), _A.c.value))).label("most"),
    )
    .where(_A.c.station_id.in_(_MANY))
    .group_by(_A.c.station_id)
)
