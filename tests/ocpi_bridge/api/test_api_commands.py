"""Whatever a charger can be asked, a program can ask through the API, and be told what became of it."""

import asyncio
from datetime import timedelta
from typing import Any, get_args

import pytest
from sqlalchemy import select

from csms.commands import Answer, AnyCommand, Outcome, SendCertificate, SendLocalList, UpdateFirmwareSigned
from csms.models import RemoteRequest, Reservation
from csms.users import Role
from ocpi_bridge.api.asking import SENT
from ocpi_bridge.api.wishes import AnyAsk
from tests.csms.core_story import told
from tests.ocpi_bridge.api.rig import CARD, MASKED, NOW, Rig, problem

SOON = (NOW + timedelta(hours=1)).isoformat()
PROFILE = {
    "purpose": "tx_default",
    "kind": "absolute",
    "schedule": {"unit": "A", "starts_at": NOW.isoformat(), "periods": [{"start_s": 0, "limit": "16.0"}]},
}

# A body for each command, and the kind of request that it becomes.
ASKED: dict[str, tuple[dict[str, Any], str]] = {
    "start_remotely": ({"id_token": CARD, "evse": 1}, "start_remotely"),
    "reset_station": ({}, "reset_station"),
    "unlock_connector": ({"evse": 1}, "unlock_connector"),
    "change_configuration": ({"key": "HeartbeatInterval", "value": "300"}, "change_configuration"),
    "throttle": ({"amperes": "16"}, "change_configuration"),
    "get_configuration": ({"keys": ["HeartbeatInterval"]}, "get_configuration"),
    "change_availability": ({"evse": 0, "operative": False}, "change_availability"),
    "trigger_message": ({"kind": "status", "evse": 1}, "trigger_message"),
    "extended_trigger_message": ({"kind": "sign_certificate"}, "extended_trigger_message"),
    "clear_cache": ({}, "clear_cache"),
    "send_vendor_data": ({"vendor_id": "Acme", "data": "x"}, "send_vendor_data"),
    "reserve_evse": ({"id_token": CARD, "expires_at": SOON, "evse": 1}, "reserve_evse"),
    "get_local_list_version": ({}, "get_local_list_version"),
    "set_charging_profile": ({"evse": 1, "profile": PROFILE}, "set_charging_profile"),
    "clear_charging_profile": ({"purpose": "tx_default"}, "clear_charging_profile"),
    "get_composite_schedule": ({"evse": 1, "duration_s": 3600, "unit": "A"}, "get_composite_schedule"),
    "get_diagnostics": ({}, "get_diagnostics"),
    "get_log": ({"kind": "security"}, "get_log"),
    "get_installed_certificates": ({"use": "central_system_root"}, "get_installed_certificates"),
    "delete_certificate": (
        {
            "certificate": {
                "algorithm": "SHA256",
                "issuer_name_hash": "ab",
                "issuer_key_hash": "cd",
                "serial_number": "01",
            }
        },
        "delete_certificate",
    ),
    "request_certificate": ({}, "extended_trigger_message"),
}
# What needs something to be there before: tested apart, or by those whose verb it is.
APART = {"stop_remotely", "cancel_reservation", "update_firmware", "install_certificate"}


def name_of(kind: Any) -> str:
    return str(kind.__struct_config__.tag)


def test_every_command_can_be_asked_for() -> None:  # J02
    """But for three that only the core says: they are parts of a longer story that it keeps."""
    asked = {name_of(kind) for kind in get_args(AnyAsk)}
    assert asked == {name_of(kind) for kind in SENT} == {*ASKED, *APART}
    ours = {name_of(kind) for kind in (SendLocalList, SendCertificate, UpdateFirmwareSigned)}
    assert {name_of(kind) for kind in get_args(AnyCommand)} - ours <= asked


@pytest.mark.parametrize("command", ASKED)
async def test_a_command_becomes_a_request_that_waits_to_be_sent(rig: Rig, command: str) -> None:
    rig.import_network()
    body, kind = ASKED[command]
    async with rig.client(Role.ADMIN) as client:
        response = await client.post("/api/v1/stations/CP1/commands", json={"command": command, **body})
        assert response.status_code == 202, response.text
        request_id = response.json()["id"]
        assert response.headers["location"] == f"/api/v1/commands/{request_id}"
        detail = (await client.get(response.headers["location"])).json()
    request = detail["request"]
    assert (request["state"], request["station_id"]) == ("queued", "CP1")
    assert request["requested_by"] == "api:admin"
    assert request["kind"] in (kind, "get_log")


async def test_a_program_starts_and_stops_a_charge(rig: Rig) -> None:  # J02
    rig.import_network()
    async with told(rig.database) as story, rig.client(Role.OPERATOR) as client:
        story.now = NOW
        await story.boot()
        sending = asyncio.create_task(story.csms.remote.run())
        try:
            start = {"command": "start_remotely", "id_token": CARD, "evse": 1}
            sent = await client.post("/api/v1/stations/CP1/commands", json=start)
            accepted = await settled(client, sent.headers["location"])
            assert (accepted["request"]["outcome"], accepted["answer"]["outcome"]) == ("accepted", "accepted")
            number = (await story.start()).transaction_id
            started = (await client.get(sent.headers["location"])).json()["request"]
            assert started["state"] == "started"
            story.answer = Answer(outcome=Outcome.REJECTED, detail="Rejected")
            stop = {"command": "stop_remotely", "transaction": started["transaction_id"]}
            sent = await client.post("/api/v1/stations/CP1/commands", json=stop)
            refused = (await settled(client, sent.headers["location"]))["request"]
            assert (refused["state"], refused["detail"]) == ("rejected", "Rejected")
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
    assert [getattr(command, "transaction_ref", None) for command in story.sent] == [None, str(number)]
    async with rig.client(Role.VIEWER) as client:
        told_to_viewer = await client.get("/api/v1/commands?kind=start_remotely")
        detail = await client.get(f"/api/v1/commands/{told_to_viewer.json()['items'][0]['id']}")
    assert detail.json()["command"]["id_token"] == MASKED


