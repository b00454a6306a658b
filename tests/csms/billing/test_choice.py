"""With which tariff a session begins: a table of who pays, when, and for what."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from csms.billing.choice import OPERATOR, Payer, Told, begin_with, covers, is_for, kinds_of, offered, phase

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
TNM = Payer(name="The New Motion", parties=frozenset({"DE*TNM", "NL*TNM"}))
OTHER = Payer(name="Other", parties=frozenset({"FR*OTH"}))
NAMELESS = Payer(name="")  # a partner's card, and nobody knows the partner any more


def tariff(type_: str | None = None, *, id: int = 0, **details: Any) -> Any:
    return SimpleNamespace(id=id, type=type_, details=details)


@pytest.mark.parametrize(
    ("partners", "seen_by"),
    [
        (None, [OPERATOR, TNM, OTHER, NAMELESS]),
        ([], [OPERATOR]),
        (["The New Motion"], [TNM]),
        (["the new motion"], [TNM]),
        (["DE*TNM"], [TNM]),
        (["nl*tnm"], [TNM]),
        (["BE*TNM"], []),
        (["DE*TNM", "Other"], [TNM, OTHER]),
        ([""], [NAMELESS]),
    ],
)
def test_a_tariff_is_for_everybody_or_for_whom_it_names(partners: Any, seen_by: list[Payer]) -> None:  # TA-06
    one = tariff() if partners is None else tariff(partners=partners)
    assert [payer for payer in (OPERATOR, TNM, OTHER, NAMELESS) if is_for(one, payer)] == seen_by


@pytest.mark.parametrize(
    ("dates", "at", "is_"),
    [
        ({}, NOON, None),
        ({"start_date_time": "2026-06-01T12:00:00Z"}, NOON, Told.IN_FORCE),
        ({"start_date_time": "2026-06-01T12:00:01Z"}, NOON, Told.AWAITED),
        ({"start_date_time": "2026-06-01T14:00:00+02:00"}, NOON, Told.IN_FORCE),
        ({"end_date_time": "2026-06-01T12:00:00Z"}, NOON, Told.OVER),
        ({"end_date_time": "2026-06-01T12:00:00Z"}, NOON - timedelta(microseconds=1), Told.IN_FORCE),
        (
            {"start_date_time": "2026-05-01T00:00:00Z", "end_date_time": "2026-06-01T00:00:00Z"},
            NOON - timedelta(days=10),
            Told.IN_FORCE,
        ),
    ],
)
def test_a_tariff_is_in_force_from_its_first_moment_until_before_its_last(  # TA-17
    dates: dict[str, str], at: datetime, is_: Told | None
) -> None:
    assert phase(tariff(**dates), at) == is_


@pytest.mark.parametrize(
    ("owner_id", "type_", "wish", "kinds"),
    [
        (7, "RFID", None, ("REGULAR",)),
        (7, "APP_USER", "REGULAR", ("REGULAR",)),
        (7, "RFID", "GREEN", ("PROFILE_GREEN", "REGULAR")),
        (0, "RFID", "FAST", ("PROFILE_FAST", "REGULAR")),
        (0, "AD_HOC_USER", None, ("AD_HOC_PAYMENT",)),
        (7, "AD_HOC_USER", None, ("REGULAR",)),  # its partner pays, by contract
    ],
)
def test_of_what_kind_a_session_is(
    owner_id: int, type_: str, wish: str | None, kinds: tuple[str, ...]
) -> None:  # TA-12
    details = {} if wish is None else {"default_profile_type": wish}
    assert kinds_of(SimpleNamespace(owner_id=owner_id, type=type_, details=details)) == kinds
    assert kinds_of(None) == ("REGULAR",)


FOR_TNM = tariff("REGULAR", id=1, partners=["DE*TNM"])
FOR_ALL = tariff(None, id=2)
REGULAR = tariff("REGULAR", id=3)
AD_HOC = tariff("AD_HOC_PAYMENT", id=4)
GREEN = tariff("PROFILE_GREEN", id=5)
OWN_ONLY = tariff("REGULAR", id=6, partners=[])
OLD = tariff("REGULAR", id=7, end_date_time="2026-06-01T12:00:00Z")
NEW = tariff("REGULAR", id=8, start_date_time="2026-06-01T12:00:00Z")
BY_CARD, AT_THE_SPOT, BY_GREEN = ("REGULAR",), ("AD_HOC_PAYMENT",), ("PROFILE_GREEN", "REGULAR")


@pytest.mark.parametrize(
    ("offered", "payer", "kinds", "at", "chosen"),
    [
        ([], TNM, BY_CARD, NOON, None),
        ([FOR_TNM, REGULAR], TNM, BY_CARD, NOON, 1),
        ([FOR_TNM, REGULAR], OTHER, BY_CARD, NOON, 3),
        ([FOR_TNM, REGULAR], OPERATOR, BY_CARD, NOON, 3),
        ([REGULAR, FOR_TNM], TNM, BY_CARD, NOON, 3),  # the connector's order decides
        ([FOR_TNM], OTHER, BY_CARD, NOON, None),
        ([FOR_TNM], OPERATOR, BY_CARD, NOON, None),
        ([OWN_ONLY, REGULAR], TNM, BY_CARD, NOON, 3),
        ([OWN_ONLY, REGULAR], OPERATOR, BY_CARD, NOON, 6),
        ([AD_HOC, FOR_ALL], OPERATOR, BY_CARD, NOON, 2),
        ([FOR_ALL, AD_HOC], OPERATOR, AT_THE_SPOT, NOON, 2),
        ([REGULAR, AD_HOC], OPERATOR, AT_THE_SPOT, NOON, 4),
        ([REGULAR], OPERATOR, AT_THE_SPOT, NOON, None),
        ([REGULAR, GREEN], TNM, BY_GREEN, NOON, 5),
        ([REGULAR], TNM, BY_GREEN, NOON, 3),
        ([GREEN], TNM, BY_CARD, NOON, None),
        ([OLD, NEW], TNM, BY_CARD, NOON - timedelta(seconds=1), 7),
        ([OLD, NEW], TNM, BY_CARD, NOON, 8),
        ([OLD], TNM, BY_CARD, NOON, None),
    ],
)
def test_the_first_that_is_in_force_for_who_pays_and_of_the_kind(  # TA-06, TA-12, TA-17
    offered: list[Any], payer: Payer, kinds: tuple[str, ...], at: datetime, chosen: int | None
) -> None:
    found = begin_with(offered, payer, kinds, at)
    assert (found.id if found is not None else None) == chosen


UNTIL_MAY = tariff("REGULAR", id=9, end_date_time="2026-05-01T00:00:00Z")
FROM_MAY = tariff("REGULAR", id=10, start_date_time="2026-05-01T00:00:00Z")


@pytest.mark.parametrize(
    ("named", "shown"),
    [
        ([], []),
        ([OLD, NEW], [7, 8]),  # one after the other (TA-17)
        ([UNTIL_MAY, FROM_MAY, NEW], [9, 10]),  # the new one would begin while the last still is
        ([FOR_TNM, REGULAR], [1]),  # who pays by contract never pays the public price there
        ([REGULAR, AD_HOC, GREEN], [3, 4, 5]),
        ([FOR_ALL, REGULAR, AD_HOC, GREEN], [2]),  # of all kinds, and always
        ([REGULAR, FOR_ALL], [3, 2]),
        ([GREEN, GREEN], [5]),
    ],
)
def test_of_each_kind_one_tariff_is_shown_at_a_time(named: list[Any], shown: list[int]) -> None:  # LO-49, LO-50
    assert [one.id for one in offered(named)] == shown


@pytest.mark.parametrize(
    ("first", "later", "is_"),
    [
        (None, None, True),
        (None, [], True),
        (None, ["A"], True),
        (["A"], None, False),
        ([], None, False),
        ([], [], True),
        ([], ["A"], False),
        (["A"], [], False),
        (["A", "b"], ["B"], True),
        (["A"], ["A", "B"], False),
    ],
)
def test_a_tariff_covers_another_when_it_is_for_all_of_its_payers(first: Any, later: Any, is_: bool) -> None:  # LO-49
    tariffs = [tariff() if partners is None else tariff(partners=partners) for partners in (first, later)]
    assert covers(*tariffs) is is_
