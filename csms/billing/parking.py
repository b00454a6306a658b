"""When a car that was plugged in asked for no power: parked, as its EVSE told by its statuses (TC-14).

SuspendedEV alone is parking; while the EVSE holds power back, and while nothing is known, time is charging time.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any

from csms.clock import SKEW_LIMIT, Rule
from csms.events import ConnectorStatus

PARKED = ConnectorStatus.SUSPENDED_EV.value
JUST_BEFORE = timedelta(minutes=1)  # some chargers tell a status and then the start that it belongs to
SOUND = (Rule.CHARGER, Rule.OFFLINE)

Stretch = tuple[datetime, datetime]


@dataclass(frozen=True, kw_only=True)
class Change:
    """A status that an EVSE told: `at` as the core believed it when it came, `claimed_at` as the charger wrote it."""

    status: str
    at: datetime
    received_at: datetime
    claimed_at: datetime | None = None
    event_id: str = ""


def stretches(changes: Iterable[Change], started_at: datetime, until: datetime, rule: str) -> tuple[Stretch, ...]:
    """When it was parked, in order and apart, within the session. The order of `changes` does not matter, nor how often one
    is told. `rule` is the one that chose the session's start."""
    found: list[Stretch] = []
    for since, end, change in _lasting(changes, started_at, until, rule):
        since, end = max(since, started_at), min(end, until)
        if change.status == PARKED and since < end:
            if found and found[-1][1] == since:
                since = found.pop()[0]
            found.append((since, end))
    return tuple(found)


def behind(changes: Iterable[Change], started_at: datetime, until: datetime, rule: str) -> tuple[Change, ...]:
    """The changes that say what was parked: each that began or ended a stretch, with its believed time."""
    shown = [replace(change, at=since) for since, _, change in _lasting(changes, started_at, until, rule)]
    parked = [False, *(change.status == PARKED for change in shown)]
    return tuple(one for one, now, before in zip(shown, parked[1:], parked, strict=False) if now is not before)


def believed(change: Change, started_at: datetime, rule: str) -> datetime:
    """T2, as for samples: a claim near its reception, or one inside its own session if the clock was believed for the start
    too; else what the core believed."""
    claimed = change.claimed_at
    if claimed is None:
        return change.at
    live = abs(change.received_at - claimed) <= SKEW_LIMIT
    inside = rule in SOUND and started_at <= claimed <= change.received_at
    return claimed if live or inside else change.at


def _lasting(
    changes: Iterable[Change], started_at: datetime, until: datetime, rule: str
) -> list[tuple[datetime, datetime, Change]]:
    """Each change with the time it held. Of two at one moment the one received last holds; and if that is the same moment
    too, time is charging time rather than parked."""

    def place(told: tuple[datetime, Change]) -> tuple[Any, ...]:
        at, change = told
        return at, change.received_at, change.status != PARKED, change.status, change.event_id

    timed = sorted(((believed(change, started_at, rule), change) for change in set(changes)), key=place)
    within = [(at, change) for at, change in timed if started_at - JUST_BEFORE <= at < until]
    ends = [*(at for at, _ in within[1:]), until]
    return [(at, end, change) for (at, change), end in zip(within, ends, strict=False) if end > at]


def is_parked(parked: Sequence[Stretch], at: datetime) -> bool:
    """`parked` is in order and apart."""
    before = bisect_right(parked, at, key=itemgetter(0))
    return before > 0 and at < parked[before - 1][1]