async def settled(client: Any, address: str) -> Any:
    async with asyncio.timeout(30):
        while True:
            detail = (await client.get(address)).json()
            if detail["request"]["state"] not in ("queued", "sent"):
                return detail
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.ADMIN])
async def test_no_key_may_reset_the_hard_way(rig: Rig, role: Role) -> None:  # R05
    rig.import_network()
    async with rig.client(role) as client:
        asked = {"command": "reset_station", "kind": "hard"}
        response = await client.post("/api/v1/stations/CP1/commands", json=asked)
        problem(response, 403, "hard_reset_needs_a_person")
        assert (await client.get("/api/v1/commands")).json()["items"] == []


async def test_what_cannot_be_asked_is_a_problem(rig: Rig) -> None:
    rig.import_network()
    address = "/api/v1/stations/CP1/commands"
    async with rig.client(Role.OPERATOR) as client:
        for body, status, code in (
            ({"command": "dance"}, 422, "bad_body"),
            ({"command": "unlock_connector"}, 422, "bad_body"),
            ({"command": "unlock_connector", "evse": 2**40}, 422, "bad_body"),
            ({"command": "unlock_connector", "evse": 1, "evs": 1}, 422, "bad_body"),
            ({"command": "unlock_connector", "evse": 1, "timeout_s": 100_000}, 422, "bad_body"),
            ({"command": "stop_remotely", "transaction": "4711"}, 404, "unknown_transaction"),
            ({"command": "cancel_reservation", "reservation": 1}, 404, "unknown_reservation"),
            ({"command": "change_configuration", "key": "AuthorizationKey", "value": "x"}, 409, "not_writable"),
            ({"command": "change_configuration", "key": "MeterValueSampleInterval", "value": "1"}, 409, "unwise"),
            ({"command": "start_remotely", "id_token": "x" * 30}, 409, "unsendable_card"),
            ({"command": "reserve_evse", "id_token": CARD, "expires_at": SOON, "evse": 9}, 404, "unknown_evse"),
            ({"command": "update_firmware", "image": 1}, 403, "not_allowed"),
        ):
            problem(await client.post(address, json=body), status, code)
        problem(
            await client.post("/api/v1/stations/CP9/commands", json={"command": "clear_cache"}), 404, "unknown_station"
        )
    async with rig.client(Role.ADMIN) as client:
        problem(await client.post(address, json={"command": "update_firmware", "image": 1}), 404, "unknown_image")
        pem = {"command": "install_certificate", "use": "central_system_root", "certificate": "no PEM"}
        problem(await client.post(address, json=pem), 422, "no_certificate")
    with rig.database.read() as connection:
        assert connection.execute(select(RemoteRequest.id)).all() == []  # nothing of a refused one is kept


async def test_a_reservation_is_cancelled_by_its_number(rig: Rig) -> None:
    rig.import_network()
    async with rig.client(Role.OPERATOR) as client:
        body = {"command": "reserve_evse", "id_token": CARD, "expires_at": SOON, "evse": 1}
        number = (await client.post("/api/v1/stations/CP1/commands", json=body)).json()["number"]
        [row] = (await client.get("/api/v1/reservations?station=CP1")).json()["items"]
        assert (row["number"], row["state"], row["tag"]) == (number, "requested", CARD)
        cancel = {"command": "cancel_reservation", "reservation": number}
        problem(await client.post("/api/v1/stations/CP2/commands", json=cancel), 404, "unknown_reservation")
        assert (await client.post("/api/v1/stations/CP1/commands", json=cancel)).status_code == 202
    with rig.database.read() as connection:
        assert connection.execute(select(Reservation.token_id)).scalar() is not None


async def test_requests_are_found_by_station_state_and_who_asked(rig: Rig) -> None:
    rig.import_network()
    async with rig.client(Role.OPERATOR) as client:
        for station_id in ("CP1", "CP2", "CP2"):
            await client.post(f"/api/v1/stations/{station_id}/commands", json={"command": "clear_cache"})

        async def found(**query: Any) -> int:
            return len((await client.get("/api/v1/commands", params=query)).json()["items"])

        assert (await found(), await found(station="CP2"), await found(state="queued")) == (3, 2, 3)
        assert (await found(by="api:operator"), await found(by="cli:root"), await found(kind="reset_station")) == (
            3,
            0,
            0,
        )
        page = (await client.get("/api/v1/commands?limit=2")).json()
        rest = (await client.get("/api/v1/commands", params={"limit": 2, "after": page["next"]})).json()
        assert len({row["id"] for row in page["items"] + rest["items"]}) == 3
