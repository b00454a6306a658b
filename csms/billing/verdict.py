"""Whether an ended session may be billed, must be looked at first, or is nobody's: two tables, and the stricter wins."""

from collections.abc import Set
from enum import StrEnum
from typing import Any

from csms.lifecycle import Cause, Flag
from csms.metering import UNKNOWN_CONNECTOR_W

SHORTEST_SOUND_S = 60  # an offline burst under a wrong clock delivers start and stop within seconds
LONGEST_SOUND_S = 24 * 3600  # and a stop delivered days late makes days of it


class Verdict(StrEnum):
    BILL = "bill"
    REVIEW = "review"  # waits for a person
    WRITE_OFF = "write_off"  # nothing was delivered to anybody


STRICTNESS = {Verdict.BILL: 0, Verdict.WRITE_OFF: 1, Verdict.REVIEW: 2}

CAUSE_VERDICT: dict[Cause, Verdict] = {
    Cause.LOCAL: Verdict.BILL,
    Cause.REMOTE: Verdict.BILL,
    Cause.EV_DISCONNECTED: Verdict.BILL,
    Cause.POWER_LOSS: Verdict.BILL,
    Cause.EMERGENCY_STOP: Verdict.BILL,
    Cause.REBOOT: Verdict.BILL,
    Cause.HARD_RESET: Verdict.BILL,
    Cause.SOFT_RESET: Verdict.BILL,
    Cause.DEAUTHORIZED: Verdict.BILL,
    Cause.UNLOCK_COMMAND: Verdict.BILL,
    Cause.OTHER: Verdict.BILL,
    Cause.REFUSED: Verdict.REVIEW,  # who pays for energy that nobody was allowed to take; without energy a write-off
    Cause.NEVER_STOPPED: Verdict.REVIEW,
    Cause.NOBODY_CAME: Verdict.BILL,
}

FLAG_VERDICT: dict[Flag, Verdict] = {
    Flag.CLOCK_SKEWED: Verdict.BILL,  # with a sound duration
    Flag.LATE_SAMPLES: Verdict.BILL,
    Flag.REASON_ASSUMED: Verdict.BILL,
    Flag.METER_MISMATCH: Verdict.REVIEW,
    Flag.UNIT_SUSPECT: Verdict.REVIEW,
    Flag.MISSING_START: Verdict.REVIEW,
    Flag.REFUSED_START: Verdict.REVIEW,
    Flag.UNCHECKED_TOKEN: Verdict.REVIEW,
    Flag.SCHEMA_VIOLATION: Verdict.REVIEW,
    Flag.FOREIGN_STOP_TOKEN: Verdict.REVIEW,
    Flag.REPEATED_KEY: Verdict.REVIEW,
}


def verdict(cause: Cause, flags: Set[Flag], *, energy_mwh: int, duration_s: float) -> Verdict:
    """A refused session without energy is written off, unless a flag says that its meter or its message cannot be
    trusted to have said so. A duration that must have been invented, or energy in no time, waits."""
    of_cause = CAUSE_VERDICT[cause]
    if cause is Cause.REFUSED and energy_mwh == 0:
        of_cause, flags = Verdict.WRITE_OFF, flags - {Flag.REFUSED_START, Flag.CLOCK_SKEWED}
    verdicts = [of_cause, *(FLAG_VERDICT[flag] for flag in flags)]
    if not _sound(energy_mwh, duration_s, skewed=Flag.CLOCK_SKEWED in flags):
        verdicts.append(Verdict.REVIEW)
    return max(verdicts, key=STRICTNESS.__getitem__)


def is_held(transaction: Any) -> bool:
    """Whether an ended transaction (a row of its table) waits for a person, so that what it costs is not known yet."""
    if transaction.ended_at is None or transaction.cause is None:
        return False
    duration_s = (transaction.ended_at - transaction.started_at).total_seconds()
    flags = {Flag(flag) for flag in transaction.flags}
    of_it = verdict(Cause(transaction.cause), flags, energy_mwh=transaction.energy_mwh, duration_s=duration_s)
    return of_it is Verdict.REVIEW


def _sound(energy_mwh: int, duration_s: float, *, skewed: bool) -> bool:
    if duration_s < 0 or energy_mwh < 0 or (energy_mwh > 0 and duration_s == 0):
        return False
    if not skewed:
        return True
    possible_mwh = UNKNOWN_CONNECTOR_W * 1000 * duration_s / 3600
    return SHORTEST_SOUND_S <= duration_s <= LONGEST_SOUND_S and energy_mwh <= possible_mwh
