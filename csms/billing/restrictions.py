"""When an element of a tariff applies: judged at one moment, with every moment known at which the judgement can change.

OCPI 2.2.1, TariffRestrictions. Times of day, dates and weekdays are the site's local ones. Each instant is judged by its own
offset from UTC, so in the hour that a clock repeats both passes match alike (TC-30).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_CEILING, Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

MIDNIGHT: Final = time()
DAY: Final = timedelta(days=1)
WEEKDAYS: Final = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
RESERVATION: Final = "RESERVATION"
RESERVATION_EXPIRES: Final = "RESERVATION_EXPIRES"


@dataclass(frozen=True, kw_only=True)
class Restrictions:
    """All that is given must hold (TC-04). Minima and starts are inclusive, maxima and ends exclusive. `unknown`: names that
    OCPI 2.2.1 does not have."""

    start_time: time | None = None
    end_time: time | None = None
    start_date: date | None = None
    end_date: date | None = None
    min_kwh: Decimal | None = None
    max_kwh: Decimal | None = None
    min_current: Decimal | None = None  # A, the sum over the phases
    max_current: Decimal | None = None
    min_power: Decimal | None = None  # kW
    max_power: Decimal | None = None
    min_duration: int | None = None  # s since the start of the session
    max_duration: int | None = None
    day_of_week: frozenset[int] = frozenset()  # Monday is 0
    reservation: str | None = None
    unknown: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Restrictions | None":
        """None where nothing is restricted. Raises ValueError or decimal.InvalidOperation for what cannot be read."""
        told = {name: value for name, value in document.items() if value is not None and value != []}
        known = {name: READ[name](value) for name, value in told.items() if name in READ}
        unknown = tuple(sorted(told.keys() - READ.keys()))
        return cls(**known, unknown=unknown) if told else None

    @property
    def by_clock(self) -> bool:
        return bool(self.day_of_week) or any(
            told is not None for told in (self.start_time, self.end_time, self.start_date, self.end_date)
        )


@dataclass(frozen=True, kw_only=True)
class Moment:
    """`local` is the moment in the site's zone; `energy_kwh` and `duration_s` are since the start of the session; `current_a`
    and `power_kw` None where nobody measured them."""

    local: datetime
    energy_kwh: Decimal
    duration_s: Decimal
    current_a: Decimal | None = None
    power_kw: Decimal | None = None


def applies(restrictions: Restrictions | None, moment: Moment) -> bool | None:
    """Whether they hold at `moment`; None: they would, if only it were known what they ask for."""
    if restrictions is None:
        return True
    r = restrictions
    if not (
        _within(r.min_kwh, moment.energy_kwh, r.max_kwh)
        and _within(r.min_duration, moment.duration_s, r.max_duration)
        and (not r.day_of_week or moment.local.weekday() in r.day_of_week)
        and _within(r.start_date, moment.local.date(), r.end_date)
        and _at_time_of_day(r.start_time, r.end_time, moment.local.time())
    ):
        return False
    answers = [
        None if value is None else _within(least, value, most)
        for least, value, most in (
            (r.min_current, moment.current_a, r.max_current),
            (r.min_power, moment.power_kw, r.max_power),
        )
        if least is not None or most is not None
    ]
    if False in answers:
        return False
    return None if None in answers or r.unknown else True


def _within(least: Any, value: Any, most: Any) -> bool:
    return (least is None or value >= least) and (most is None or value < most)


def _at_time_of_day(start: time | None, end: time | None, now: time) -> bool:
    """TC-07, TC-08: a missing end is midnight; from a time to itself is the whole day; an end before the start is the next
    day's."""
    start, end = start or MIDNIGHT, end or MIDNIGHT
    if start == end:
        return True
    return start <= now < end if start < end else now >= start or now < end


# ---- when the judgement can change ----------------------------------------------------------------------------------


def clock_changes(
    restrictions: Iterable[Restrictions | None], start: datetime, end: datetime, zone: ZoneInfo
) -> set[datetime]:
    """The moments within (start, end), aware UTC, at which a time of day, date or weekday may begin or cease to match."""
    by_clock = [restriction for restriction in restrictions if restriction is not None and restriction.by_clock]
    if not by_clock:
        return set()
    times = {MIDNIGHT} | {told for r in by_clock for told in (r.start_time, r.end_time) if told is not None}
    found = set(_offset_changes(start, end, zone))
    day, last = start.astimezone(zone).date() - DAY, end.astimezone(zone).date() + DAY
    while day <= last:
        for at in times:
            found |= {datetime.combine(day, at, zone).replace(fold=fold).astimezone(UTC) for fold in (0, 1)}
        day += DAY
    return {moment for moment in found if start < moment < end}


def durations(restrictions: Iterable[Restrictions]) -> set[timedelta]:
    """How long after the start of a session one may begin or cease to match."""
    limits = {limit for r in restrictions for limit in (r.min_duration, r.max_duration) if limit is not None}
    return {timedelta(seconds=limit) for limit in limits}


def levels(restrictions: Iterable[Restrictions]) -> list[int]:
    """After how many mWh of a session one may begin or cease to match, in order."""
    limits = {limit for r in restrictions for limit in (r.min_kwh, r.max_kwh) if limit is not None}
    return sorted(int((limit * 1_000_000).to_integral_value(ROUND_CEILING)) for limit in limits)


def _offset_changes(start: datetime, end: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """When the zone's clocks are set, to the second."""
    after = start
    while after < end:
        before, after = after, min(after + DAY, end)
        if before.astimezone(zone).utcoffset() == after.astimezone(zone).utcoffset():
            continue
        low, high = before, after
        while high - low > timedelta(seconds=1):
            middle = low + (high - low) / 2
            if middle.astimezone(zone).utcoffset() == before.astimezone(zone).utcoffset():
                low = middle
            else:
                high = middle
        yield high.replace(microsecond=0)


# ---- reading --------------------------------------------------------------------------------------------------------


def _time(value: Any) -> time:
    """HH:MM; also 24:00, which is the end of the day."""
    hour, minute = (int(part) for part in str(value).split(":"))
    return MIDNIGHT if (hour, minute) == (24, 0) else time(hour, minute)


def _days(value: Any) -> frozenset[int]:
    return frozenset(WEEKDAYS.index(str(word).upper()) for word in value)


def _decimal(value: Any) -> Decimal:
    return Decimal(str(value))


def _date(value: Any) -> date:
    year, month, day = (int(part) for part in str(value).split("-"))
    return date(year, month, day)


def _whole(value: Any) -> int:
    return int(value)


READ: Final[dict[str, Callable[[Any], Any]]] = {
    "start_time": _time,
    "end_time": _time,
    "start_date": _date,
    "end_date": _date,
    "min_kwh": _decimal,
    "max_kwh": _decimal,
    "min_current": _decimal,
    "max_current": _decimal,
    "min_power": _decimal,
    "max_power": _decimal,
    "min_duration": _whole,
    "max_duration": _whole,
    "day_of_week": _days,
    "reservation": str,
}
