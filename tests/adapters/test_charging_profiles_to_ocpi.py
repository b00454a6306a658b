"""A charging profile between a partner's words and ours."""

from datetime import timedelta
from decimal import Decimal

import pytest

from adapters.charging_profiles import active_profile, profile_from_ocpi, profile_response, profile_result
from adapters.datatypes import Unreadable
from csms.commands import Outcome
from csms.smart_charging.profile import ProfileKind, ProfilePurpose, RateUnit
from tests.adapters.field_tables import problems
from tests.adapters.rows import NOON

SENT = {
    "charging_rate_unit": "A",
    "charging_profile_period": [{"start_period": 0, "limit": 16.05}, {"start_period": 600, "limit": 6}],
}


def test_without_a_start_it_counts_from_the_start_of_charging():  # CP-09
    profile = profile_from_ocpi(SENT)

    assert (profile.purpose, profile.kind) == (ProfilePurpose.TX, ProfileKind.RELATIVE)
    schedule = profile.schedule
    assert (schedule.unit, schedule.starts_at, schedule.duration_s) == (RateUnit.AMPERE, None, None)
    assert [(period.start_s, period.limit, period.phases) for period in schedule.periods] == [
        (0, Decimal("16.0"), None),  # cut, never raised: it is a maximum
        (600, Decimal(6), None),
    ]


def test_with_a_start_it_is_absolute():  # CP-09
    profile = profile_from_ocpi(
        SENT | {"start_date_time": "2026-03-04T13:00:00+01:00", "duration": 900, "charging_rate_unit": "W"}
    )

    assert profile.kind is ProfileKind.ABSOLUTE
    assert (profile.schedule.starts_at, profile.schedule.duration_s) == (NOON, 900)
    assert profile.schedule.unit is RateUnit.WATT


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"charging_rate_unit": "kW"}, "charging_rate_unit"),
        ({"charging_profile_period": [{"start_period": 0, "limit": -1}]}, "limit"),
        ({"start_date_time": "soon"}, "start_date_time"),
        ({"min_charging_rate": "much"}, "min_charging_rate"),
    ],
)
def test_what_cannot_be_read_is_named(change, field):
    with pytest.raises(Unreadable) as unreadable:
        profile_from_ocpi(SENT | change)
    assert unreadable.value.field == field


def test_an_active_profile_is_as_the_field_tables_say():  # CP-05, CP-07, CP-09
    limits = [(0, Decimal("8.19")), (300, None), (600, Decimal(40)), (900, Decimal(0))]

    shown = active_profile(NOON, RateUnit.AMPERE, limits, duration_s=3600, maximum=Decimal(32))

    assert problems(shown, "ActiveChargingProfile") == []
    assert shown == {
        "start_date_time": "2026-03-04T12:00:00Z",
        "charging_profile": {
            "start_date_time": "2026-03-04T12:00:00Z",
            "duration": 3600,
            "charging_rate_unit": "A",
            "charging_profile_period": [
                {"start_period": 0, "limit": Decimal("8.1")},
                {"start_period": 300, "limit": Decimal(32)},  # nothing but the EVSE limits, then more than it can
                {"start_period": 900, "limit": Decimal(0)},
            ],
        },
    }


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_has_one_of_three_results(outcome):  # CP-05
    result = profile_result(outcome)
    expected = {Outcome.ACCEPTED: "ACCEPTED", Outcome.NOT_FOUND: "UNKNOWN"}.get(outcome, "REJECTED")
    assert result == {"result": expected}
    for kind in ("ChargingProfileResult", "ClearProfileResult", "ActiveChargingProfileResult"):
        assert problems(result, kind) == []


def test_only_a_question_is_answered_with_a_profile():  # CP-05
    shown = active_profile(
        NOON + timedelta(hours=1), RateUnit.WATT, [(0, None)], duration_s=None, maximum=Decimal(22080)
    )
    result = profile_result(Outcome.ACCEPTED, shown)
    assert problems(result, "ActiveChargingProfileResult") == []
    assert result["profile"]["charging_profile"]["charging_profile_period"] == [
        {"start_period": 0, "limit": Decimal(22080)}
    ]


def test_a_response_says_when_the_result_comes():  # CP-04
    assert problems(profile_response("ACCEPTED", timeout_s=40), "ChargingProfileResponse") == []
    assert profile_response("TOO_OFTEN") == {"result": "TOO_OFTEN", "timeout": 0}
