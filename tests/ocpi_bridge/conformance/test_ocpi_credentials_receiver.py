"""Credentials are checked, their state decides the method, and our own service does the rest, over HTTP."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.ocpi_bridge.conformance.refusing import refused_field

VECTORS = Path(__file__).parents[2] / "vectors" / "ocpi" / "2.2.1"
CREDENTIALS = "/cpo/2.2.1/credentials"
OURS = {"token": "fresh", "url": "https://cpo.example/ocpi/versions", "roles": []}
THEIRS: dict[str, Any] = {
    "token": "b",
    "url": "https://emsp.example/versions",
    "roles": [{"role": "EMSP", "party_id": "TNM", "country_code": "NL", "business_details": {"name": "TNM"}}],
}


def test_credentials_by_the_library(invited: httpx.Client, world: Any) -> None:  # CR-03, CR-04
    """py_ocpi would call the partner itself; here the whole registration is the service's."""
    answer = invited.post(CREDENTIALS, json={**THEIRS, "url": "http://127.0.0.1:1/"})
    assert (answer.status_code, answer.json()["status_code"], answer.json()["data"]) == (200, 1000, OURS)
    assert world.credentials.calls == [("register", "invited", {**THEIRS, "url": "http://127.0.0.1:1/"})]
    assert world.crud.calls == []


@pytest.mark.parametrize("path", sorted(path.name for path in VECTORS.glob("credentials__*.json")))
def test_the_examples_of_the_specification_are_understood(
    invited: httpx.Client, world: Any, path: str
) -> None:  # XT-04
    body = json.loads((VECTORS / path).read_text())
    assert invited.post(CREDENTIALS, json=body).json()["data"] == OURS
    assert world.credentials.calls == [("register", "invited", body)]


def test_registered_partners_read_change_and_end(partner: httpx.Client, world: Any) -> None:  # CR-08, CR-10, CR-11
    assert partner.get(CREDENTIALS).json()["data"] == OURS
    assert partner.put(CREDENTIALS, json=THEIRS).json()["data"] == OURS
    gone = partner.delete(CREDENTIALS + "/")
    assert (gone.status_code, gone.json()["status_code"], "data" in gone.json()) == (200, 1000, False)
    assert [call[0] for call in world.credentials.calls] == ["get", "update", "delete"]


@pytest.mark.parametrize(("method", "state"), [("POST", "partner"), ("PUT", "invited"), ("DELETE", "invited")])
def test_wrong_state_is_405(
    request: pytest.FixtureRequest, world: Any, method: str, state: str
) -> None:  # TR-22, CR-07, CR-09
    client = request.getfixturevalue(state)
    answer = client.request(method, CREDENTIALS, json=THEIRS)
    assert answer.status_code == 405
    assert answer.json()["status_code"] == 2000
    assert method not in answer.headers["allow"]
    assert world.credentials.calls == []


@pytest.mark.parametrize(("http_status", "code"), [(200, 3001), (200, 3002), (200, 3003), (405, 2000)])
def test_refusals_of_the_service_reach_the_partner(
    invited: httpx.Client, world: Any, refusal: Any, http_status: int, code: int
) -> None:  # CR-06
    world.credentials.failure = refusal(http_status, code, "No")
    answer = invited.post(CREDENTIALS, json=THEIRS)
    assert (answer.status_code, answer.json()["status_code"]) == (http_status, code)


ROLE = THEIRS["roles"][0]


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("token", {"token": "has space"}),
        ("token", {"token": ""}),
        ("token", {"token": "x" * 65}),
        ("token", {"token": "tökén"}),
        ("token", {"token": None}),
        ("url", {"url": "not a url"}),
        ("url", {"url": "x" * 256}),
        ("roles", {"roles": []}),
        ("roles", {"roles": None}),
        ("roles.1", {"roles": [ROLE, {**ROLE, "party_id": "tnm"}]}),
        ("roles.0.party_id", {"roles": [{**ROLE, "party_id": "TN"}]}),
        ("roles.0.party_id", {"roles": [{**ROLE, "party_id": "TNMX"}]}),
        ("roles.0.country_code", {"roles": [{**ROLE, "country_code": "N1"}]}),
        ("roles.0.role", {"roles": [{**ROLE, "role": "BOSS"}]}),
        ("roles.0.business_details", {"roles": [{k: v for k, v in ROLE.items() if k != "business_details"}]}),
    ],
)
def test_credentials_not_checked(
    invited: httpx.Client, world: Any, field: str, change: dict[str, Any]
) -> None:  # CR-30, CR-31
    answer = invited.post(CREDENTIALS, json={**THEIRS, **change})
    assert refused_field(answer) == field
    assert "has space" not in answer.text
    assert world.credentials.calls == []


def test_one_platform_may_hold_several_roles(invited: httpx.Client, world: Any) -> None:  # CR-31, CR-35
    roles = [ROLE, {**ROLE, "role": "CPO"}, {**ROLE, "country_code": "DE"}]
    assert invited.post(CREDENTIALS, json={**THEIRS, "roles": roles}).json()["status_code"] == 1000
    assert world.credentials.calls[0][2]["roles"] == roles
