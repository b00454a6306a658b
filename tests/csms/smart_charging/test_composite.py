"""The composite schedule against examples worked out by hand, and against a calculator that only knows one second (G07)."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csms.smart_charging.composite import (
    Held,
    Limit,
    Running,
    Supply,
    composite,
    deviations,
    station_composite,
)
from csms.smart_charging.profile import (
    ChargingProfile,
    ChargingSchedule,
    ProfileKind,
    ProfilePurpose,
    RateUnit,
    Recurrency,
    SchedulePeriod,
)

A, W = RateUnit.AMPERE, RateUnit.WATT
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)  # a Monday
MAX, DEFAULT, TX = ProfilePurpose
AC, ONE_PHASE, DC = Supply(), Supply(phases=1), Supply(voltage_v=400, phases=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-06-{text}:00+00:00")


def profile(
    purpose=DEFAULT,
    *periods,
    level=0,
    kind=ProfileKind.ABSOLUTE,
    unit=A,
    starts=NOON,
    lasts=None,
    every=None,
    valid=(None, None),
    ref=None,
    evse=0,
):
    return Held(
        evse=evse,
        profile=ChargingProfile(
            profile_id=1,
            stack_level=level,
            purpose=purpose,
            kind=kind,
            recurrency=every,
            valid_from=valid[0],
            valid_to=valid[1],
            transaction_ref=ref,
            schedule=ChargingSchedule(
                unit=unit,
                starts_at=starts,
                duration_s=lasts,
                periods=tuple(
                    SchedulePeriod(start_s=start, limit=Decimal(str(limit)), phases=(rest or [None])[0])
                    for start, limit, *rest in periods
                ),
            ),
        ),
    )


def limits(*held, starts_at=NOON, hours=1, unit=A, evse=1, supply=AC, running=None):
    whole = composite(
        held, evse=evse, starts_at=starts_at, duration_s=hours * 3600, unit=unit, supply=supply, running=running
    )
    return [(limit.start_s, None if limit.limit is None else str(limit.limit)) for limit in whole.limits]


RUNNING = Running(started_at=at("01T11:30"), ref="77")

CASES = {
    "no profile limits nothing": ([], {}, [(0, None)]),
    "the default of the station is that of each EVSE": ([profile(DEFAULT, (0, 16))], {}, [(0, "16")]),
    "an EVSE's own default overrules the station's": (
        [profile(DEFAULT, (0, 16)), profile(DEFAULT, (0, 20), evse=1)],
        {},
        [(0, "20")],
    ),
    "of another EVSE it says nothing": ([profile(DEFAULT, (0, 20), evse=2)], {}, [(0, None)]),
    "where an EVSE's own default is over the station's goes on": (
        [profile(DEFAULT, (0, 16)), profile(DEFAULT, (0, 20), evse=1, lasts=600)],
        {},
        [(0, "20"), (600, "16")],
    ),
    "the higher stack level wins": (
        [profile(DEFAULT, (0, 10), level=1), profile(DEFAULT, (0, 6), level=0)],
        {},
        [(0, "10")],
    ),
    "a higher level that is over leaves the lower": (
        [profile(DEFAULT, (0, 10), level=1, lasts=900), profile(DEFAULT, (0, 6), level=0)],
        {},
        [(0, "10"), (900, "6")],
    ),
    "a transaction's own stands in for the default": (
        [profile(DEFAULT, (0, 10)), profile(TX, (0, 25), evse=1)],
        {"running": RUNNING},
        [(0, "25")],
    ),
    "without a transaction it says nothing": (
        [profile(DEFAULT, (0, 10)), profile(TX, (0, 25), evse=1)],
        {},
        [(0, "10")],
    ),
    "of another transaction it says nothing": (
        [profile(TX, (0, 25), evse=1, ref="78")],
        {"running": RUNNING},
        [(0, None)],
    ),
    "the station's limit caps the transaction's": (
        [profile(MAX, (0, 20)), profile(TX, (0, 25), evse=1)],
        {"running": RUNNING},
        [(0, "20")],
    ),
    "and does not raise it": (
        [profile(MAX, (0, 32)), profile(TX, (0, 25), evse=1)],
        {"running": RUNNING},
        [(0, "25")],
    ),
    "relative counts from the transaction": (
        [profile(TX, (0, 10), (2400, 16), kind=ProfileKind.RELATIVE, starts=None, evse=1)],
        {"running": RUNNING},
        [(0, "10"), (600, "16")],  # it began 30 minutes ago
    ),
    "relative without a transaction counts from now": (
        [profile(DEFAULT, (0, 10), (2400, 16), kind=ProfileKind.RELATIVE, starts=None)],
        {},
        [(0, "10"), (2400, "16")],
    ),
    "absolute that begins later limits from then": (
        [profile(DEFAULT, (0, 10), starts=at("01T12:30"))],
        {},
        [(0, None), (1800, "10")],
    ),
    "absolute that began before": (
        [profile(DEFAULT, (0, 10), (3600, 6), starts=at("01T11:30"))],
        {},
        [(0, "10"), (1800, "6")],
    ),
    "daily, begun a week ago": (
        [
            profile(
                DEFAULT,
                (0, 6),
                (5400, 16),
                kind=ProfileKind.RECURRING,
                every=Recurrency.DAILY,
                starts=datetime(2026, 5, 25, 11, tzinfo=UTC),
            )
        ],
        {},
        [(0, "6"), (1800, "16")],
    ),
    "daily with a gap until the next day": (
        [
            profile(
                DEFAULT,
                (0, 6),
                kind=ProfileKind.RECURRING,
                every=Recurrency.DAILY,
                starts=datetime(2026, 5, 25, 22, tzinfo=UTC),
                lasts=3600,
            )
        ],
        {"hours": 24},
        [(0, None), (36000, "6"), (39600, None)],
    ),
    "weekly, only on its day": (
        [
            profile(
                DEFAULT,
                (0, 6),
                kind=ProfileKind.RECURRING,
                every=Recurrency.WEEKLY,
                starts=datetime(2026, 5, 26, 12, tzinfo=UTC),
                lasts=86400,
            )
        ],
        {"hours": 48},
        [(0, None), (86400, "6")],  # Tuesday
    ),
    "before it is valid": (
        [profile(DEFAULT, (0, 6), valid=(at("01T12:20"), None))],
        {},
        [(0, None), (1200, "6")],
    ),
    "not any more at the moment it ends": (
        [profile(DEFAULT, (0, 6), valid=(None, at("01T12:20")))],
        {},
        [(0, "6"), (1200, None)],
    ),
    "watts from amperes on three phases": ([profile(DEFAULT, (0, 16))], {"unit": W}, [(0, "11040.0")]),
    "watts from amperes on the phases that the period names": (
        [profile(DEFAULT, (0, 16, 1))],
        {"unit": W},
        [(0, "3680.0")],
    ),
    "never on more phases than the connector has": (
        [profile(DEFAULT, (0, 16))],
        {"unit": W, "supply": ONE_PHASE},
        [(0, "3680.0")],
    ),
    "amperes from watts are rounded down": ([profile(DEFAULT, (0, 11000), unit=W)], {}, [(0, "15.9")]),
    "direct current has no phases": (
        [profile(DEFAULT, (0, 50000), unit=W)],
        {"supply": DC},
        [(0, "125.0")],
    ),
    "the lower of two units is found after converting": (
        [profile(MAX, (0, 9000), unit=W), profile(DEFAULT, (0, 16))],
        {},
        [(0, "13.0")],
    ),
    "equal neighbours are one": ([profile(DEFAULT, (0, 10), (600, 10), (1200, 6))], {}, [(0, "10"), (1200, "6")]),
    "a limit of nothing is a limit": ([profile(DEFAULT, (0, 0))], {}, [(0, "0")]),
}


@pytest.mark.parametrize("case", CASES)
def test_profiles_together_allow_what_the_specification_says(case: str) -> None:  # G07
    held, told, expected = CASES[case]
    assert limits(*held, **told) == expected


def test_the_station_allows_its_evses_together_and_never_more_than_itself() -> None:  # G07
    held = [profile(MAX, (0, 40), (1800, 20)), profile(DEFAULT, (0, 10), evse=1), profile(DEFAULT, (0, 16), evse=2)]
    evses = [(1, AC, None), (2, AC, None)]
    whole = station_composite(held, evses, starts_at=NOON, duration_s=3600, unit=A)
    assert whole.limits == (Limit(0, Decimal(26)), Limit(1800, Decimal(20)))


def test_an_evse_without_a_limit_leaves_only_the_stations() -> None:
    held = [profile(MAX, (0, 40)), profile(DEFAULT, (0, 10), evse=1)]
    whole = station_composite(held, [(1, AC, None), (2, AC, None)], starts_at=NOON, duration_s=60, unit=A)
    assert whole.limits == (Limit(0, Decimal(40)),)


def test_where_a_station_computes_otherwise_it_is_named() -> None:  # G07: compared with GetCompositeSchedule
    ours = composite([profile(DEFAULT, (0, 16), (600, 10))], evse=1, starts_at=NOON, duration_s=1200, unit=A)

    def told(*periods: tuple[int, str], unit: RateUnit = A) -> ChargingSchedule:
        return ChargingSchedule(
            unit=unit,
            duration_s=1200,
            periods=tuple(SchedulePeriod(start_s=start, limit=Decimal(limit)) for start, limit in periods),
        )

    assert deviations(ours, told((0, "16"), (600, "10")), NOON, AC) == []
    assert deviations(ours, told((0, "11040"), (600, "6900"), unit=W), NOON, AC) == []
    assert deviations(ours, told((0, "16")), NOON, AC) == ["2026-06-01T12:10:00Z: 16 for 10 A"]
    unlimited = composite([], evse=1, starts_at=NOON, duration_s=1200, unit=A)
    assert deviations(unlimited, told((0, "32")), NOON, AC) == []  # its own hardware's limit


# ---- properties, with a calculator that shares no code ---------------------------------------------------------------

SPAN = 400  # seconds looked at; days are shortened for the recurring ones by starting close to the edge


@st.composite
def profiles(draw: st.DrawFn) -> Held:
    purpose = draw(st.sampled_from(list(ProfilePurpose)))
    kinds = [ProfileKind.ABSOLUTE, ProfileKind.RECURRING]
    kind = draw(st.sampled_from(kinds if purpose is MAX else [*kinds, ProfileKind.RELATIVE]))
    seconds = st.integers(-300, 300)
    starts = sorted({0, *draw(st.lists(st.integers(1, 300), max_size=3))})
    recurring = kind is ProfileKind.RECURRING
    begins = NOON + timedelta(seconds=draw(seconds))
    every = draw(st.sampled_from(list(Recurrency))) if recurring else None
    if recurring:
        begins -= draw(st.integers(0, 3)) * (timedelta(days=1) if every is Recurrency.DAILY else timedelta(weeks=1))
    edges = st.none() | seconds.map(lambda second: NOON + timedelta(seconds=second))
    return profile(
        purpose,
        *((start, draw(st.integers(0, 64))) for start in starts),
        level=draw(st.integers(0, 3)),
        kind=kind,
        unit=A,
        starts=None if kind is ProfileKind.RELATIVE else begins,
        lasts=draw(st.none() | st.integers(1, 500)),
        every=every,
        valid=(draw(edges), draw(edges)),
        evse=0 if purpose is MAX else draw(st.sampled_from([1] if purpose is TX else [0, 1, 2])),
    )


def naive(held: list[Held], second: int, running: Running | None) -> Decimal | None:
    """One second, read off the specification in the plainest way."""
    now = NOON + timedelta(seconds=second)
    chosen: dict[ProfilePurpose, Decimal] = {}
    for purpose in ProfilePurpose:
        best: tuple[bool, int] | None = None
        for each in held:
            told = each.profile
            if told.purpose is not purpose or each.evse not in (0, 1):
                continue
            if purpose is TX and running is None:
                continue
            if (told.valid_from and now < told.valid_from) or (told.valid_to and now >= told.valid_to):
                continue
            begin = told.schedule.starts_at or (running.started_at if running else NOON)
            gone = (now - begin).total_seconds()
            if told.recurrency and gone >= 0:
                gone %= 86400 if told.recurrency is Recurrency.DAILY else 604800
            if gone < 0 or (told.schedule.duration_s and gone >= told.schedule.duration_s):
                continue
            rank = (each.evse == 1, told.stack_level)
            if best is None or rank > best:
                best = rank
                chosen[purpose] = [p.limit for p in told.schedule.periods if p.start_s <= gone][-1]
    if TX in chosen:
        chosen.pop(DEFAULT, None)
    return min(chosen.values(), default=None)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        profiles(), max_size=6, unique_by=lambda held: (held.evse, held.profile.purpose, held.profile.stack_level)
    ),
    st.none() | st.integers(-300, 0),
)
def test_every_second_is_what_a_plain_reading_gives(held: list[Held], since: int | None) -> None:  # G07
    running = None if since is None else Running(started_at=NOON + timedelta(seconds=since))
    whole = composite(held, evse=1, starts_at=NOON, duration_s=SPAN, unit=A, running=running)
    assert whole.limits[0].start_s == 0
    assert [limit.start_s for limit in whole.limits] == sorted({limit.start_s for limit in whole.limits})
    for second in range(0, SPAN, 7):
        assert whole.at(second).limit == naive(held, second, running), second


@settings(max_examples=200, deadline=None)
@given(st.lists(profiles(), max_size=6), st.sampled_from([AC, ONE_PHASE, DC]))
def test_watts_and_amperes_never_allow_more_than_one_another(held: list[Held], supply: Supply) -> None:
    amperes, watts = (
        composite(held, evse=1, starts_at=NOON, duration_s=SPAN, unit=unit, supply=supply) for unit in (A, W)
    )
    for second in range(0, SPAN, 41):
        ampere, watt = amperes.at(second).limit, watts.at(second).limit
        assert (ampere is None) == (watt is None)
        if ampere is not None and watt is not None:
            assert watt <= ampere * supply.voltage_v * supply.phases
