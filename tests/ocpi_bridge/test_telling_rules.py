"""What is sent about an object, and what an answer means for the next attempt."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from ocpi_bridge.emsp_client import Delivery, Reply
from ocpi_bridge.telling import (
    CDR_ATTEMPTS,
    PATIENCE,
    Fate,
    Verb,
    about_cdr,
    about_evse,
    about_location,
    about_session,
    about_session_211,
    exact,
    judge,
    retry_at,
    storable,
    summary,
)
from tests.adapters import field_tables
from tests.adapters.rows import NOON

EVSE: dict[str, Any] = {"uid": "E1", "status": "AVAILABLE", "connectors": [], "last_updated": "2026-03-04T12:00:00Z"}
LOCATION: dict[str, Any] = {
    "country_code": "BE",
    "party_id": "BEC",
    "id": "LOC1",
    "evses": [EVSE, EVSE | {"uid": "E2"}],
    "last_updated": "2026-03-04T12:00:00Z",
}
SESSION: dict[str, Any] = {
    "id": "S",
    "kwh": Decimal("1.5"),
    "status": "ACTIVE",
    "charging_periods": [{"start_date_time": "a"}],
    "last_updated": "2026-03-04T12:00:00Z",
}
LATER = "2026-03-04T12:05:00Z"


def test_a_body_survives_the_row_it_is_kept_in() -> None:  # TY-08, PU-15
    body = {"kwh": Decimal("12.3457"), "whole": Decimal("5"), "small": Decimal("0.0001"), "n": 3, "text": "1.50"}
    kept = storable(body)
    assert isinstance(kept["kwh"], float)
    assert exact(kept) == exact(body)
    assert exact(body)["kwh"] == Decimal("12.3457")
    assert storable(None) is None


def test_what_is_known_is_not_told_again() -> None:  # PU-15
    assert about_location(LOCATION, LOCATION) is None
    assert about_session(SESSION, SESSION) is None
    assert about_cdr({"id": "C"}, {"id": "C"}) is None


def test_a_session_is_put_until_confirmed_then_patched_by_its_difference() -> None:  # decision 5, SE-25, SE-05
    first = about_session(SESSION, None)
    assert first is not None
    assert (first.verb, first.body) == (Verb.PUT, SESSION)
    more = SESSION | {"kwh": Decimal("2.5"), "last_updated": LATER}
    more["charging_periods"] = [{"start_date_time": "a"}, {"start_date_time": "b"}]
    message = about_session(more, SESSION)
    assert message is not None
    assert (message.verb, message.path, message.state) == (Verb.PATCH, ("S",), more)
    assert message.body == {
        "kwh": Decimal("2.5"),
        "charging_periods": [{"start_date_time": "b"}],
        "last_updated": LATER,
    }


def test_a_session_that_lost_a_field_is_put() -> None:  # PU-06
    message = about_session({"id": "S", "last_updated": LATER}, SESSION)
    assert message is not None
    assert message.verb is Verb.PUT


def test_nothing_follows_the_end_of_a_session() -> None:  # SE-11
    assert about_session(SESSION | {"kwh": Decimal(9)}, SESSION | {"status": "COMPLETED"}) is None


def test_a_status_is_a_patch_of_the_evse_with_its_time() -> None:  # LO-07, LO-04
    message = about_evse(EVSE | {"status": "CHARGING", "last_updated": LATER}, LOCATION)
    assert message is not None
    assert (message.verb, message.path) == (Verb.PATCH, ("LOC1", "E1"))
    assert message.body == {"status": "CHARGING", "last_updated": LATER}
    assert message.state is not None
    assert message.state["last_updated"] == LATER
    assert [evse["status"] for evse in message.state["evses"]] == ["CHARGING", "AVAILABLE"]
    assert LOCATION["evses"][0]["status"] == "AVAILABLE"


@pytest.mark.parametrize("current", [EVSE | {"uid": "E9"}, EVSE | {"evse_id": "BE*BEC*E1", "status": "CHARGING"}])
def test_an_evse_that_differs_in_more_needs_its_location(current: dict[str, Any]) -> None:
    with pytest.raises(KeyError):
        about_evse(current, LOCATION)


# module, verb, answer, attempts before -> fate, doubt
JUDGED = [
    ("sessions", Verb.PUT, Delivery.CONFIRMED, 3, Fate.TOLD, False),
    ("sessions", Verb.PUT, Delivery.REFUSED, 0, Fate.STOPPED, True),  # PU-17
    ("sessions", Verb.PUT, Delivery.UNSURE, 0, Fate.AGAIN, True),  # PU-17
    ("sessions", Verb.PUT, Delivery.UNREACHABLE, 50, Fate.AGAIN, False),  # nothing left us
    ("sessions", Verb.PUT, Delivery.HUB, 0, Fate.STOPPED, False),  # RT-14
    ("sessions", Verb.PUT, Delivery.NOT_FOUND, 0, Fate.AGAIN, True),
    ("sessions", Verb.PUT, Delivery.NOT_FOUND, PATIENCE - 1, Fate.STOPPED, True),
    ("sessions", Verb.PATCH, Delivery.NOT_FOUND, 0, Fate.NOW, True),  # PU-07
    ("sessions", Verb.PATCH, Delivery.REFUSED, 0, Fate.NOW, True),
    ("sessions", Verb.PATCH, Delivery.UNSURE, 0, Fate.AGAIN, True),  # SE-07
    ("sessions", Verb.PATCH, Delivery.UNREACHABLE, 0, Fate.AGAIN, False),
    ("tariffs", Verb.DELETE, Delivery.NOT_FOUND, 0, Fate.TOLD, False),
    ("cdrs", Verb.POST, Delivery.UNSURE, CDR_ATTEMPTS - 2, Fate.AGAIN, True),  # PU-11
    ("cdrs", Verb.POST, Delivery.UNSURE, CDR_ATTEMPTS - 1, Fate.STOPPED, True),  # PU-11
    ("cdrs", Verb.POST, Delivery.UNREACHABLE, CDR_ATTEMPTS + 9, Fate.AGAIN, False),
    ("cdrs", Verb.POST, Delivery.REFUSED, 0, Fate.STOPPED, True),  # CD-33
]


@pytest.mark.parametrize(("module", "verb", "answer", "attempts", "fate", "doubt"), JUDGED)
def test_what_an_answer_means(
    module: str, verb: Verb, answer: Delivery, attempts: int, fate: Fate, doubt: bool
) -> None:
    verdict = judge(module, verb, answer, attempts)
    assert (verdict.fate, verdict.doubt) == (fate, doubt)


def test_every_answer_to_every_verb_has_a_meaning() -> None:
    for verb in Verb:
        for answer in Delivery:
            assert judge("sessions", verb, answer, 0).fate in Fate


def test_attempts_are_spread_from_a_second_to_a_quarter_of_an_hour() -> None:
    waits = [retry_at(NOON, attempts, 0.5) - NOON for attempts in range(1, 13)]
    assert waits[:4] == [timedelta(seconds=seconds) for seconds in (1, 2, 4, 8)]
    assert waits[-1] == timedelta(minutes=15)
    assert retry_at(NOON, 10_000, 1.0) - NOON == timedelta(minutes=18)
    assert retry_at(NOON, 1, 0.0) - NOON == timedelta(seconds=0.8)


def test_what_is_kept_of_an_answer_holds_no_token() -> None:
    reply = Reply(
        delivery=Delivery.REFUSED,
        at=NOON,
        http_status=200,
        status_code=2001,
        status_message="unknown token secret or c2VjcmV0 in Token",
    )
    assert summary(reply, "secret") == "refused: HTTP 200 OCPI 2001 unknown token … or … in Token"


def test_in_211_new_periods_are_put_and_all_else_is_patched() -> None:  # V1-09
    period = {"start_date_time": "2026-03-04T12:00:00Z", "dimensions": []}
    known = {"id": "S", "kwh": 1, "status": "ACTIVE", "charging_periods": [period], "last_updated": "1"}
    grown = known | {"kwh": 2, "last_updated": "2"}
    longer = grown | {"charging_periods": [period, period]}

    patched, put = about_session_211(grown, known), about_session_211(longer, known)

    assert patched is not None
    assert (patched.verb, patched.body) == ("PATCH", {"kwh": 2, "last_updated": "2"})
    assert put is not None
    assert (put.verb, put.body) == ("PUT", longer)
    assert about_session_211(known, known) is None


@pytest.mark.parametrize("example", ["patch_evse_status", "patch_remove_evse"])
def test_the_patches_of_an_evse_in_211_are_those_of_the_examples(example: str) -> None:  # XT-04, LO-07
    location = field_tables.vector("locations__example", "2.1.1")
    evse = location["evses"][0]
    patch = field_tables.vector(f"locations__{example}", "2.1.1")

    message = about_evse(evse | patch | {"last_updated": "2015-06-29T21:00:00Z"}, location)

    assert message is not None
    assert message.body == patch | {"last_updated": "2015-06-29T21:00:00Z"}


PLACES = [  # version, the example, which part it changes
    ("2.2.1", "locations__patch_location", ()),
    ("2.2.1", "locations__patch_tariff", ("evses", "connectors")),
    ("2.2.1", "locations__patch_status", ("evses",)),
    ("2.2.1", "locations__patch_remove_evse", ("evses",)),
    ("2.1.1", "locations__patch_location_name", ()),
    ("2.1.1", "locations__patch_connector_tariff", ("evses", "connectors")),
]


def changed(whole: dict[str, Any], parts: tuple[str, ...], changes: dict[str, Any]) -> dict[str, Any]:
    """With `changes` in the first of its `parts`, and the times above it as they rise with them."""
    inner = changes
    if parts:
        first, *others = whole[parts[0]]
        inner = {parts[0]: [changed(first, parts[1:], changes), *others], "last_updated": changes["last_updated"]}
    return whole | inner


@pytest.mark.parametrize(("version", "example", "parts"), PLACES)
def test_what_changed_in_one_place_is_a_patch_there_as_in_the_examples(
    version: str, example: str, parts: tuple[str, ...]
) -> None:  # XT-04, LO-06, PU-05
    location = field_tables.vector("locations__example", version)
    patch = {"last_updated": "2026-03-04T12:05:00Z"} | field_tables.vector(example, version)
    patch["last_updated"] = "2026-03-04T12:05:00Z"
    current = changed(location, parts, patch)

    message = about_location(current, location)

    assert message is not None
    evse = location["evses"][0]
    ids = (location["id"], evse["uid"], evse["connectors"][0]["id"])[: len(parts) + 1]
    assert (message.verb, message.path, message.body, message.state) == (Verb.PATCH, ids, patch, current)


EVSES = LOCATION["evses"]
ELSEWHERE = [
    LOCATION | {"evses": [EVSE | {"status": "CHARGING"}, EVSES[1] | {"status": "CHARGING"}]},  # two places
    LOCATION | {"name": "N", "evses": [EVSE | {"status": "CHARGING"}, EVSES[1]]},
    LOCATION | {"evses": EVSES[:1]},  # a part is gone
    LOCATION | {"evses": [*EVSES, EVSE | {"uid": "E3"}]},  # or new
    LOCATION | {"evses": [EVSE | {"uid": "E9"}, EVSES[1]]},
    {name: value for name, value in LOCATION.items() if name != "party_id"},  # PU-06
    LOCATION
    | {"evses": [EVSE | {"status": "CHARGING"}, EVSES[1]], "last_updated": LATER},  # LO-04: it would be older there
]


@pytest.mark.parametrize("current", ELSEWHERE, ids=range(len(ELSEWHERE)))
def test_what_one_patch_cannot_say_is_put(current: dict[str, Any]) -> None:  # PU-04, PU-06
    message = about_location(current, LOCATION)
    assert message is not None
    assert (message.verb, message.body, message.state) == (Verb.PUT, current, current)


def test_the_patch_of_a_session_in_211_is_that_of_the_example() -> None:  # XT-04, V1-09
    session = field_tables.vector("sessions__simple_start", "2.1.1")
    patch = field_tables.vector("sessions__patch_total_cost", "2.1.1")

    message = about_session_211(session | patch | {"last_updated": "2015-06-29T23:00:00Z"}, session)

    assert message is not None
    assert (message.verb, message.body) == ("PATCH", patch | {"last_updated": "2015-06-29T23:00:00Z"})
