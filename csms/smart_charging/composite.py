"""What several charging profiles together allow, second by second: the composite schedule, computed as the stations do.

OCPP 1.6 section 3.13 (smart charging): of the profiles of one purpose that say something at a moment the highest stack level
counts; a transaction's own profile stands in for the default; the station's limit caps both. Pure.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from itertools import pairwise

from csms.smart_charging.profile import (
    ChargingProfile,
    ChargingSchedule,
    ProfileKind,
    ProfilePurpose,
    RateUnit,
    Recurrency,
)

TENTH = Decimal("0.1")
PHASES_UNSAID = 3  # the specification's, where a period names none
EVERY = {Recurrency.DAILY: timedelta(days=1), Recurrency.WEEKLY: timedelta(weeks=1)}


@dataclass(frozen=True, kw_only=True)
class Held:
    """A profile and the EVSE it was set for; 0 is the station."""

    evse: int
    profile: ChargingProfile


@dataclass(frozen=True, kw_only=True)
class Supply:
    """What turns amperes into watts at a connector: volts between phase and neutral (or of the DC output), and how many
    phases it has; on DC, 1."""

    voltage_v: int = 230
    phases: int = 3


@dataclass(frozen=True, kw_only=True)
class Running:
    """The transaction at the EVSE: relative schedules count from `started_at`, and only its own TX profile counts."""

    started_at: datetime
    ref: str | None = None


@dataclass(frozen=True)
class Limit:
    """From `start_s` on at most `limit` of the composite's unit; None: no profile limits it."""

    start_s: int
    limit: Decimal | None
    phases: int | None = None


@dataclass(frozen=True, kw_only=True)
class Composite:
    """Covers `duration_s` from `starts_at`; the first limit begins at 0 and neighbours differ."""

    starts_at: datetime
    duration_s: int
    unit: RateUnit
    limits: tuple[Limit, ...]

    def at(self, second: int) -> Limit:
        return max((limit for limit in self.limits if limit.start_s <= second), key=lambda limit: limit.start_s)


def composite(
    held: Sequence[Held],
    *,
    evse: int,
    starts_at: datetime,
    duration_s: int,
    unit: RateUnit,
    supply: Supply = Supply(),
    running: Running | None = None,
) -> Composite:
    """What EVSE `evse` (not 0) may draw. Without a transaction, relative schedules are taken as if one began at
    `starts_at`: that is what a station answers when it is asked in advance."""
    stacks = [_stack(held, evse, purpose, running) for purpose in ProfilePurpose]
    begin = running.started_at if running is not None else starts_at

    def limit_at(moment: datetime) -> Limit:
        station, default, own = (_leading(stack, moment, begin) for stack in stacks)
        return _lowest([station, own or default], unit, supply)

    moments = _moments((profile for stack in stacks for profile in stack), starts_at, duration_s, begin)
    return _composed(starts_at, duration_s, unit, ((moment, limit_at(moment)) for moment in moments))


def station_composite(
    held: Sequence[Held],
    evses: Sequence[tuple[int, Supply, Running | None]],
    *,
    starts_at: datetime,
    duration_s: int,
    unit: RateUnit,
) -> Composite:
    """What the whole station may draw (`evse` 0): all of its EVSEs together, and never more than the station's own limit.
    An EVSE without a limit leaves only the station's."""
    of_evses = [
        composite(
            [profile for profile in held if profile.profile.purpose is not ProfilePurpose.STATION_MAX],
            evse=evse,
            starts_at=starts_at,
            duration_s=duration_s,
            unit=unit,
            supply=supply,
            running=running,
        )
        for evse, supply, running in evses
    ]
    whole = composite(
        [profile for profile in held if profile.profile.purpose is ProfilePurpose.STATION_MAX],
        evse=0,
        starts_at=starts_at,
        duration_s=duration_s,
        unit=unit,
        supply=evses[0][1] if evses else Supply(),
    )
    seconds = sorted({limit.start_s for part in (whole, *of_evses) for limit in part.limits})

    def limit_at(second: int) -> Limit:
        parts = [part.at(second).limit for part in of_evses]
        together = (
            [sum((part for part in parts if part is not None), Decimal(0))] if parts and None not in parts else []
        )
        cap = whole.at(second)
        found = [limit for limit in (cap.limit, *together) if limit is not None]
        return Limit(second, min(found, default=None), cap.phases if found and cap.limit == min(found) else None)

    timed = ((starts_at + timedelta(seconds=second), limit_at(second)) for second in seconds)
    return _composed(starts_at, duration_s, unit, timed)


def deviations(ours: Composite, theirs: ChargingSchedule, theirs_start: datetime, supply: Supply) -> list[str]:
    """Where a station's own composite schedule allows more or less than ours, a line for each stretch; empty: they agree.

    Only the time that both cover is compared; a tenth of a unit is rounding.
    """
    begin = max(ours.starts_at, theirs_start)
    end = ours.starts_at + timedelta(seconds=ours.duration_s)
    if theirs.duration_s is not None:
        end = min(end, theirs_start + timedelta(seconds=theirs.duration_s))
    moments = {begin, *(ours.starts_at + timedelta(seconds=limit.start_s) for limit in ours.limits)}
    moments |= {theirs_start + timedelta(seconds=period.start_s) for period in theirs.periods}
    found = []
    for moment in sorted(moment for moment in moments if begin <= moment < end):
        mine = ours.at(int((moment - ours.starts_at).total_seconds())).limit
        said = [p for p in theirs.periods if theirs_start + timedelta(seconds=p.start_s) <= moment]
        told = in_unit(said[-1].limit, theirs.unit, said[-1].phases, ours.unit, supply) if said else None
        if mine is None or (told is not None and abs(mine - told) <= TENTH):
            continue  # a station names its own hardware limit where no profile limits it
        found.append(f"{moment:%Y-%m-%dT%H:%M:%SZ}: {told if told is not None else 'nothing'} for {mine} {ours.unit}")
    return found


