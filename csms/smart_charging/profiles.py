"""Which charging profiles each station holds: what is set, replaced and cleared, as its answers say."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select, update

from csms.commands import (
    Answer,
    ClearChargingProfile,
    GetCompositeSchedule,
    Outcome,
    ScheduleAnswer,
    SetChargingProfile,
)
from csms.journal import Fact, FactType
from csms.lifecycle import State
from csms.models import ActualSetting, Connector, Evse, InstalledProfile, RemoteRequest, Station, Transaction
from csms.requests import enqueue
from csms.setting_values import number_in
from csms.smart_charging.composite import Composite, Held, Running, Supply, composite, deviations, station_composite
from csms.smart_charging.profile import ChargingProfile, ProfileKind, ProfilePurpose, RateUnit, Recurrency

HIGHEST_LEVEL = "ChargeProfileMaxStackLevel"
MOST_PERIODS = "ChargingScheduleMaxPeriods"
MOST_PROFILES = "MaxChargingProfilesInstalled"
UNITS = "ChargingScheduleAllowedChargingRateUnit"
UNIT_WORD = {RateUnit.AMPERE: "current", RateUnit.WATT: "power"}  # of the setting's list
DIRECT = "DC"
HOLDS = "installed"
LONGEST_S = 7 * 86400


class ProfileRefused(Exception):
    """The profile cannot be what was meant, or the station has told that it would not take it; the text says why."""


# ---- verbs ----------------------------------------------------------------------------------------------------------


def install(
    connection: Connection,
    *,
    station_id: str,
    evse: int,
    profile: ChargingProfile,
    requested_by: str,
    now: datetime,
    timeout_s: float = 30.0,
) -> int:
    """Ask the station to take `profile`; returns the number by which it will know it, whatever `profile_id` says. A TX
    profile is for the transaction that runs at `evse`. Raises ProfileRefused."""
    _station(connection, station_id)
    transaction = _running(connection, station_id, evse) if profile.purpose is ProfilePurpose.TX else None
    _check(profile, evse, settings_of(connection, station_id), has_transaction=transaction is not None)
    row = InstalledProfile.__table__
    told = msgspec.structs.replace(profile, transaction_ref=_ref(transaction) if transaction is not None else None)
    number: int = connection.execute(
        insert(InstalledProfile)
        .values(
            station_id=station_id,
            evse=evse,
            purpose=profile.purpose.value,
            stack_level=profile.stack_level,
            profile=msgspec.to_builtins(told),
            transaction_id=transaction.id if transaction is not None else None,
            state="requested",
            requested_by=requested_by,
            created_at=now,
        )
        .returning(row.c.number)
    ).scalar_one()
    told = msgspec.structs.replace(told, profile_id=number)
    command = SetChargingProfile(station_id=station_id, evse=evse, profile=told)
    request_id = enqueue(connection, command, requested_by=requested_by, now=now, timeout_s=timeout_s)
    stored = {"profile": msgspec.to_builtins(told), "remote_request_id": request_id}
    connection.execute(update(InstalledProfile).where(InstalledProfile.number == number).values(**stored))
    return number


def clear(
    connection: Connection,
    *,
    station_id: str,
    number: int | None = None,
    evse: int | None = None,
    purpose: ProfilePurpose | None = None,
    stack_level: int | None = None,
    requested_by: str,
    now: datetime,
    timeout_s: float = 30.0,
) -> str:
    """Ask the station to drop every profile that fits all criteria; without one, all. Returns the request's id."""
    _station(connection, station_id)
    command = ClearChargingProfile(
        station_id=station_id, profile_id=number, evse=evse, purpose=purpose, stack_level=stack_level
    )
    return enqueue(connection, command, requested_by=requested_by, now=now, timeout_s=timeout_s)


def ask_schedule(
    connection: Connection,
    *,
    station_id: str,
    evse: int,
    duration_s: int,
    unit: RateUnit | None,
    requested_by: str,
    now: datetime,
    timeout_s: float = 30.0,
) -> str:
    """Ask the station what it makes of its profiles. Returns the request's id; `compared` reads its answer."""
    _station(connection, station_id)
    if not 0 < duration_s <= LONGEST_S:
        raise ProfileRefused(f"a schedule covers 1 to {LONGEST_S} seconds")
    command = GetCompositeSchedule(station_id=station_id, evse=evse, duration_s=duration_s, unit=unit)
    return enqueue(connection, command, requested_by=requested_by, now=now, timeout_s=timeout_s)


# ---- what a station holds -------------------------------------------------------------------------------------------


def held(connection: Connection, station_id: str) -> list[Held]:
    """Profiles that the station said it took and that nothing has ended since."""
    row = InstalledProfile
    query = select(row.evse, row.profile).where(row.station_id == station_id, row.state == HOLDS).order_by(row.number)
    return [
        Held(evse=evse, profile=msgspec.convert(profile, ChargingProfile))
        for evse, profile in connection.execute(query)
    ]


