"""The transaction table, cell by cell."""

import pytest

from csms.events import StopReason
from csms.lifecycle import CAUSE, OPEN_STATES, TRANSITIONS, Cause, Flag, IllegalStep, State, Trigger, cause_of, step

FROM_NOTHING = {
    Trigger.START_ACCEPTED: State.ACTIVE,
    Trigger.START_REFUSED: State.REFUSED,
    Trigger.END_UNSEEN: State.ENDED,
}
RUNNING = {Trigger.END: State.ENDED, Trigger.SILENT: State.ORPHANED, Trigger.NEW_START: State.ORPHANED}
EXPECTED: dict[State | None, dict[Trigger, State]] = {
    None: FROM_NOTHING,
    State.ACTIVE: RUNNING,
    State.REFUSED: RUNNING,
    State.ORPHANED: {**RUNNING, Trigger.GIVE_UP: State.ENDED},
    State.ENDED: {},
}


@pytest.mark.parametrize("trigger", Trigger)
@pytest.mark.parametrize("state", [None, *State])
def test_every_state_meets_every_trigger(state: State | None, trigger: Trigger) -> None:  # E01
    expected = EXPECTED[state].get(trigger)
    if expected is None:
        with pytest.raises(IllegalStep):
            step(state, trigger)
    else:
        assert step(state, trigger) is expected


def test_every_open_state_can_be_reached_and_can_end() -> None:  # E01
    assert set(State) - {State.ENDED} == OPEN_STATES
    for state in OPEN_STATES:
        assert state in TRANSITIONS.values()
        assert step(state, Trigger.END) is State.ENDED


def test_every_reason_has_a_cause_of_its_name_or_a_default() -> None:  # E01
    assert set(CAUSE) == set(StopReason)
    differing = {reason: cause for reason, cause in CAUSE.items() if reason.value != cause.value}
    assert differing == {StopReason.MISSING: Cause.LOCAL, StopReason.UNREADABLE: Cause.OTHER}
    assert set(Cause) - set(CAUSE.values()) == {Cause.REFUSED, Cause.NEVER_STOPPED, Cause.NOBODY_CAME}


@pytest.mark.parametrize("reason", StopReason)
def test_only_a_missing_reason_is_marked_assumed(reason: StopReason) -> None:  # E06
    cause, flags = cause_of(reason, refused=False)
    assert cause is CAUSE[reason]
    assert flags == ({Flag.REASON_ASSUMED} if reason is StopReason.MISSING else set())


@pytest.mark.parametrize("reason", StopReason)
def test_refused_start_outweighs_whatever_reason_its_end_gives(reason: StopReason) -> None:
    assert cause_of(reason, refused=True) == (Cause.REFUSED, frozenset({Flag.REFUSED_START}))
