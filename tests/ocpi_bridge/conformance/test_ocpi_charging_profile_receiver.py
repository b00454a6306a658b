"""Charging profiles are read whole and answered at once, over HTTP."""

from typing import Any
from urllib.parse import quote

import httpx
import pytest

PROFILE = "/cpo/2.2.1/chargingprofiles/Session-1"
URL = "https://www.msp.com/ocpi/2.2.1/chargingprofile/response?request_id=5678"
RAW = "https://emsp.example/results/1?a=b&c=d"
SHAPE: dict[str, Any] = {
    "start_date_time": "2026-03-04T12:00:00Z",
    "duration": 900,
    "charging_rate_unit": "W",
    "min_charging_rate": 4140.5,
    "charging_profile_period": [{"start_period": 0, "limit": 11000}, {"start_period": 300, "limit": 8.1}],
}


def asked(world: Any) -> Any:
    """(what, data, options) of the only call."""
    ((verb, module, data, options),) = world.crud.calls
    assert (verb, module) == ("do", "chargingprofiles")
    return data, options["session_id"], options["response_url"]


def refused_fields(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    assert answer.json()["status_code"] == 2001
    return [error["field"] for error in answer.json()["data"]["errors"]]


def test_charging_profile_of_the_specification_refused(partner: httpx.Client, world: Any) -> None:  # CP-01, CP-04
    answer = partner.put(f"{PROFILE}/", json={"charging_profile": SHAPE, "response_url": URL})
    assert answer.json()["data"] == {"result": "ACCEPTED", "timeout": 30}
    data, session, url = asked(world)
    assert (session, url) == ("Session-1", URL)
    assert {name: value for name, value in data.items() if value is not None} == SHAPE


@pytest.mark.parametrize("optional", ["start_date_time", "duration", "min_charging_rate"])
def test_what_is_optional_may_be_missing_or_null(partner: httpx.Client, world: Any, optional: str) -> None:  # CP-09
    for shape in ({**SHAPE, optional: None}, {k: v for k, v in SHAPE.items() if k != optional}):
        answer = partner.put(PROFILE, json={"charging_profile": shape, "response_url": URL})
        assert answer.json()["status_code"] == 1000


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"charging_rate_unit": "kW"}, "charging_profile.charging_rate_unit"),
        ({"charging_rate_unit": None}, "charging_profile.charging_rate_unit"),
        ({"duration": 0}, "charging_profile.duration"),
        ({"duration": "900"}, "charging_profile.duration"),
        ({"start_date_time": "soon"}, "charging_profile.start_date_time"),
        ({"min_charging_rate": -1}, "charging_profile.min_charging_rate"),
        ({"min_charging_rate": 1e300}, "charging_profile.min_charging_rate"),
        ({"duration": 10**30}, "charging_profile.duration"),
        (
            {"charging_profile_period": [{"start_period": 10**30, "limit": 1}]},
            "charging_profile.charging_profile_period.0.start_period",
        ),
        (
            {"charging_profile_period": [{"start_period": 0, "limit": 1e300}]},
            "charging_profile.charging_profile_period.0.limit",
        ),
        ({"charging_profile_period": {}}, "charging_profile.charging_profile_period"),
        (
            {"charging_profile_period": [{"start_period": -1, "limit": 1}]},
            "charging_profile.charging_profile_period.0.start_period",
        ),
        ({"charging_profile_period": [{"start_period": 0}]}, "charging_profile.charging_profile_period.0.limit"),
    ],
)
def test_a_profile_that_cannot_be_read_is_2001(
    partner: httpx.Client, world: Any, change: dict[str, Any], field: str
) -> None:  # CP-01, TR-29
    answer = partner.put(PROFILE, json={"charging_profile": SHAPE | change, "response_url": URL})
    assert refused_fields(answer) == [field]
    assert world.crud.calls == []