def expected(
    connection: Connection, *, station_id: str, evse: int, starts_at: datetime, duration_s: int, unit: RateUnit
) -> Composite:
    """Our own composite schedule of an EVSE, or of the station where `evse` is 0 (G07)."""
    _station(connection, station_id)
    profiles = held(connection, station_id)
    if evse != 0:
        return composite(
            profiles,
            evse=evse,
            starts_at=starts_at,
            duration_s=duration_s,
            unit=unit,
            supply=supply_of(connection, station_id, evse),
            running=_as_running(_running(connection, station_id, evse)),
        )
    numbers = connection.execute(
        select(Evse.evse).where(Evse.station_id == station_id, Evse.removed.is_(False)).order_by(Evse.evse)
    ).scalars()
    evses = [
        (number, supply_of(connection, station_id, number), _as_running(_running(connection, station_id, number)))
        for number in numbers
    ]
    return station_composite(profiles, evses, starts_at=starts_at, duration_s=duration_s, unit=unit)


def compared(connection: Connection, request_id: str) -> list[str]:
    """Where the station's answer to `ask_schedule` differs from ours; empty when they agree, or it told no schedule."""
    row = RemoteRequest.__table__
    request = connection.execute(
        select(row).where(row.c.id == request_id, row.c.kind == "get_composite_schedule")
    ).one()
    answer = msgspec.convert(request.answer, ScheduleAnswer) if request.answer else None
    if answer is None or answer.schedule is None:
        return []
    told = (answer.starts_at, answer.schedule.starts_at)
    near = (at for at in told if at is not None and abs(at - request.finished_at) < timedelta(days=366))
    starts_at = next(near, request.finished_at)  # no time can be reckoned with the year 9999
    ours = expected(
        connection,
        station_id=request.station_id,
        evse=request.evse,
        starts_at=starts_at,
        duration_s=request.command["duration_s"],
        unit=answer.schedule.unit,
    )
    return deviations(ours, answer.schedule, starts_at, supply_of(connection, request.station_id, request.evse))


def supply_of(connection: Connection, station_id: str, evse: int) -> Supply:
    """Of the strongest connector of the EVSE; of any of the station's where it is 0."""
    of_evse = (Evse.evse == evse,) if evse else ()
    query = (
        select(Connector.max_voltage, Connector.power_type)
        .join(Evse, Evse.id == Connector.evse)
        .where(Evse.station_id == station_id, Connector.removed.is_(False), *of_evse)
        .order_by((Connector.max_voltage * Connector.max_amperage).desc())
        .limit(1)
    )
    found = connection.execute(query).one_or_none()
    if found is None:
        return Supply()
    return Supply(voltage_v=found.max_voltage, phases=PHASES.get(found.power_type, 1))


PHASES = {"AC_3_PHASE": 3, "AC_2_PHASE": 2, "AC_2_PHASE_SPLIT": 2, "AC_1_PHASE": 1, DIRECT: 1}


# ---- what follows from answers --------------------------------------------------------------------------------------


def was_set(
    connection: Connection, request_id: str, command: SetChargingProfile, answer: Answer, now: datetime
) -> Sequence[Fact]:
    """One of the same EVSE, purpose and stack level is replaced by a new one (OCPP 1.6, 3.13.2)."""
    row = InstalledProfile
    if answer.outcome is not Outcome.ACCEPTED:
        state = "refused" if answer.outcome is not Outcome.TIMEOUT else "unknown"
        refused = {"state": state, "detail": answer.detail or answer.outcome.value, "finished_at": now}
        connection.execute(update(row).where(row.remote_request_id == request_id).values(**refused))
        return []
    number = command.profile.profile_id
    older = (
        row.station_id == command.station_id,
        row.evse == command.evse,
        row.purpose == command.profile.purpose.value,
        row.stack_level == command.profile.stack_level,
        row.state == HOLDS,
        row.number != number,
    )
    connection.execute(update(row).where(*older).values(state="replaced", finished_at=now))
    connection.execute(update(row).where(row.number == number).values(state=HOLDS, detail=answer.detail))
    return [_changed(command.station_id)]


def was_cleared(
    connection: Connection, _request_id: str, command: ClearChargingProfile, answer: Answer, now: datetime
) -> Sequence[Fact]:
    """Also NOT_FOUND tells that the station holds none that fits."""
    if answer.outcome not in (Outcome.ACCEPTED, Outcome.NOT_FOUND):
        return []
    row = InstalledProfile
    criteria = {
        row.number: command.profile_id,
        row.evse: command.evse,
        row.purpose: command.purpose.value if command.purpose is not None else None,
        row.stack_level: command.stack_level,
    }
    fits = [column == value for column, value in criteria.items() if value is not None]
    may_be_held = (row.station_id == command.station_id, row.state.in_((HOLDS, "unknown")))
    cleared = connection.execute(update(row).where(*may_be_held, *fits).values(state="cleared", finished_at=now))
    return [_changed(command.station_id)] if cleared.rowcount else []


