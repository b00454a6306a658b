"""OCPI 2.1.1 over HTTP: tokens as they are, credentials flat, and py_ocpi's deviations there repaired as in 2.2.1."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

VECTORS = Path(__file__).parents[2] / "vectors" / "ocpi" / "2.1.1"
CPO = "/cpo/2.1.1"
CREDENTIALS = f"{CPO}/credentials"
THEIRS: dict[str, Any] = {
    "token": "b",
    "url": "https://emsp.example/versions",
    "country_code": "NL",
    "party_id": "TNM",
    "business_details": {"name": "TNM"},
}
IN_221 = {
    "token": "b",
    "url": "https://emsp.example/versions",
    "roles": [{"role": "EMSP", "country_code": "NL", "party_id": "TNM", "business_details": {"name": "TNM"}}],
}
OURS = [
    {"role": "CPO", "country_code": country, "party_id": "BEC", "business_details": {"name": country}}
    for country in ("DE", "BE")
]
STOP = {"response_url": "https://emsp.example/1", "session_id": "S1"}


@pytest.fixture
def old(anonymous: httpx.Client) -> httpx.Client:
    """The eMSP NL-TNM, its token C as it is."""
    anonymous.headers["Authorization"] = "Token token-c"
    return anonymous


@pytest.fixture
def invited_old(anonymous: httpx.Client) -> httpx.Client:
    anonymous.headers["Authorization"] = "Token token-a"
    return anonymous


def vector(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text())


def refused_field(answer: httpx.Response) -> str:
    assert (answer.status_code, answer.json()["status_code"]) == (200, 2001), answer.text
    return str(answer.json()["data"]["errors"][0]["field"])


def test_raw_token_refused_on_versions(old: httpx.Client) -> None:  # TR-04, TR-06, VE-01
    for path in ("/versions", "/2.1.1", f"{CPO}/locations"):
        assert old.get(path).json()["status_code"] == 1000
    for path in ("/2.2.1", "/cpo/2.2.1/locations"):
        assert old.get(path).status_code == 401


def test_commands_of_211_not_listed(old: httpx.Client) -> None:  # VE-02, VE-04, V1-01, V1-16
    details = old.get("/2.1.1").json()["data"]
    named = ("credentials", "locations", "sessions", "cdrs", "tariffs", "tokens", "commands")
    assert details == {
        "version": "2.1.1",
        "endpoints": [{"identifier": name, "url": f"https://cpo.example/ocpi{CPO}/{name}"} for name in named],
    }
    assert {"identifier", "url"} == vector("versions__details")["endpoints"][0].keys()


def test_the_list_of_versions_is_as_in_the_example(old: httpx.Client) -> None:  # VE-01, XT-04
    listed = old.get("/versions").json()["data"]
    assert [entry.keys() for entry in listed] == [vector("versions__list")[0].keys()] * 2
    assert [entry["version"] for entry in listed] == ["2.2.1", "2.1.1"]


def test_an_error_is_enveloped_as_in_the_example(old: httpx.Client) -> None:  # TR-13, XT-04
    assert old.get(f"{CPO}/locations/nowhere").json().keys() == vector("transport__error_response").keys()


def test_single_object_of_211_in_a_list(old: httpx.Client, world: Any, location: dict[str, Any]) -> None:  # TR-15
    world.crud.objects["locations"] = [location]
    for path in ("LOC1", "loc1/DE*ABC*E1", "LOC1/DE*ABC*E1/1"):
        answer = old.get(f"{CPO}/locations/{path}")
        assert isinstance(answer.json()["data"], dict), answer.text


def test_sessions_of_211_without_date_from(old: httpx.Client) -> None:  # SE-01
    assert refused_field(old.get(f"{CPO}/sessions")) == "date_from"


def test_lists_are_paged(old: httpx.Client, world: Any) -> None:  # PG-05, PG-07, V1-03
    world.crud.objects["tariffs"] = [{"id": "1"}, {"id": "2"}]
    answer = old.get(f"{CPO}/tariffs?limit=1", headers={"X-Request-ID": "1", "OCPI-to-party-id": "NOBODY"})
    assert answer.json()["data"] == [{"id": "1"}]
    assert answer.headers["link"] == f'<https://cpo.example/ocpi{CPO}/tariffs?offset=1&limit=1>; rel="next"'
    assert answer.headers["x-total-count"] == "2"
    assert not {"x-request-id", "x-correlation-id", "ocpi-from-party-id", "ocpi-to-party-id"} & set(answer.headers)


def test_address_and_body_of_211_may_differ(old: httpx.Client, world: Any) -> None:  # TR-23, TR-24
    token = vector("tokens__put")
    assert refused_field(old.put(f"{CPO}/tokens/NL/TNM/other", json=token)) == "uid"
    assert old.put(f"{CPO}/tokens/DE/ABC/012345678", json=token).status_code == 404
    assert world.crud.calls == []


def test_a_token_without_a_field_is_refused(old: httpx.Client, world: Any) -> None:  # TK-06, V1-14
    token = vector("tokens__put")
    for field in ("auth_id", "issuer", "valid", "whitelist", "last_updated", "type"):
        sent = {name: value for name, value in token.items() if name != field}
        assert refused_field(old.put(f"{CPO}/tokens/NL/TNM/012345678", json=sent)) == field
    assert refused_field(old.patch(f"{CPO}/tokens/NL/TNM/012345678", json={"auth_id": None})) == "auth_id"
    assert world.crud.calls == []


def test_command_result_of_211_by_the_library(old: httpx.Client, world: Any) -> None:  # CM-04
    world.crud.command_response = {"result": "ACCEPTED"}
    answer = old.post(f"{CPO}/commands/STOP_SESSION", json=STOP)
    assert answer.json()["data"] == {"result": "ACCEPTED"}
    assert [verb for verb, _, _, _ in world.crud.calls] == ["do"]


@pytest.mark.parametrize(
    ("command", "body", "field"),
    [
        ("STOP_SESSION", {"response_url": "https://emsp.example/1"}, "session_id"),
        ("STOP_SESSION", {**STOP, "response_url": "not a url"}, "response_url"),
        ("UNLOCK_CONNECTOR", {**STOP, "location_id": "LOC1", "evse_uid": "E"}, "connector_id"),
        ("START_SESSION", {**STOP, "location_id": "LOC1"}, "token"),
    ],
)
def test_invalid_command_of_211_is_422(
    old: httpx.Client, world: Any, command: str, body: dict[str, Any], field: str
) -> None:  # TR-26, CM-07, V1-15
    assert refused_field(old.post(f"{CPO}/commands/{command}", json=body)) == field
    assert world.crud.calls == []


def test_a_reservation_id_is_a_number(old: httpx.Client, world: Any, location: dict[str, Any]) -> None:  # CM-47, V1-15
    world.crud.objects["locations"] = [location]
    world.crud.command_response = {"result": "ACCEPTED"}
    reserve = {
        "response_url": "https://emsp.example/1",
        "token": vector("tokens__put"),
        "expiry_date": "2026-03-04T13:00:00Z",
        "reservation_id": 12,
        "location_id": "LOC1",
    }
    assert old.post(f"{CPO}/commands/RESERVE_NOW", json=reserve).json()["data"] == {"result": "ACCEPTED"}
    words = old.post(f"{CPO}/commands/RESERVE_NOW", json={**reserve, "reservation_id": "R12"})
    assert refused_field(words) == "reservation_id"
    assert old.post(f"{CPO}/commands/CANCEL_RESERVATION", json=reserve).status_code == 404


def test_credentials_of_211_by_the_library(invited_old: httpx.Client, world: Any) -> None:  # CR-03, CR-30, CR-32
    world.credentials.roles = OURS
    answer = invited_old.post(CREDENTIALS, json=THEIRS)
    assert answer.json()["data"] == {
        "token": "fresh",
        "url": "https://cpo.example/ocpi/versions",
        "country_code": "BE",
        "party_id": "BEC",
        "business_details": {"name": "BE"},
    }
    assert world.credentials.calls == [("register", "invited", IN_221)]
    assert world.credentials.versions == ["2.1.1"]
    for field, wrong in (("token", "has space"), ("country_code", "N1"), ("party_id", "a-b"), ("url", "nowhere")):
        assert refused_field(invited_old.post(CREDENTIALS, json={**THEIRS, field: wrong})) == field
    assert len(world.credentials.calls) == 1


def test_the_example_of_the_specification_is_understood(invited_old: httpx.Client, world: Any) -> None:  # XT-04, CR-32
    world.credentials.roles = OURS
    example = vector("credentials__example")
    assert invited_old.post(CREDENTIALS, json=example).json()["status_code"] == 1000
    ((_, _, body),) = world.credentials.calls
    (role,) = body["roles"]
    assert {**role, "token": body["token"], "url": body["url"]} == {**example, "role": "EMSP"}


def test_it_reads_changes_and_ends(old: httpx.Client, world: Any) -> None:  # CR-08, CR-10, CR-11, CR-32
    world.credentials.roles = OURS
    assert old.get(CREDENTIALS).json()["data"]["party_id"] == "BEC"
    assert old.put(CREDENTIALS, json=THEIRS).json()["data"]["token"] == "fresh"
    assert "data" not in old.delete(CREDENTIALS).json()
    assert [call[0] for call in world.credentials.calls] == ["get", "update", "delete"]
    assert old.post(CREDENTIALS, json=THEIRS).status_code == 405
