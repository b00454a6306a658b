"""When to believe a charger's time: the only module that turns what a charger wrote as a time into one we act on.

F08 asks to trust nothing, E02 to bill by the charger's word, F05 to override it: T2 is how they are read together, and
`judge` is T2. The claim, the moment we received it and the rule that decided stay beside the answer.
"""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

SKEW_LIMIT = timedelta(minutes=10)
HOSTS_AGREE_WITHIN = timedelta(minutes=2)  # of our own, which should be set by NTP


class Rule(StrEnum):
    """Which rule chose `Judged.at`. The SERVER_* rules override the charger with `received_at`."""

    CHARGER = "charger"  # the claim is within the limit: believed
    OFFLINE = "offline"  # an old claim, inside a window the charger was really away, from a sound clock: believed
    SERVER_FUTURE = "server_future"
    SERVER_PAST = "server_past"
    SERVER_MISSING = "server_missing"  # no claim, or none that can be read


@dataclass(frozen=True, kw_only=True)
class Gap:
    """The window in which the station was away: from its last frame (None: never seen before) to the opening of the
    connection that delivers."""

    since: datetime | None
    until: datetime


@dataclass(frozen=True, kw_only=True)
class Judged:
    """`at` is the time to act on. `skewed`: the charger was overridden. `estimate` is evidence, never billed by itself:
    the claim corrected by the charger's measured skew, for a session recorded offline under a wrong clock."""

    at: datetime
    claimed: datetime | None
    received_at: datetime
    rule: Rule
    skewed: bool
    estimate: datetime | None


def read(text: object) -> datetime | None:
    """A charger's time string as aware UTC; None for anything that is not a date with a time of day.

    ISO 8601 as chargers write it: no zone means UTC; `Z`, `+01:00`, `+0100` and `+01` (X05); any number of fraction
    digits, cut at microseconds; a space or a small letter for `T` and `Z`; seconds may be missing. 24:00 is the next
    midnight, a leap second the next second.
    """
    return _usual(text) or _unusual(text)


def _usual(text: object) -> datetime | None:
    """As nearly all write it: the extended form with seconds and a zone, in a third of the time."""
    if not isinstance(text, str) or not _USUAL.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _unusual(text: object) -> datetime | None:
    match = _ISO.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, zone_hours, zone_minutes = match.groups()
    beyond = timedelta()
    if second == "60":
        second, beyond = "59", timedelta(seconds=1)
    if hour == "24" and int(minute) == int(second or 0) == int(fraction or 0) == 0:
        hour, beyond = "0", timedelta(days=1)
    if zone_hours is not None:
        if int(zone_hours) > 23 or int(zone_minutes or 0) > 59:
            return None
        offset = timedelta(hours=int(zone_hours), minutes=int(zone_minutes or 0))
        beyond += offset if sign == "-" else -offset
    microsecond = int(fraction[:6].ljust(6, "0")) if fraction else 0
    try:
        written = datetime(
            int(year), int(month), int(day), int(hour), int(minute), int(second or 0), microsecond, tzinfo=UTC
        )
        return written + beyond
    except (ValueError, OverflowError):  # a 13th month; an offset that leaves the calendar
        return None


def judge(claimed: datetime | None, received_at: datetime, *, gap: Gap | None, live_skew_s: float | None) -> Judged:
    """T2. `gap` is the last time the station was away, None when it was not; `live_skew_s` what `skew_s` gave for its
    latest live message, None when nothing was measured (which does not speak against it)."""
    rule = _rule(claimed, received_at, gap, live_skew_s)
    believed = rule in (Rule.CHARGER, Rule.OFFLINE)
    return Judged(
        at=claimed if believed and claimed is not None else received_at,
        claimed=claimed,
        received_at=received_at,
        rule=rule,
        skewed=not believed,
        estimate=None if believed else _estimate(claimed, received_at, live_skew_s),
    )


def received(stamped: datetime, taken: datetime, now: datetime) -> datetime:
    """When a message came in, by three of our own hosts: `stamped` by the gateway, `taken` by Redis a moment later, and read
    by a worker at `now`. The gateway's word, unless the two others agree that its clock was set wrong."""
    wrong = abs(stamped - taken) > HOSTS_AGREE_WITHIN and abs(now - taken) <= HOSTS_AGREE_WITHIN
    return taken if wrong else stamped


def of_redis(entry_id: str) -> datetime:
    """When Redis took an entry of a stream: its id begins with the milliseconds."""
    return datetime.fromtimestamp(int(entry_id.partition("-")[0]) / 1000, UTC)


def skew_s(claimed: datetime, received_at: datetime) -> float:
    """How far the charger's clock is off, in seconds: positive when it is ahead of ours (F01)."""
    return (claimed - received_at).total_seconds()


def end_not_before(start: datetime, end: Judged) -> Judged:
    """The end, never before the start. One that claimed to be is moved to the start and flagged: a length of zero that
    somebody must look at, rather than a negative one or an invented one."""
    return end if end.at >= start else replace(end, at=start, skewed=True)


def _rule(claimed: datetime | None, received_at: datetime, gap: Gap | None, live_skew_s: float | None) -> Rule:
    if claimed is None:
        return Rule.SERVER_MISSING
    if abs(received_at - claimed) <= SKEW_LIMIT:
        return Rule.CHARGER
    if claimed > received_at:
        return Rule.SERVER_FUTURE
    away = gap is not None and gap.since is not None and gap.since <= claimed <= gap.until
    sound = live_skew_s is None or abs(live_skew_s) <= SKEW_LIMIT.total_seconds()
    return Rule.OFFLINE if away and sound else Rule.SERVER_PAST


def _estimate(claimed: datetime | None, received_at: datetime, live_skew_s: float | None) -> datetime | None:
    """None while the clock is not known to be wrong. Nothing happened after we were told of it."""
    if claimed is None or live_skew_s is None or abs(live_skew_s) <= SKEW_LIMIT.total_seconds():
        return None
    try:
        return min(claimed - timedelta(seconds=live_skew_s), received_at)
    except OverflowError:
        return None


_USUAL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:[0-5]\d)", re.ASCII)
_ISO = re.compile(
    r"(\d{4})-?(\d\d)-?(\d\d)[Tt ](\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d+))?)?"
    r" ?(?:[Zz]|([+-])(\d\d):?(\d\d)?)?",
    re.ASCII,
)
