"""A list is told in as few messages as a station takes, and each night once."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csms.commands import ListedToken, Outcome
from csms.events import AuthorizationReply, AuthorizationStatus
from csms.local_list.night import SPREAD_S, next_night
from csms.local_list.plan import NEWEST_VERSION, Limits, applied, digest, key_of, plan
from tests.csms.core_story import NOON
from tests.csms.local_list_story import GOOD, Box, listed, shape

LIMITED = AuthorizationReply(status=AuthorizationStatus.ACCEPTED, group_id="FAMILY", expires_at=NOON)

entry = st.builds(
    ListedToken, id_token=st.sampled_from([*"abcdefghijkl"]), authorization=st.sampled_from([GOOD, LIMITED])
)
rolls = st.lists(entry, max_size=12, unique_by=lambda one: one.id_token.casefold())
whole = st.builds(Limits, list_length=st.integers(0, 13), message_length=st.integers(1, 13))


@given(rolls=st.lists(rolls, min_size=1, max_size=5), limits=whole, forgets=st.integers(0, 5), above=st.integers(0, 9))
def test_the_station_holds_what_is_wanted_whatever_its_limits(
    rolls: list[list[ListedToken]], limits: Limits, forgets: int, above: int
) -> None:  # X06
    box = Box(limits)
    held: dict[str, str] | None = {}
    if above:  # somebody else's list
        box.version, box.entries, held = above, {"z": listed("z")[0]} if limits.list_length else {}, None
    for number, wanted in enumerate(rolls):
        if number == forgets:
            box.version, box.entries, held = 0, {}, {}
        for message in plan("CP1", box.version, held, wanted, limits):
            assert box.take(message) is Outcome.ACCEPTED
            held = applied(held or {}, message)
        assert {key: digest(told) for key, told in box.entries.items()} == held
        assert set(box.entries) == {one.id_token.casefold() for one in wanted[: limits.list_length]}
        assert plan("CP1", box.version, held, wanted, limits) == []


TWO = Limits(list_length=10, message_length=2)
HELD = {key_of(one.id_token): digest(one) for one in listed("a", "b", "c")}
PLANS: list[tuple[int, dict[str, str] | None, list[ListedToken], list[tuple[int, bool, list[str]]]]] = [
    (0, {}, [], []),
    (0, {}, listed("a"), [(1, True, ["a"])]),
    (0, {}, listed("a", "b", "c"), [(1, True, ["a", "b"]), (2, False, ["c"])]),
    (7, None, listed("a"), [(8, True, ["a"])]),  # another's list
    (7, None, [], [(8, True, [])]),
    (7, HELD, listed("c", "b", "a"), []),  # in another order
    (7, HELD, listed("A", "b", "c"), [(8, False, ["A"])]),  # the same card, written otherwise
    (7, HELD, listed("a", "b", "d"), [(8, False, ["c", "d"])]),  # off before on
    (
        7,
        HELD,
        listed("d", "e", "f"),
        [(8, True, ["d", "e"]), (9, False, ["f"])],
    ),  # six changes are more than three cards
    (7, HELD, [], [(8, True, [])]),
    (7, HELD, listed("a", "b") + listed("c", authorization=LIMITED), [(8, False, ["c"])]),
    (NEWEST_VERSION, HELD, listed("a"), [(1, True, ["a"])]),
]


@pytest.mark.parametrize(("version", "held", "wanted", "expected"), PLANS)
def test_it_is_told_as_briefly_as_can_be(version: int, held: Any, wanted: Any, expected: Any) -> None:  # D04
    assert shape(plan("CP1", version, held, wanted, TWO)) == expected


def test_a_list_that_is_cut_keeps_whom_it_knows_best() -> None:  # X06
    [only] = plan("CP1", 0, {}, listed("a", "b", "c"), Limits(list_length=2, message_length=9))
    assert [one.id_token for one in only.entries] == ["a", "b"]


# ---- the night ------------------------------------------------------------------------------------------------------

NIGHTS = [
    ("Europe/Brussels", "2026-06-01T12:00", "2026-06-02T01:00"),
    ("Europe/Brussels", "2026-12-01T12:00", "2026-12-02T02:00"),
    ("Europe/Brussels", "2026-03-28T12:00", "2026-03-29T01:00"),  # the clocks jumped from two to three
    ("Europe/Brussels", "2026-10-24T12:00", "2026-10-25T02:00"),
    ("America/New_York", "2026-06-01T12:00", "2026-06-02T07:00"),
    ("Pacific/Kiritimati", "2026-06-01T12:00", "2026-06-01T13:00"),
    ("Asia/Kolkata", "2026-06-01T12:00", "2026-06-01T21:30"),
    ("No/Where", "2026-06-01T12:00", "2026-06-02T03:00"),
    (None, "2026-06-01T02:00", "2026-06-01T03:00"),
]


@pytest.mark.parametrize(("zone", "now", "night"), NIGHTS)
def test_it_is_told_at_three_on_its_own_site(zone: str | None, now: str, night: str) -> None:  # D04
    at, three = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (now, night))
    for station_id in ("CP1", "CP2", "another"):
        found = next_night(station_id, zone, at)
        assert timedelta(0) <= found - three < timedelta(seconds=SPREAD_S)
        assert next_night(station_id, zone, at + timedelta(minutes=1)) == found
    assert len({next_night(f"CP{number}", zone, at) for number in range(50)}) > 40


def test_each_day_of_a_year_has_one_night() -> None:  # D04
    for zone in ("Europe/Brussels", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Beirut"):
        at, nights = datetime(2026, 1, 1, 12, tzinfo=UTC), []
        while at < datetime(2027, 1, 1, 12, tzinfo=UTC):
            at = next_night("CP1", zone, at)
            nights.append(at.astimezone(ZoneInfo(zone)).date())
        assert len(nights) == len(set(nights)) in (365, 366)
