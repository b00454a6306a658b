"""A schedule that somebody else wishes for allows no more than what is set already, and speaks the station's unit: pure."""

from itertools import pairwise

import msgspec

from csms.smart_charging.composite import Composite, Supply, in_unit
from csms.smart_charging.profile import ChargingSchedule, RateUnit, SchedulePeriod


def capped(schedule: ChargingSchedule, others: Composite) -> ChargingSchedule:
    """The lower of the two at each moment. `others` begins when the schedule does and is in its unit; where it ends, or has
    no limit, the schedule's own holds."""
    if all(limit.limit is None for limit in others.limits):
        return schedule
    end = schedule.duration_s
    seconds = {period.start_s for period in schedule.periods} | {limit.start_s for limit in others.limits}
    seconds |= {others.duration_s}
    lowest = [_lowest(schedule, others, second) for second in sorted(seconds) if end is None or second < end]
    changes = [
        after for before, after in pairwise(lowest) if (before.limit, before.phases) != (after.limit, after.phases)
    ]
    return msgspec.structs.replace(schedule, periods=(lowest[0], *changes))


def in_station_unit(schedule: ChargingSchedule, unit: RateUnit, supply: Supply) -> ChargingSchedule:
    periods = tuple(
        msgspec.structs.replace(period, limit=in_unit(period.limit, schedule.unit, period.phases, unit, supply))
        for period in schedule.periods
    )
    return msgspec.structs.replace(schedule, unit=unit, periods=periods)


def _lowest(schedule: ChargingSchedule, others: Composite, second: int) -> SchedulePeriod:
    own = max((period for period in schedule.periods if period.start_s <= second), key=lambda period: period.start_s)
    other = others.at(second).limit if second < others.duration_s else None
    limit = own.limit if other is None else min(own.limit, other)
    return SchedulePeriod(start_s=second, limit=limit, phases=own.phases)
