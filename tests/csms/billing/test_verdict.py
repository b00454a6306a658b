"""Which sessions are billed, wait for a person, or are written off."""

import pytest

from csms.billing.verdict import CAUSE_VERDICT, FLAG_VERDICT, STRICTNESS, Verdict, verdict
from csms.lifecycle import Cause, Flag

SOUND = {"energy_mwh": 10_000_000, "duration_s": 3600}
BILLS = {Flag.CLOCK_SKEWED, Flag.LATE_SAMPLES, Flag.REASON_ASSUMED}
WAIT_FOR_A_PERSON = {Cause.REFUSED, Cause.NEVER_STOPPED}


def test_tables_know_every_cause_flag_and_verdict() -> None:  # E01
    assert set(CAUSE_VERDICT) == set(Cause)
    assert set(FLAG_VERDICT) == set(Flag)
    assert set(STRICTNESS) == set(Verdict)


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_alone(cause: Cause) -> None:
    expected = Verdict.REVIEW if cause in WAIT_FOR_A_PERSON else Verdict.BILL
    assert verdict(cause, frozenset(), **SOUND) is expected


@pytest.mark.parametrize("flag", Flag)
def test_every_flag_alone(flag: Flag) -> None:
    expected = Verdict.BILL if flag in BILLS else Verdict.REVIEW
    assert verdict(Cause.LOCAL, {flag}, **SOUND) is expected


@pytest.mark.parametrize("cause", Cause)
@pytest.mark.parametrize("flag", Flag)
def test_stricter_of_cause_and_flag_wins(cause: Cause, flag: Flag) -> None:
    stricter = max(CAUSE_VERDICT[cause], FLAG_VERDICT[flag], key=STRICTNESS.__getitem__)
    assert verdict(cause, {flag}, **SOUND) is stricter


@pytest.mark.parametrize("others", [set(), BILLS])
def test_one_flag_that_waits_outweighs_all_that_bill(others: set[Flag]) -> None:
    assert verdict(Cause.LOCAL, {Flag.METER_MISMATCH, *others}, **SOUND) is Verdict.REVIEW


@pytest.mark.parametrize(
    ("energy_mwh", "duration_s", "expected"),
    [
        (10_000_000, 3600, Verdict.BILL),
        (0, 3600, Verdict.BILL),
        (10_000_000, 0, Verdict.REVIEW),  # an end moved to its start
        (10_000_000, 2, Verdict.REVIEW),  # an offline session delivered in one burst
        (10_000_000, 60, Verdict.REVIEW),  # 600 kW
        (0, 59, Verdict.REVIEW),
        (100_000, 60, Verdict.BILL),
        (10_000_000, 86_400, Verdict.BILL),
        (10_000_000, 86_401, Verdict.REVIEW),  # a stop delivered days late
    ],
)
def test_skewed_clock_bills_only_with_a_sound_duration(energy_mwh: int, duration_s: int, expected: Verdict) -> None:
    found = verdict(Cause.LOCAL, {Flag.CLOCK_SKEWED}, energy_mwh=energy_mwh, duration_s=duration_s)
    assert found is expected


@pytest.mark.parametrize(
    ("energy_mwh", "duration_s", "expected"),
    [(0, 0, Verdict.BILL), (1, 0, Verdict.REVIEW), (1, -1, Verdict.REVIEW), (0, -1, Verdict.REVIEW)],
)
def test_duration_that_cannot_be_is_never_billed(energy_mwh: int, duration_s: int, expected: Verdict) -> None:  # E11
    assert verdict(Cause.LOCAL, frozenset(), energy_mwh=energy_mwh, duration_s=duration_s) is expected


@pytest.mark.parametrize(
    ("flags", "energy_mwh", "expected"),
    [
        (set(), 0, Verdict.WRITE_OFF),
        ({Flag.REFUSED_START}, 0, Verdict.WRITE_OFF),
        ({Flag.REFUSED_START, Flag.CLOCK_SKEWED, Flag.LATE_SAMPLES}, 0, Verdict.WRITE_OFF),
        ({Flag.REFUSED_START}, 1, Verdict.REVIEW),
        ({Flag.REFUSED_START, Flag.METER_MISMATCH}, 0, Verdict.REVIEW),  # zero may only be what we could read
        ({Flag.REFUSED_START, Flag.SCHEMA_VIOLATION}, 0, Verdict.REVIEW),
    ],
)
def test_refused_start_without_energy_is_written_off(flags: set[Flag], energy_mwh: int, expected: Verdict) -> None:
    assert verdict(Cause.REFUSED, flags, energy_mwh=energy_mwh, duration_s=3600) is expected
