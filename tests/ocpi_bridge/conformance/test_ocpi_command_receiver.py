"""Commands are checked and answered at once, over HTTP."""

from typing import Any

import httpx
import pytest

from tests.ocpi_bridge.conformance.refusing import refused_field

COMMANDS = "/cpo/2.2.1/commands"
STOP = {"response_url": "https://emsp.example/results/1?x=y", "session_id": "Session-1"}
UNLOCK = {"response_url": "https://emsp.example/1", "location_id": "LOC1", "evse_uid": "E1", "connector_id": "1"}


@pytest.fixture
def start(world: Any, token: dict[str, Any], location: dict[str, Any]) -> dict[str, Any]:
    world.crud.objects["locations"] = [location]
    return {
        "response_url": "https://emsp.example/results/1",
        "token": token,
        "location_id": "LOC1",
        "evse_uid": "DE*ABC*E1",
        "connector_id": "1",
        "authorization_reference": "Ref-1",
    }


def forwarded(world: Any) -> list[tuple[str, dict[str, Any]]]:
    return [(options["command"].value, data) for verb, _, data, options in world.crud.calls if verb == "do"]


def test_an_accepted_command_is_forwarded_whole(
    partner: httpx.Client, world: Any, start: dict[str, Any]
) -> None:  # CM-01 to CM-03
    answer = partner.post(f"{COMMANDS}/START_SESSION/", json=start)
    assert answer.json()["data"] == {"result": "ACCEPTED", "timeout": 30}
    assert answer.json()["status_code"] == 1000
    ((command, data),) = forwarded(world)
    assert command == "START_SESSION"
    assert {name: value for name, value in data.items() if name != "token"} == {
        k: v for k, v in start.items() if k != "token"
    }
    assert {name: value for name, value in data["token"].items() if value is not None} == start["token"]
    assert type(data["token"]["type"]) is str
    assert world.crud.seen[-1][0].name == "emsp"


@pytest.mark.parametrize("result", ["ACCEPTED", "REJECTED", "NOT_SUPPORTED", "UNKNOWN_SESSION"])
def test_the_answer_is_what_crud_says(partner: httpx.Client, world: Any, result: str) -> None:  # CM-03, CM-30
    message = [{"language": "en", "text": "Because"}]
    world.crud.command_response = {"result": result, "timeout": 5, "message": message}
    answer = partner.post(f"{COMMANDS}/STOP_SESSION", json=STOP)
    assert answer.json()["data"] == {"result": result, "timeout": 5, "message": message}


def test_no_answer_of_crud_is_3000(partner: httpx.Client, world: Any) -> None:  # TR-27
    world.crud.command_response = None
    answer = partner.post(f"{COMMANDS}/STOP_SESSION", json=STOP)
    assert answer.json()["status_code"] == 3000
    assert answer.json()["data"]["result"] == "REJECTED"


def test_an_unknown_location_is_2003(partner: httpx.Client, world: Any, start: dict[str, Any]) -> None:  # CM-09
    for command, body in (
        ("START_SESSION", {**start, "location_id": "LOC9"}),
        ("UNLOCK_CONNECTOR", {**UNLOCK, "location_id": "x"}),
    ):
        answer = partner.post(f"{COMMANDS}/{command}", json=body)
        assert (answer.status_code, answer.json()["status_code"]) == (200, 2003)
        assert answer.json()["data"]["result"] == "REJECTED"
    assert forwarded(world) == []


@pytest.mark.parametrize("field", ["response_url", "token", "location_id"])
def test_start_session_names_what_is_missing(
    partner: httpx.Client, world: Any, start: dict[str, Any], field: str
) -> None:  # TR-26
    del start[field]
    assert refused_field(partner.post(f"{COMMANDS}/START_SESSION", json=start)) == field
    assert world.crud.calls == []


def test_invalid_command_is_422(
    partner: httpx.Client, world: Any, start: dict[str, Any]
) -> None:  # TR-19, TR-26, CM-31
    for field in UNLOCK:
        broken = {name: value for name, value in UNLOCK.items() if name != field}
        assert refused_field(partner.post(f"{COMMANDS}/UNLOCK_CONNECTOR", json=broken)) == field
    assert (
        refused_field(partner.post(f"{COMMANDS}/STOP_SESSION", json={**STOP, "session_id": "x" * 256})) == "session_id"
    )
    start["token"]["issuer"] = 7
    assert refused_field(partner.post(f"{COMMANDS}/START_SESSION", json=start)) == "token.issuer"
    assert world.crud.calls == []