# ---- which profile counts -------------------------------------------------------------------------------------------


def _stack(held: Sequence[Held], evse: int, purpose: ProfilePurpose, running: Running | None) -> list[ChargingProfile]:
    """Profiles of a purpose that may count at this EVSE, the first that says something wins: those of the EVSE before those
    of the station, then by stack level."""
    if purpose is ProfilePurpose.TX and running is None:
        return []
    fitting = [
        each
        for each in held
        if each.profile.purpose is purpose
        and each.evse in ((0,) if purpose is ProfilePurpose.STATION_MAX else (0, evse))
        and (purpose is not ProfilePurpose.TX or _is_of(each.profile, running))
    ]
    # An EVSE's own default overrules the station's, which fills what it leaves open.
    return [each.profile for each in sorted(fitting, key=lambda each: (each.evse != evse, -each.profile.stack_level))]


def _is_of(profile: ChargingProfile, running: Running | None) -> bool:
    return running is not None and (profile.transaction_ref is None or profile.transaction_ref == running.ref)


def _leading(
    stack: Sequence[ChargingProfile], moment: datetime, begin: datetime
) -> tuple[RateUnit, Decimal, int | None] | None:
    for profile in stack:
        said = _said(profile, moment, begin)
        if said is not None:
            return said
    return None


def _said(profile: ChargingProfile, moment: datetime, begin: datetime) -> tuple[RateUnit, Decimal, int | None] | None:
    """What a profile allows at `moment`; None when it is not valid then, has not begun or is over."""
    if profile.valid_from is not None and moment < profile.valid_from:
        return None
    if profile.valid_to is not None and moment >= profile.valid_to:
        return None
    start = _occurrence(profile, moment, begin)
    if start is None:
        return None
    second = (moment - start).total_seconds()
    schedule = profile.schedule
    if schedule.duration_s is not None and second >= schedule.duration_s:
        return None
    said = [period for period in schedule.periods if period.start_s <= second]
    return (schedule.unit, said[-1].limit, said[-1].phases) if said else None


def _occurrence(profile: ChargingProfile, moment: datetime, begin: datetime) -> datetime | None:
    """When the schedule that runs at `moment` began; None before its first beginning."""
    start = profile.schedule.starts_at
    if profile.kind is ProfileKind.RELATIVE or start is None:
        return begin if begin <= moment else None
    if start > moment:
        return None
    if profile.kind is ProfileKind.RECURRING:
        every = EVERY[profile.recurrency or Recurrency.DAILY]
        return start + every * ((moment - start) // every)
    return start


# ---- when something changes -----------------------------------------------------------------------------------------


def _moments(
    profiles: Iterable[ChargingProfile], starts_at: datetime, duration_s: int, begin: datetime
) -> Sequence[datetime]:
    end = starts_at + timedelta(seconds=duration_s)
    found = {starts_at}
    for profile in profiles:
        found |= {moment for moment in (profile.valid_from, profile.valid_to) if moment is not None}
        for start in _beginnings(profile, starts_at, end, begin):
            found.add(start)
            found |= {start + timedelta(seconds=period.start_s) for period in profile.schedule.periods}
            if profile.schedule.duration_s is not None:
                found.add(start + timedelta(seconds=profile.schedule.duration_s))
    return sorted(moment for moment in found if starts_at <= moment < end)


def _beginnings(profile: ChargingProfile, starts_at: datetime, end: datetime, begin: datetime) -> Iterator[datetime]:
    first = _occurrence(profile, starts_at, begin)
    if first is None:
        first = begin if profile.schedule.starts_at is None else profile.schedule.starts_at
    yield first
    if profile.kind is ProfileKind.RECURRING and profile.schedule.starts_at is not None:
        every = EVERY[profile.recurrency or Recurrency.DAILY]
        while first < end:
            first += every
            yield first


def _composed(
    starts_at: datetime, duration_s: int, unit: RateUnit, timed: Iterable[tuple[datetime, Limit]]
) -> Composite:
    placed: dict[int, Limit] = {}
    for moment, limit in timed:
        second = int((moment - starts_at).total_seconds())
        placed[second] = Limit(second, limit.limit, limit.phases)
    limits = list(placed.values())
    changes = [
        after for before, after in pairwise(limits) if (before.limit, before.phases) != (after.limit, after.phases)
    ]
    return Composite(starts_at=starts_at, duration_s=duration_s, unit=unit, limits=(*limits[:1], *changes))


# ---- units ----------------------------------------------------------------------------------------------------------


def _lowest(said: Sequence[tuple[RateUnit, Decimal, int | None] | None], unit: RateUnit, supply: Supply) -> Limit:
    found = [(in_unit(limit, own, phases, unit, supply), phases) for own, limit, phases in (one for one in said if one)]
    if not found:
        return Limit(0, None)
    limit, phases = min(found, key=lambda one: one[0])
    return Limit(0, limit, phases)


def in_unit(limit: Decimal, own: RateUnit, phases: int | None, unit: RateUnit, supply: Supply) -> Decimal:
    """Rounded down to a tenth: a limit is never exceeded by arithmetic."""
    if own is unit:
        return limit
    watts = Decimal(supply.voltage_v * min(phases or PHASES_UNSAID, supply.phases))
    exact = limit * watts if unit is RateUnit.WATT else limit / watts
    return exact.quantize(TENTH, rounding=ROUND_DOWN)
