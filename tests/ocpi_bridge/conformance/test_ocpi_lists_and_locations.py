"""Lists page as OCPI says and objects are found by ids of any case and any characters, over HTTP."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import orjson
import pytest

CPO = "/cpo/2.2.1"


def many(count: int) -> list[dict[str, Any]]:
    return [{"id": f"LOC{number}"} for number in range(count)]


def filters_of(world: Any) -> dict[str, Any]:
    verb, _, filters, _ = world.crud.calls[-1]
    assert verb == "list"
    return dict(filters)


def refused_field(answer: httpx.Response) -> str:
    assert answer.status_code == 200
    body = answer.json()
    assert body["status_code"] == 2001
    (error,) = body["data"]["errors"]
    return str(error["field"])


def test_next_link_cannot_be_followed(partner: httpx.Client, world: Any) -> None:  # PG-05 to PG-09
    world.crud.objects["locations"] = many(7)
    url, seen, asked = f"{CPO}/locations?limit=3&date_from=2026-01-01T00:00:00.5Z&date_to=2027-01-01T00:00:00", [], []
    while url:
        answer = partner.get(url)
        seen += [each["id"] for each in answer.json()["data"]]
        asked.append(filters_of(world))
        assert answer.headers["x-total-count"] == "7"
        assert answer.headers["x-limit"] == "3"
        link = answer.headers.get("link")
        url = ""
        if link is not None:
            absolute, relation = link.split("; ")
            assert relation == 'rel="next"'
            assert absolute.startswith("<https://cpo.example/ocpi/cpo/2.2.1/locations?")
            assert " " not in absolute
            assert "+" not in absolute
            url = absolute[1:-1].removeprefix("https://cpo.example/ocpi")
    assert seen == [f"LOC{number}" for number in range(7)]
    assert [each["offset"] for each in asked] == [0, 3, 6]
    assert {each["limit"] for each in asked} == {3}
    assert {each["date_from"] for each in asked} == {datetime(2026, 1, 1, 0, 0, 0, 500_000, UTC)}
    assert {each["date_to"] for each in asked} == {datetime(2027, 1, 1, tzinfo=UTC)}


def test_link_carries_no_filter_that_was_not_asked_for(partner: httpx.Client, world: Any) -> None:  # PG-08
    world.crud.objects["tariffs"] = many(3)
    link = partner.get(f"{CPO}/tariffs/?limit=2").headers["link"]
    assert parse_qs(urlsplit(link[1 : link.index(">")]).query) == {"offset": ["2"], "limit": ["2"]}


def test_empty_link_on_the_last_page(partner: httpx.Client, world: Any) -> None:  # PG-07
    world.crud.objects["locations"] = many(3)
    for query in ("", "?limit=3", "?offset=2", "?offset=99"):
        assert "link" not in partner.get(f"{CPO}/locations{query}").headers


def test_limit_without_cap(partner: httpx.Client, world: Any) -> None:  # PG-04, PG-06
    world.crud.objects["locations"] = many(250)
    for query in ("", "?limit=100000", "?limit=" + "9" * 40):
        answer = partner.get(f"{CPO}/locations{query}")
        assert len(answer.json()["data"]) == 100
        assert answer.headers["x-limit"] == "100"
        assert "offset=100&limit=100" in answer.headers["link"]


def test_offset_beyond_the_end_is_an_empty_page(partner: httpx.Client, world: Any) -> None:  # PG-03
    world.crud.objects["locations"] = many(2)
    for offset in ("2", "99999", "9" * 30):
        answer = partner.get(f"{CPO}/locations?offset={offset}")
        assert answer.json()["data"] == []
        assert answer.headers["x-total-count"] == "2"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("limit", value) for value in ("0", "-1", "", "x", "1.5", "%2B5", "1e3", "%D9%A3")),
        *(("offset", value) for value in ("-5", "", "x", "1_0")),
    ],
)
def test_nonsense_paging_accepted(partner: httpx.Client, world: Any, field: str, value: str) -> None:  # PG-17
    assert refused_field(partner.get(f"{CPO}/locations?{field}={value}")) == field
    assert world.crud.calls == []


@pytest.mark.parametrize(
    "value", ["1735862400", "yesterday", "None", "", "2026-01-01", "2026-13-01T00:00:00Z", "20260101T000000Z"]
)
@pytest.mark.parametrize("field", ["date_from", "date_to"])
def test_epoch_accepted_as_date(partner: httpx.Client, world: Any, field: str, value: str) -> None:  # PG-17
    assert refused_field(partner.get(f"{CPO}/cdrs?{field}={value}")) == field
    assert world.crud.calls == []


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01T00:00:00",
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.000Z",
        "2026-01-01t00:00:00z",
        "2026-01-01T02:00:00%2B02:00",
        "2026-01-01T02:00:00+02:00",
        "2025-12-31T19:00:00-05:00",
    ],
)
def test_date_without_zone_is_naive(partner: httpx.Client, world: Any, text: str) -> None:  # TY-02, TY-03
    assert partner.get(f"{CPO}/locations?date_from={text}").json()["status_code"] == 1000
    given = filters_of(world)["date_from"]
    assert given == datetime(2026, 1, 1, tzinfo=UTC)
    assert given.tzinfo is UTC


def test_sessions_without_date_from(partner: httpx.Client, world: Any) -> None:  # SE-01
    assert refused_field(partner.get(f"{CPO}/sessions")) == "date_from"
    assert world.crud.calls == []
    assert partner.get(f"{CPO}/sessions?date_from=2026-01-01T00:00:00Z").json()["data"] == []


def test_single_object_in_a_list(partner: httpx.Client, world: Any, location: dict[str, Any]) -> None:  # TR-15, LO-01
    world.crud.objects["locations"] = [location]
    assert partner.get(f"{CPO}/locations/LOC1").json()["data"]["id"] == "LOC1"
    assert partner.get(f"{CPO}/locations/LOC1/DE*ABC*E1/").json()["data"]["status"] == "AVAILABLE"
    assert partner.get(f"{CPO}/locations/LOC1/DE*ABC*E1/1").json()["data"] == {"id": "1"}


def test_ids_are_found_in_any_case_and_answered_in_ours(
    partner: httpx.Client, world: Any, location: dict[str, Any]
) -> None:  # TY-04
    world.crud.objects["locations"] = [location]
    assert partner.get(f"{CPO}/locations/loc1/de*abc*e1").json()["data"]["uid"] == "DE*ABC*E1"
    assert partner.get(f"{CPO}/locations/loc1/de%2Aabc%2ae1/B%2f2").json()["data"] == {"id": "b/2"}


def test_encoded_slash_splits_an_id(partner: httpx.Client, world: Any) -> None:  # TR-36, XT-08
    for uid in ("A/B", "50% off", "a b", "x?y#z", "é"[:0] + "%2F", "//"):
        world.crud.objects["locations"] = [{"id": uid}]
        answer = partner.get(f"{CPO}/locations/" + "".join(f"%{byte:02X}" for byte in uid.encode()) + "/")
        assert answer.json()["data"] == {"id": uid}


@pytest.mark.parametrize("id", ["x" * 256, "%C3%A9", "%00", "%FF", "%ED%B0%AF"])
def test_an_id_that_cannot_exist_is_404(partner: httpx.Client, world: Any, id: str) -> None:  # LO-02
    answer = partner.get(f"{CPO}/locations/{id}")
    assert answer.status_code == 404
    assert answer.json()["status_code"] == 2000
    assert world.crud.calls == []


def test_unknown_parts_are_404(partner: httpx.Client, world: Any, location: dict[str, Any]) -> None:  # TR-20
    world.crud.objects["locations"] = [location, {"id": "BARE"}]
    for path in ("LOC2", "LOC1/x", "LOC1/DE*ABC*E1/9", "LOC2/DE*ABC*E1/1", "BARE/x"):
        answer = partner.get(f"{CPO}/locations/{path}")
        assert answer.status_code == 404
        assert answer.json()["status_code"] == 2003


def test_nulls_everywhere(partner: httpx.Client, world: Any, location: dict[str, Any]) -> None:  # TY-10
    world.crud.objects["locations"] = [location]
    assert b"null" in orjson.dumps(location)
    for path in ("", "/LOC1", "/LOC1/DE*ABC*E1", "/LOC1/DE*ABC*E1/1"):
        assert "null" not in partner.get(f"{CPO}/locations{path}").text


def test_money_as_binary_float(partner: httpx.Client, world: Any) -> None:  # TY-08
    money = Decimal("0.1") + Decimal("0.2")
    world.crud.objects["cdrs"] = [{"id": "1", "total": money, "tiny": Decimal("1E-4"), "big": Decimal("1E+3")}]
    text = partner.get(f"{CPO}/cdrs").text
    assert '"total":0.3,"tiny":0.0001,"big":1000}' in text


def test_times_leave_in_utc_with_z(partner: httpx.Client, world: Any) -> None:  # TY-01
    world.crud.objects["cdrs"] = [{"at": datetime(2026, 1, 1, 0, 0, 0, 123456, UTC)}]
    assert partner.get(f"{CPO}/cdrs").json()["data"] == [{"at": "2026-01-01T00:00:00.123Z"}]


class OnlyBytes:
    json_bytes = b'{"id":"LOC1","price":1.10,"evses":[{"uid":"E1","power":0.30}]}'


def test_objects_rendered_before_pass_as_they_are(partner: httpx.Client, world: Any) -> None:  # TY-08
    for made in (OnlyBytes(), OnlyBytes.json_bytes):
        world.crud.objects["tariffs"] = [made]
        assert OnlyBytes.json_bytes in partner.get(f"{CPO}/tariffs").content


PREFERENCES = {
    "profile_type": "CHEAP",
    "departure_time": "2026-03-04T17:00:00Z",
    "energy_need": 20.5,
    "discharge_allowed": False,
}


def test_charging_preferences_echoed(partner: httpx.Client, world: Any) -> None:  # SE-30
    world.crud.command_response = "DEPARTURE_REQUIRED"
    answer = partner.put(f"{CPO}/sessions/Session-1/charging_preferences", json=PREFERENCES)
    assert (answer.status_code, answer.json()["status_code"]) == (200, 1000)
    assert answer.json()["data"] == "DEPARTURE_REQUIRED"
    ((verb, module, data, options),) = world.crud.calls
    assert (verb, module, options["session_id"]) == ("do", "charging_preferences", "Session-1")
    assert data == PREFERENCES
    assert type(data["energy_need"]) is float  # not py_ocpi's, which says that it is "Number(20.5)"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"profile_type": "SLOW"}, "profile_type"),
        ({"profile_type": None}, "profile_type"),
        ({"departure_time": "soon"}, "departure_time"),
        ({"energy_need": "much"}, "energy_need"),
    ],
)
def test_preferences_that_cannot_be_read_are_2001(
    partner: httpx.Client, world: Any, change: dict[str, Any], field: str
) -> None:  # SE-30, TR-29
    answer = partner.put(f"{CPO}/sessions/1/charging_preferences", json=PREFERENCES | change)
    assert (answer.status_code, answer.json()["status_code"]) == (200, 2001)
    assert [error["field"] for error in answer.json()["data"]["errors"]] == [field]
    assert world.crud.calls == []


def test_where_preferences_cannot_be_set_the_address_is_404(
    partner: httpx.Client, world: Any, refusal: Any
) -> None:  # SE-31
    world.crud.failure = refusal(404, 2001, "this EVSE takes no charging preferences")
    answer = partner.put(f"{CPO}/sessions/1/charging_preferences", json=PREFERENCES)
    assert (answer.status_code, answer.json()["status_code"]) == (404, 2001)


def test_served_modules_not_listed(partner: httpx.Client) -> None:  # VE-01 to VE-05, TR-34
    assert partner.get("/versions").json()["data"] == [
        {"version": "2.2.1", "url": "https://cpo.example/ocpi/2.2.1"},
        {"version": "2.1.1", "url": "https://cpo.example/ocpi/2.1.1"},
    ]
    details = partner.get("/2.2.1").json()["data"]
    assert details["version"] == "2.2.1"
    roles = {each["identifier"]: each["role"] for each in details["endpoints"]}
    assert roles == {
        "credentials": "SENDER",
        "locations": "SENDER",
        "sessions": "SENDER",
        "cdrs": "SENDER",
        "tariffs": "SENDER",
        "tokens": "RECEIVER",
        "commands": "RECEIVER",
        "chargingprofiles": "RECEIVER",
        "hubclientinfo": "RECEIVER",
    }
    for each in details["endpoints"]:
        assert each["url"] == f"https://cpo.example/ocpi/cpo/2.2.1/{each['identifier']}"
    for module in ("locations", "cdrs", "tariffs", "credentials"):
        assert partner.get(f"{CPO}/{module}").json()["status_code"] == 1000
    for module in ("clientinfo/NL/TNM", "payments/terminals"):
        assert partner.get(f"{CPO}/{module}").status_code == 404