def test_connector_without_evse(partner: httpx.Client, world: Any, start: dict[str, Any]) -> None:  # CM-23
    del start["evse_uid"]
    assert refused_field(partner.post(f"{COMMANDS}/START_SESSION", json=start)) == "evse_uid"
    del start["connector_id"]
    assert partner.post(f"{COMMANDS}/START_SESSION", json=start).json()["data"]["result"] == "ACCEPTED"


@pytest.mark.parametrize(
    "url", ["not a url", "", "ftp://x/", "https://", "//x/y", "https://a b/", "http://[::1", "x" * 256]
)
def test_response_url_not_a_url(partner: httpx.Client, world: Any, url: str) -> None:  # CM-07, TY-12
    assert refused_field(partner.post(f"{COMMANDS}/STOP_SESSION", json={**STOP, "response_url": url})) == "response_url"
    assert world.crud.calls == []


def test_the_token_of_somebody_else_is_2001(partner: httpx.Client, world: Any, start: dict[str, Any]) -> None:  # CM-20
    start["token"]["party_id"] = "XXX"
    assert refused_field(partner.post(f"{COMMANDS}/START_SESSION", json=start)) == "token.party_id"
    assert world.crud.calls == []


def test_a_token_that_was_never_pushed_may_start(
    partner: httpx.Client, world: Any, start: dict[str, Any]
) -> None:  # CM-21
    start["token"] |= {"valid": False, "type": "AD_HOC_USER"}
    assert partner.post(f"{COMMANDS}/START_SESSION", json=start).json()["data"]["result"] == "ACCEPTED"
    assert [module for _, module, _, _ in world.crud.calls] == ["locations", "commands"]


def test_reservations_are_forwarded_whole(partner: httpx.Client, world: Any, start: dict[str, Any]) -> None:  # CM-01
    reserve = {k: v for k, v in start.items() if k != "connector_id"}
    reserve |= {"expiry_date": "2026-01-01T00:00:00Z", "reservation_id": "R1"}
    cancel = {"response_url": "https://emsp.example/1", "reservation_id": "R1"}
    for command, body in (("RESERVE_NOW", reserve), ("CANCEL_RESERVATION", cancel)):
        answer = partner.post(f"{COMMANDS}/{command}", json=body)
        assert (answer.json()["status_code"], answer.json()["data"]) == (1000, {"result": "ACCEPTED", "timeout": 30})
        assert (
            refused_field(partner.post(f"{COMMANDS}/{command}", json={**body, "reservation_id": 5})) == "reservation_id"
        )
    assert [(command, data["reservation_id"]) for command, data in forwarded(world)] == [
        ("RESERVE_NOW", "R1"),
        ("CANCEL_RESERVATION", "R1"),
    ]
    reserve["token"]["party_id"] = "XXX"
    assert refused_field(partner.post(f"{COMMANDS}/RESERVE_NOW", json=reserve)) == "token.party_id"


@pytest.mark.parametrize("command", ["START", "start_session", "STOP_SESSION/1", ""])
def test_an_unknown_command_is_404(partner: httpx.Client, world: Any, command: str) -> None:
    assert partner.post(f"{COMMANDS}/{command}", json=STOP).status_code == 404
    assert world.crud.calls == []


def test_command_result_by_the_library(
    partner: httpx.Client, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:  # CM-04, CM-06
    """py_ocpi's task would run behind the answer, before the connection takes the next request."""
    started: list[Any] = []

    async def send_command_result(**task: Any) -> None:
        started.append(task)

    monkeypatch.setattr("py_ocpi.modules.commands.v_2_2_1.api.cpo.send_command_result", send_command_result)
    assert partner.post(f"{COMMANDS}/STOP_SESSION", json=STOP).json()["data"]["result"] == "ACCEPTED"
    partner.get("/versions")
    assert started == []
    assert [(verb, options["command"].value) for verb, _, _, options in world.crud.calls] == [("do", "STOP_SESSION")]
