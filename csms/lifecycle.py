"""The life of a transaction: the states it can be in, the only steps between them, and why it can end.

Repeats never come here: a start or end that was already answered is found before. Every state has an id and takes
samples, since a charger may go on charging after a refusal and late samples are evidence.
"""

from enum import StrEnum

from csms.events import StopReason


class State(StrEnum):
    ACTIVE = "active"
    REFUSED = "refused"  # the token was not good; the charger may charge all the same
    ORPHANED = "orphaned"  # silent, or overtaken by the next start: the token is free, the evse's story still open
    ENDED = "ended"


class Trigger(StrEnum):
    START_ACCEPTED = "start_accepted"
    START_REFUSED = "start_refused"
    END = "end"
    SILENT = "silent"
    NEW_START = "new_start"  # another transaction starts on the evse
    GIVE_UP = "give_up"  # no end came in the set time
    END_UNSEEN = "end_unseen"  # the end of a transaction whose start we never saw (X19)


class Cause(StrEnum):
    """Why it ended (E01). A remote start that expired never became a transaction."""

    LOCAL = "local"
    REMOTE = "remote"
    EV_DISCONNECTED = "ev_disconnected"
    POWER_LOSS = "power_loss"
    EMERGENCY_STOP = "emergency_stop"
    REBOOT = "reboot"
    HARD_RESET = "hard_reset"
    SOFT_RESET = "soft_reset"
    DEAUTHORIZED = "deauthorized"
    UNLOCK_COMMAND = "unlock_command"
    OTHER = "other"
    REFUSED = "refused"
    NEVER_STOPPED = "never_stopped"
    NOBODY_CAME = "nobody_came"  # of a reservation that expired: nothing was charged


class Flag(StrEnum):
    """What somebody reading the bill must know; never a state. `billing.verdict` says which of them hold a bill."""

    CLOCK_SKEWED = "clock_skewed"  # a boundary was judged by server time (F05)
    METER_MISMATCH = "meter_mismatch"  # E07
    UNIT_SUSPECT = "unit_suspect"  # X16
    MISSING_START = "missing_start"  # X19
    REFUSED_START = "refused_start"
    LATE_SAMPLES = "late_samples"  # samples after the end (E04)
    UNCHECKED_TOKEN = "unchecked_token"
    SCHEMA_VIOLATION = "schema_violation"  # T10
    REASON_ASSUMED = "reason_assumed"  # no reason given: local (E06)
    FOREIGN_STOP_TOKEN = "foreign_stop_token"
    REPEATED_KEY = "repeated_key"  # the same dedup key in a later boot epoch (T4)


# A finding: the car paused by itself at least once (decision 6), so not all its time is charging.
PARKED = "suspended_ev"


class IllegalStep(Exception):
    """The table has no such step."""


TRANSITIONS: dict[tuple[State | None, Trigger], State] = {
    (None, Trigger.START_ACCEPTED): State.ACTIVE,
    (None, Trigger.START_REFUSED): State.REFUSED,
    (None, Trigger.END_UNSEEN): State.ENDED,
    (State.ACTIVE, Trigger.END): State.ENDED,
    (State.ACTIVE, Trigger.SILENT): State.ORPHANED,
    (State.ACTIVE, Trigger.NEW_START): State.ORPHANED,
    (State.REFUSED, Trigger.END): State.ENDED,
    (State.REFUSED, Trigger.SILENT): State.ORPHANED,
    (State.REFUSED, Trigger.NEW_START): State.ORPHANED,
    (State.ORPHANED, Trigger.END): State.ENDED,
    (State.ORPHANED, Trigger.SILENT): State.ORPHANED,
    (State.ORPHANED, Trigger.NEW_START): State.ORPHANED,
    (State.ORPHANED, Trigger.GIVE_UP): State.ENDED,
}

OPEN_STATES = frozenset({State.ACTIVE, State.REFUSED, State.ORPHANED})

CAUSE: dict[StopReason, Cause] = {
    StopReason.LOCAL: Cause.LOCAL,
    StopReason.REMOTE: Cause.REMOTE,
    StopReason.EV_DISCONNECTED: Cause.EV_DISCONNECTED,
    StopReason.POWER_LOSS: Cause.POWER_LOSS,
    StopReason.EMERGENCY_STOP: Cause.EMERGENCY_STOP,
    StopReason.REBOOT: Cause.REBOOT,
    StopReason.HARD_RESET: Cause.HARD_RESET,
    StopReason.SOFT_RESET: Cause.SOFT_RESET,
    StopReason.DEAUTHORIZED: Cause.DEAUTHORIZED,
    StopReason.UNLOCK_COMMAND: Cause.UNLOCK_COMMAND,
    StopReason.OTHER: Cause.OTHER,
    StopReason.MISSING: Cause.LOCAL,  # the spec's default
    StopReason.UNREADABLE: Cause.OTHER,
}


def step(state: State | None, trigger: Trigger) -> State:
    """The state after `trigger`; None is before the transaction exists. Raises IllegalStep where the table has none."""
    try:
        return TRANSITIONS[state, trigger]
    except KeyError:
        raise IllegalStep(f"{trigger} in state {state or '(none)'}") from None


def cause_of(reason: StopReason, refused: bool) -> tuple[Cause, frozenset[Flag]]:
    """Why the transaction ended, with the flags that come of it. `refused`: its start was; that outweighs any reason,
    and a reason it did not need is not called assumed."""
    if refused:
        return Cause.REFUSED, frozenset({Flag.REFUSED_START})
    return CAUSE[reason], frozenset({Flag.REASON_ASSUMED} if reason is StopReason.MISSING else ())