def test_more_periods_than_any_charger_takes_are_too_large(partner: httpx.Client, world: Any) -> None:  # CP-01
    crowded = SHAPE | {"charging_profile_period": [{"start_period": n, "limit": 1} for n in range(1001)]}
    answer = partner.put(PROFILE, json={"charging_profile": crowded, "response_url": URL})
    assert (answer.status_code, answer.json()["status_code"]) == (413, 2000)
    assert world.crud.calls == []


@pytest.mark.parametrize("body", [{}, {"charging_profile": SHAPE}, {"response_url": URL}, [], None])
def test_a_body_without_its_parts_is_2001(partner: httpx.Client, world: Any, body: Any) -> None:  # CP-01
    answer = partner.put(PROFILE, json=body)
    assert answer.json()["status_code"] == 2001
    assert world.crud.calls == []


@pytest.mark.parametrize("url", ["not a url", "ftp://emsp.example/", "https://"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_result_can_only_go_to_a_url(partner: httpx.Client, world: Any, method: str, url: str) -> None:  # TY-12
    body = {"charging_profile": SHAPE, "response_url": url} if method == "PUT" else None
    query = "" if method == "PUT" else f"?duration=900&response_url={quote(url, safe='')}"
    assert refused_fields(partner.request(method, f"{PROFILE}{query}", json=body)) == ["response_url"]
    assert world.crud.calls == []


@pytest.mark.parametrize(
    ("query", "url"),
    [
        (f"duration=900&response_url={URL}", URL),  # the specification's own example
        (f"duration=900&response_url={quote(URL, safe='')}", URL),
        (f"response_url={quote(URL, safe='')}&duration=900", URL),
        (f"duration=900&response_url={RAW}", RAW),  # all the rest of the query
        (f"response_url={RAW}&duration=900", RAW),
        (f"duration=900&response_url={quote(RAW, safe='')}", RAW),
        ("duration=900&response_url=https://emsp.example/?duration=5", "https://emsp.example/?duration=5"),
        ("duration=900&response_url=https://emsp.example/?a=b%26c", "https://emsp.example/?a=b%26c"),
        (
            f"duration=900&response_url={quote('https://emsp.example/?a=b%26c', safe='')}",
            "https://emsp.example/?a=b%26c",
        ),
    ],
)
def test_a_response_url_in_a_query_is_read_encoded_and_raw(
    partner: httpx.Client, world: Any, query: str, url: str
) -> None:  # CP-02, CP-03
    answer = partner.get(f"{PROFILE}?{query}")
    assert answer.json()["data"] == {"result": "ACCEPTED", "timeout": 30}, answer.text
    assert asked(world) == ({"duration": 900}, "Session-1", url)


@pytest.mark.parametrize(("query", "url"), [(URL, URL), (quote(URL, safe=""), URL), (RAW, RAW)])
def test_a_profile_is_cleared_by_its_session(partner: httpx.Client, world: Any, query: str, url: str) -> None:
    # CP-02, CP-03
    assert partner.delete(f"{PROFILE}?response_url={query}").json()["status_code"] == 1000
    assert asked(world) == ({}, "Session-1", url)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (f"response_url={URL}", "duration"),
        (f"duration=0&response_url={URL}", "duration"),
        (f"duration=x&response_url={URL}", "duration"),
        ("duration=900", "response_url"),
    ],
)
def test_a_question_names_its_length_and_where_to_answer(
    partner: httpx.Client, world: Any, query: str, field: str
) -> None:  # CP-02
    assert refused_fields(partner.get(f"{PROFILE}?{query}")) == [field]
    assert world.crud.calls == []


@pytest.mark.parametrize("result", ["REJECTED", "NOT_SUPPORTED", "TOO_OFTEN", "UNKNOWN_SESSION"])
def test_the_direct_answer_is_what_crud_says(partner: httpx.Client, world: Any, result: str) -> None:  # CP-04
    world.crud.command_response = {"result": result, "timeout": 0}
    answer = partner.delete(f"{PROFILE}?response_url={URL}")
    assert (answer.status_code, answer.json()["status_code"]) == (200, 1000)
    assert answer.json()["data"] == {"result": result, "timeout": 0}
