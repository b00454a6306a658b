"""When a charger's time is read, believed, overridden."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csms.clock import SKEW_LIMIT, Gap, Judged, Rule, _unusual, _usual, end_not_before, judge, read, received, skew_s

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
LAST_FRAME = NOW - timedelta(hours=6)
AWAY = Gap(since=LAST_FRAME, until=NOW - timedelta(seconds=30))
SECOND = timedelta(seconds=1)
YEAR = timedelta(days=365)


def at(hour: int = 10, minute: int = 0, second: int = 0, microsecond: int = 0) -> datetime:
    return datetime(2026, 3, 2, hour, minute, second, microsecond, tzinfo=UTC)


# A slow machine is no failure.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


# ---- reading --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-02T10:00:00Z", at()),
        ("2026-03-02T10:00:00", at()),  # local time without a zone is UTC
        ("2026-03-02t10:00:00z", at()),
        ("2026-03-02 10:00:00", at()),
        ("  2026-03-02T10:00:00Z\n", at()),
        ("20260302T100000Z", at()),
        ("2026-03-02T10:00Z", at()),
        ("2026-03-02T11:00:00+01:00", at()),
        ("2026-03-02T11:00:00+0100", at()),  # X05
        ("2026-03-02T11:00:00+01", at()),  # X05
        ("2026-03-02T11:00:00 +01:00", at()),
        ("2026-03-02T04:30:00-05:30", at()),
        ("2026-03-02T10:00:00-00:00", at()),
        ("2026-03-02T10:00:00.5Z", at(microsecond=500_000)),
        ("2026-03-02T10:00:00,25Z", at(microsecond=250_000)),
        ("2026-03-02T10:00:00.1234567890123Z", at(microsecond=123_456)),
        ("2026-03-02T09:59:60Z", at()),
        ("2026-03-02T24:00:00Z", datetime(2026, 3, 3, tzinfo=UTC)),
        ("2018-01-01T00:00:00Z", datetime(2018, 1, 1, tzinfo=UTC)),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_time_is_read_as_chargers_write_it(text: str, expected: datetime) -> None:  # F05, X05
    found = read(text)
    assert found == expected
    assert found is not None
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        None, 0, 1772445600, True, b"2026-03-02T10:00:00Z", [], {}, NOW,
        "", " ", "now", "null", "2026-03-02", "10:00:00", "2026-03-02T10", "2026-3-2T10:00:00Z", "02/03/2026 10:00",
        "2026-13-02T10:00:00Z", "2026-02-30T10:00:00Z", "2026-03-02T25:00:00Z", "2026-03-02T24:00:01Z",
        "2026-03-02T10:60:00Z", "2026-03-02T10:00:61Z", "2026-03-02T10:00:00+25:00", "2026-03-02T10:00:00+01:60",
        "2026-03-02T10:00:00Z junk", "2026-03-02T10:00:00.Z", "0000-01-01T00:00:00Z", "-2026-03-02T10:00:00Z",
        "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "9999-12-31T24:00:00Z", "2026-03-02T10:00:00ZZ",
        "２０２６-03-02T10:00:00Z", "2026-03-02T10:00:00\x00Z", "2026-W10-1T10:00:00Z",
    ],
)  # fmt: skip
def test_nonsense_is_no_time(text: object) -> None:  # F05
    assert read(text) is None


@PATIENT
@given(st.datetimes(timezones=st.timezones()))
def test_any_time_that_python_writes_is_read_as_the_same_moment(moment: datetime) -> None:
    if moment.utcoffset() % timedelta(minutes=1):  # type: ignore[operator]
        moment = moment.astimezone(UTC)  # before standard time, zones had seconds
    try:
        expected: datetime | None = moment.astimezone(UTC)
    except OverflowError:
        expected = None
    assert read(moment.isoformat()) == expected


@PATIENT
@given(
    st.from_regex(r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d([.,]\d{1,9})?(Z|[+-]\d\d:\d\d(:\d\d)?)?\Z")
    | st.text(alphabet="0123456789-+:.,TtZz ", max_size=32)
)
def test_the_short_way_reads_nothing_that_the_long_one_reads_otherwise(text: str) -> None:
    short = _usual(text)
    assert short is None or short == _unusual(text)


@given(st.text(alphabet="0123456789-+:.,TtZz /ae", max_size=40) | st.text(max_size=30))
def test_no_text_breaks_the_reader(text: str) -> None:
    found = read(text)
    assert found is None or found.tzinfo is UTC


# ---- judging --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "rule"),
    [
        (timedelta(0), Rule.CHARGER),
        (timedelta(minutes=9, seconds=59), Rule.CHARGER),
        (timedelta(minutes=10), Rule.CHARGER),
        (timedelta(minutes=10, seconds=1), Rule.SERVER_FUTURE),
        (-timedelta(minutes=9, seconds=59), Rule.CHARGER),
        (-timedelta(minutes=10), Rule.CHARGER),
        (-timedelta(minutes=10, seconds=1), Rule.SERVER_PAST),
        (-8 * YEAR, Rule.SERVER_PAST),
        (timedelta(days=1), Rule.SERVER_FUTURE),
    ],
)
def test_claim_is_believed_up_to_ten_minutes_exactly(offset: timedelta, rule: Rule) -> None:  # F05
    judged = judge(NOW + offset, NOW, gap=None, live_skew_s=None)
    believed = rule is Rule.CHARGER
    assert judged == Judged(
        at=NOW + offset if believed else NOW,
        claimed=NOW + offset,
        received_at=NOW,
        rule=rule,
        skewed=not believed,
        estimate=None,
    )


def test_without_a_claim_server_time_counts_and_the_clock_is_flagged() -> None:  # F05
    judged = judge(None, NOW, gap=AWAY, live_skew_s=0.0)
    assert (judged.at, judged.rule, judged.skewed, judged.estimate) == (NOW, Rule.SERVER_MISSING, True, None)


@pytest.mark.parametrize(
    ("claimed", "gap", "live_skew_s", "rule"),
    [
        (NOW - timedelta(hours=5), AWAY, None, Rule.OFFLINE),
        (NOW - timedelta(hours=5), AWAY, 600.0, Rule.OFFLINE),
        (NOW - timedelta(hours=5), AWAY, -600.0, Rule.OFFLINE),
        (NOW - timedelta(hours=5), AWAY, 600.1, Rule.SERVER_PAST),
        (NOW - timedelta(hours=5), AWAY, -600.1, Rule.SERVER_PAST),
        (NOW - timedelta(hours=5), None, 0.0, Rule.SERVER_PAST),  # it was here all the time
        (NOW - timedelta(hours=5), Gap(since=None, until=AWAY.until), 0.0, Rule.SERVER_PAST),  # never seen before
        (LAST_FRAME, AWAY, 0.0, Rule.OFFLINE),
        (LAST_FRAME - SECOND, AWAY, 0.0, Rule.SERVER_PAST),
        (NOW - timedelta(hours=1), Gap(since=LAST_FRAME, until=NOW - timedelta(hours=1)), 0.0, Rule.OFFLINE),
        (NOW - timedelta(hours=1), Gap(since=LAST_FRAME, until=NOW - timedelta(hours=1, seconds=1)), 0.0,
         Rule.SERVER_PAST),  # it was connected then and could have told us
        (NOW - 8 * YEAR, AWAY, None, Rule.SERVER_PAST),
        (NOW + timedelta(days=1), AWAY, 0.0, Rule.SERVER_FUTURE),  # always
    ],
)  # fmt: skip
def test_old_claim_is_believed_from_a_real_absence_and_a_sound_clock(  # E02
    claimed: datetime, gap: Gap | None, live_skew_s: float | None, rule: Rule
) -> None:
    judged = judge(claimed, NOW, gap=gap, live_skew_s=live_skew_s)
    assert judged.rule is rule
    assert judged.at == (claimed if rule is Rule.OFFLINE else NOW)
    assert judged.skewed is (rule is not Rule.OFFLINE)
    assert (judged.claimed, judged.received_at) == (claimed, NOW)


def test_wrong_clock_leaves_an_estimate_for_a_session_recorded_offline() -> None:  # T2
    eight_years_s = (8 * YEAR).total_seconds()
    judged = judge(NOW - 8 * YEAR - timedelta(hours=3), NOW, gap=AWAY, live_skew_s=-eight_years_s)
    assert (judged.at, judged.rule) == (NOW, Rule.SERVER_PAST)
    assert judged.estimate == NOW - timedelta(hours=3)
    ahead = judge(NOW + timedelta(hours=21), NOW, gap=AWAY, live_skew_s=86_400.0)
    assert (ahead.rule, ahead.estimate) == (Rule.SERVER_FUTURE, NOW - timedelta(hours=3))


def test_estimate_is_never_after_we_were_told_and_never_leaves_the_calendar() -> None:
    assert judge(NOW + timedelta(days=1), NOW, gap=None, live_skew_s=3600.0).estimate == NOW
    first_day = datetime(1, 1, 1, tzinfo=UTC)
    assert judge(first_day, NOW, gap=None, live_skew_s=1e9).estimate is None


def test_skew_is_positive_when_the_charger_is_ahead() -> None:  # F01
    assert skew_s(NOW + timedelta(minutes=2), NOW) == 120.0
    assert skew_s(NOW - timedelta(minutes=2), NOW) == -120.0


MOMENTS = st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2060, 1, 1)).map(  # noqa: DTZ001
    lambda moment: moment.replace(tzinfo=UTC)
)


@PATIENT
@given(MOMENTS | st.none(), MOMENTS, MOMENTS | st.none(), MOMENTS, st.floats(-1e9, 1e9) | st.none())
def test_what_counts_is_the_claim_or_our_own_time_and_the_far_future_never(
    claimed: datetime | None, received_at: datetime, since: datetime | None, until: datetime, live_skew_s: float | None
) -> None:
    judged = judge(claimed, received_at, gap=Gap(since=since, until=until), live_skew_s=live_skew_s)
    assert judged.at == (received_at if judged.skewed else claimed)
    assert judged.skewed is judged.rule.value.startswith("server")
    assert judged.at <= received_at + SKEW_LIMIT


# ---- our own hosts ---------------------------------------------------------------------------------------------------

HOUR = timedelta(hours=1)
HOSTS = {  # by how much each is wrong: the gateway, Redis, the worker that reads; and how wrong the answer is
    "all are right": (0, 0, 0, 0),
    "a gateway ahead": (2, 0, 0, 0),
    "a gateway behind": (-2, 0, 0, 0),
    "a worker ahead": (0, 0, 2, 0),
    "a worker behind": (0, 0, -2, 0),
    "Redis ahead": (0, 2, 0, 0),
    "Redis behind": (0, -2, 0, 0),
    "nobody agrees": (2, 0, -2, 2),
}


@pytest.mark.parametrize("name", HOSTS)
def test_of_three_hosts_two_that_agree_overrule_a_gateway(name: str) -> None:
    gateway, redis, worker, wrong = HOSTS[name]
    assert received(NOW + gateway * HOUR, NOW + redis * HOUR, NOW + worker * HOUR) == NOW + wrong * HOUR


def test_a_message_that_waited_for_a_worker_keeps_its_gateways_word() -> None:
    assert received(NOW, NOW + timedelta(seconds=1), NOW + 5 * HOUR) == NOW


# ---- ends -----------------------------------------------------------------------------------------------------------


def test_end_after_its_start_stays_as_judged() -> None:
    end = judge(NOW, NOW, gap=None, live_skew_s=None)
    assert end_not_before(NOW - timedelta(hours=1), end) is end
    assert end_not_before(NOW, end) is end


def test_end_before_its_start_is_moved_to_it_and_flagged() -> None:  # T2
    end = judge(NOW - timedelta(minutes=5), NOW, gap=None, live_skew_s=None)
    moved = end_not_before(NOW, end)
    assert (moved.at, moved.skewed, moved.claimed) == (NOW, True, NOW - timedelta(minutes=5))


@PATIENT
@given(MOMENTS, MOMENTS | st.none(), MOMENTS)
def test_no_session_has_a_negative_duration(  # E11
    start: datetime, claimed: datetime | None, received_at: datetime
) -> None:
    end = judge(claimed, received_at, gap=None, live_skew_s=None)
    assert end_not_before(start, end).at >= start
