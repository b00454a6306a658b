"""What a driver's wish makes of the power of a session, or why it cannot be met. Pure.

REGULAR and FAST: as fast as the EVSE can. CHEAP: at full power in the quarters of an hour before departure in which energy
costs least, the earlier of equals, and not at all in the others. GREEN: evenly until departure, no faster than the need asks
for, since what the grid is made of is not known here. After the departure nothing is held back any more: it was a guess.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_UP, Decimal
from enum import StrEnum
from itertools import pairwise

from csms.smart_charging.profile import ChargingSchedule, RateUnit, SchedulePeriod

QUARTER = timedelta(minutes=15)
MWH_PER_WH = 1000
LONGEST = timedelta(days=2)  # nobody says sooner when he leaves, and no charger keeps more


class ProfileType(StrEnum):
    CHEAP = "CHEAP"
    FAST = "FAST"
    GREEN = "GREEN"
    REGULAR = "REGULAR"


AT_ONCE = (ProfileType.FAST, ProfileType.REGULAR)


class Answer(StrEnum):
    ACCEPTED = "ACCEPTED"
    DEPARTURE_REQUIRED = "DEPARTURE_REQUIRED"
    ENERGY_NEED_REQUIRED = "ENERGY_NEED_REQUIRED"
    NOT_POSSIBLE = "NOT_POSSIBLE"
    PROFILE_TYPE_NOT_SUPPORTED = "PROFILE_TYPE_NOT_SUPPORTED"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """`energy_mwh`: of the whole session. Whether the car may be discharged is not asked: no charger of ours does."""

    kind: ProfileType
    departs_at: datetime | None = None
    energy_mwh: int | None = None


@dataclass(frozen=True, kw_only=True)
class Situation:
    """`least_w`: with less no car charges. `price_at`: of a kWh at a moment."""

    now: datetime
    delivered_mwh: int
    maximum_w: int
    least_w: int
    price_at: Callable[[datetime], Decimal]


@dataclass(frozen=True)
class Plan:
    """`schedule` None: nothing is held back."""

    answer: Answer
    schedule: ChargingSchedule | None = None


def plan(wish: Wish, it: Situation) -> Plan:
    """Only an ACCEPTED one changes anything."""
    departs_at = wish.departs_at
    if departs_at is not None and not it.now < departs_at <= it.now + LONGEST:
        return Plan(Answer.NOT_POSSIBLE)
    need_wh = None
    if wish.energy_mwh is not None:
        need_wh = Decimal(max(0, wish.energy_mwh - it.delivered_mwh)) / MWH_PER_WH
    if departs_at is not None and need_wh is not None and need_wh > it.maximum_w * _hours(it.now, departs_at):
        return Plan(Answer.NOT_POSSIBLE)
    if wish.kind in AT_ONCE:
        return Plan(Answer.ACCEPTED)
    if departs_at is None:
        return Plan(Answer.DEPARTURE_REQUIRED)
    if need_wh is None:
        return Plan(Answer.ENERGY_NEED_REQUIRED)
    if need_wh == 0:
        return Plan(Answer.ACCEPTED)
    limits = (_cheapest if wish.kind is ProfileType.CHEAP else _evenly)(need_wh, departs_at, it)
    return Plan(Answer.ACCEPTED, _schedule(limits, departs_at, it.now))


Limits = Sequence[tuple[datetime, Decimal]]


def _cheapest(need_wh: Decimal, departs_at: datetime, it: Situation) -> Limits:
    starts = [it.now]
    while starts[-1] + QUARTER < departs_at:
        starts.append(starts[-1] + QUARTER)
    quarters = list(pairwise([*starts, departs_at]))
    chosen = set()
    for start, end in sorted(quarters, key=lambda quarter: (it.price_at(quarter[0]), quarter[0])):
        if need_wh <= 0:
            break
        chosen.add(start)
        need_wh -= it.maximum_w * _hours(start, end)
    return [(start, Decimal(it.maximum_w if start in chosen else 0)) for start in starts]


def _evenly(need_wh: Decimal, departs_at: datetime, it: Situation) -> Limits:
    """Rounded up: what is needed is reached."""
    even = (need_wh / _hours(it.now, departs_at)).quantize(Decimal(1), ROUND_UP)
    return [(it.now, min(max(even, Decimal(it.least_w)), Decimal(it.maximum_w)))]


def _schedule(limits: Limits, departs_at: datetime, now: datetime) -> ChargingSchedule:
    changes = [limits[0], *(after for before, after in pairwise(limits) if before[1] != after[1])]
    return ChargingSchedule(
        unit=RateUnit.WATT,
        starts_at=now,
        duration_s=max(1, int((departs_at - now).total_seconds())),
        periods=tuple(
            SchedulePeriod(start_s=int((start - now).total_seconds()), limit=limit) for start, limit in changes
        ),
    )


def _hours(start: datetime, end: datetime) -> Decimal:
    return Decimal((end - start) // timedelta(seconds=1)) / 3600
