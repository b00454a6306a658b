"""Message ids come back and the routing headers are swapped, over HTTP."""

import uuid
from typing import Any

import httpx
import pytest

CPO = "/cpo/2.2.1"
ROUTING = ("ocpi-to-country-code", "ocpi-to-party-id", "ocpi-from-country-code", "ocpi-from-party-id")


def routed(answer: httpx.Response) -> tuple[str | None, ...]:
    return tuple(answer.headers.get(name) for name in ROUTING)


def headers(**ends: str) -> dict[str, str]:
    """to="BE-BEC" -> the two OCPI-to headers."""
    return {
        f"OCPI-{end}-{name}": value
        for end, party in ends.items()
        for name, value in zip(("country-code", "party-id"), party.split("-"), strict=True)
    }


def test_message_ids_not_echoed(partner: httpx.Client, anonymous: httpx.Client) -> None:  # ID-01, ID-02
    ids = {"X-Request-ID": "req 1", "X-Correlation-ID": str(uuid.uuid4())}
    paths = ("/versions", f"{CPO}/locations", f"{CPO}/locations/none", "/nowhere", f"{CPO}/locations?limit=0")
    answers = [partner.get(path, headers=ids) for path in paths]
    answers.append(anonymous.get("/versions", headers={**ids, "Authorization": "Token x"}))
    for answer in answers:
        assert answer.headers["x-request-id"] == "req 1"
        assert answer.headers["x-correlation-id"] == ids["X-Correlation-ID"]


def test_missing_message_ids_are_made(partner: httpx.Client, world: Any) -> None:  # ID-03, ID-04
    answer = partner.get(f"{CPO}/locations")
    (_, request) = world.crud.seen[-1]
    assert uuid.UUID(answer.headers["x-request-id"]) == uuid.UUID(request.request_id)
    assert uuid.UUID(answer.headers["x-correlation-id"]) == uuid.UUID(request.correlation_id)


def test_answers_are_routed_back_to_who_asked(partner: httpx.Client, world: Any) -> None:  # RT-01, RT-03, RT-05
    answer = partner.get(f"{CPO}/tariffs", headers=headers(to="DE-BEC", **{"from": "FR-ABC"}))
    assert routed(answer) == ("FR", "ABC", "DE", "BEC")
    (_, request) = world.crud.seen[-1]
    assert request.to_party == ("DE", "BEC")
    assert request.from_party == ("FR", "ABC")


def test_without_routing_headers_the_token_says_who_asked(partner: httpx.Client, world: Any) -> None:  # RT-04, RT-15
    assert routed(partner.get(f"{CPO}/tariffs")) == ("NL", "TNM", "BE", "BEC")
    (caller, request) = world.crud.seen[-1]
    assert (caller.partner_id, request.to_party) == (1, None)  # RT-11: all our parties


def test_our_parties_are_named_in_our_spelling(partner: httpx.Client, world: Any) -> None:  # TY-04
    assert routed(partner.get(f"{CPO}/tariffs", headers=headers(to="de-bec")))[2:] == ("DE", "BEC")
    assert world.crud.seen[-1][1].to_party == ("DE", "BEC")


@pytest.mark.parametrize(
    "asked",
    [headers(to="FR-XXX"), {"OCPI-to-country-code": "BE"}, {"OCPI-to-party-id": "BEC"}, {"OCPI-from-party-id": "X"}],
)
def test_a_party_that_is_not_ours_is_2001(partner: httpx.Client, world: Any, asked: dict[str, str]) -> None:  # RT-12
    answer = partner.get(f"{CPO}/locations", headers=asked)
    assert answer.status_code == 200
    assert answer.json()["status_code"] == 2001
    assert routed(answer) == ("NL", "TNM", "BE", "BEC")
    assert world.crud.calls == []


def test_configuration_modules_carry_no_routing_headers(partner: httpx.Client) -> None:  # RT-02
    for path in ("/versions", "/2.2.1", f"{CPO}/credentials", f"{CPO}/credentials/"):
        answer = partner.get(path, headers=headers(to="FR-XXX"))
        assert answer.json()["status_code"] == 1000
        assert routed(answer) == (None, None, None, None)


def test_one_request_leaves_nothing_to_the_next(partner: httpx.Client, world: Any) -> None:
    partner.get(f"{CPO}/tariffs", headers=headers(to="DE-BEC"))
    partner.put(f"{CPO}/tokens/NL/TNM/1", json={"a": 1})
    partner.get(f"{CPO}/tariffs")
    (_, request) = world.crud.seen[-1]
    assert (request.to_party, request.body, request.method) == (None, None, "GET")