def end_with_transactions(connection: Connection, now: datetime) -> Sequence[Fact]:
    """A TX profile is over with its transaction: the station drops it by itself (3.13.1)."""
    row = InstalledProfile
    over = select(Transaction.id).where(Transaction.id == row.transaction_id, Transaction.state == State.ENDED.value)
    ending = update(row).where(row.state.in_((HOLDS, "unknown")), row.transaction_id.is_not(None), over.exists())
    connection.execute(ending.values(state="ended", finished_at=now))
    return []


def _changed(station_id: str) -> Fact:
    return Fact(type=FactType.PROFILES_CHANGED, subject=station_id, station_id=station_id)


# ---- whether it can be meant ----------------------------------------------------------------------------------------


def settings_of(connection: Connection, station_id: str) -> dict[str, str]:
    """What the station has told of its limits, by key."""
    keys = (HIGHEST_LEVEL, MOST_PERIODS, MOST_PROFILES, UNITS)
    query = select(ActualSetting.key, ActualSetting.value).where(
        ActualSetting.station_id == station_id, ActualSetting.key.in_(keys)
    )
    return {key: value for key, value in connection.execute(query) if value}


def _check(profile: ChargingProfile, evse: int, settings: dict[str, str], *, has_transaction: bool) -> None:
    for wrong, why in _objections(profile, evse, settings, has_transaction):
        if wrong:
            raise ProfileRefused(why)


def _objections(
    profile: ChargingProfile, evse: int, settings: dict[str, str], has_transaction: bool
) -> Sequence[tuple[bool, str]]:
    schedule, purpose, kind = profile.schedule, profile.purpose, profile.kind
    starts = [period.start_s for period in schedule.periods]
    level, most = number_in(settings.get(HIGHEST_LEVEL)), number_in(settings.get(MOST_PERIODS))
    units = settings.get(UNITS, "").casefold()
    station, own, recurring = ProfilePurpose.STATION_MAX, ProfilePurpose.TX, kind is ProfileKind.RECURRING
    return (
        (evse < 0, "an EVSE's number is 0 or more"),
        (not starts or starts[0] != 0, "the first period begins at 0"),
        (sorted(set(starts)) != starts, "periods begin one after the other"),
        (any(period.limit < 0 for period in schedule.periods), "a limit is 0 or more"),
        (any(p.phases is not None and not 1 <= p.phases <= 3 for p in schedule.periods), "phases are 1, 2 or 3"),
        (profile.stack_level < 0, "a stack level is 0 or more"),
        (level is not None and profile.stack_level > level, f"the station's highest stack level is {level}"),
        (most is not None and len(starts) > most, f"the station takes {most} periods at most"),
        (bool(units) and UNIT_WORD[schedule.unit] not in units, f"the station takes limits in {units}"),
        (purpose is station and evse != 0, "the station's limit is set for EVSE 0"),
        (purpose is station and kind is ProfileKind.RELATIVE, "the station's limit cannot be relative"),
        (purpose is own and evse == 0, "a transaction's profile names its EVSE"),
        (purpose is own and not has_transaction, "no transaction runs at this EVSE"),
        (recurring != (profile.recurrency is not None), "a recurrency belongs to a recurring profile"),
        (recurring and schedule.starts_at is None, "a recurring profile says when it begins"),
        (
            kind is ProfileKind.RELATIVE and schedule.starts_at is not None,
            "a relative profile has no beginning of its own",
        ),
        (schedule.duration_s is not None and schedule.duration_s <= 0, "a duration is more than 0 seconds"),
        (_beyond(profile), "what is valid ends after it begins"),
        (_overlaps(profile), "a recurring schedule is no longer than its day or week"),
    )


def _beyond(profile: ChargingProfile) -> bool:
    begin, end = profile.valid_from, profile.valid_to
    return begin is not None and end is not None and end <= begin


def _overlaps(profile: ChargingProfile) -> bool:
    if profile.recurrency is None or profile.schedule.duration_s is None:
        return False
    return profile.schedule.duration_s > (86400 if profile.recurrency is Recurrency.DAILY else 7 * 86400)


def _station(connection: Connection, station_id: str) -> None:
    if connection.execute(select(Station.station_id).where(Station.station_id == station_id)).scalar() is None:
        raise ProfileRefused(f"there is no station {station_id}")


def _running(connection: Connection, station_id: str, evse: int) -> Any:
    row = Transaction
    query = (
        select(row.id, row.number, row.transaction_ref, row.started_at)
        .where(row.station_id == station_id, row.evse == evse, row.state == State.ACTIVE.value)
        .order_by(row.started_at.desc())
        .limit(1)
    )
    return connection.execute(query).one_or_none()


def _ref(transaction: Any) -> str:
    return str(transaction.transaction_ref or transaction.number)


def _as_running(transaction: Any) -> Running | None:
    return None if transaction is None else Running(started_at=transaction.started_at, ref=_ref(transaction))
