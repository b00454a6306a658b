"""Commands that need the running service: a charger is asked and answers, a partner is registered and leaves."""

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from websockets.asyncio.client import connect

from csms import stations
from csms.database import Database
from ocpi_bridge.emsp_simulator.simulator import EmspSimulator
from ocpi_bridge.roles.serve import Service
from ocpi_bridge.settings import load

Cli = Callable[..., Any]
PASSWORD = "a-charger-key-of-the-tests"
LIMIT_S = 30

ANSWERS = {
    "GetConfiguration": {
        "configurationKey": [{"key": "HeartbeatInterval", "readonly": False, "value": "300"}],
        "unknownKey": ["Colour"],
    },
    "ChangeConfiguration": {"status": "RebootRequired"},
    "ChangeAvailability": {"status": "Scheduled"},
    "TriggerMessage": {"status": "NotImplemented"},
    "UnlockConnector": {"status": "Unlocked"},
    "RemoteStartTransaction": {"status": "Rejected"},
    "Reset": {"status": "Accepted"},
    "SetChargingProfile": {"status": "Accepted"},
    "ClearChargingProfile": {"status": "Unknown"},
    "GetCompositeSchedule": {
        "status": "Accepted",
        "connectorId": 1,
        "chargingSchedule": {"chargingRateUnit": "A", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 32.0}]},
    },
}


@pytest.fixture
async def service(cli: Cli, environment: Callable[..., None]) -> AsyncIterator[Service]:
    """Partners call back at an address that must be known beforehand, so its port is taken from the system first."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    address = f"127.0.0.1:{port}"
    environment(OCPP_LISTEN="127.0.0.1:0", HTTP_LISTEN=address, PUBLIC_URL=f"http://{address}")
    service = Service(load())
    async with asyncio.timeout(LIMIT_S):
        await service.start()
    yield service
    async with asyncio.timeout(LIMIT_S):
        await service.stop()


@pytest.fixture
async def charger(service: Service, database: Database) -> AsyncIterator[list[Any]]:
    """A booted charger that answers as ANSWERS says; the list holds what it was asked."""
    with database.write() as connection:
        stations.provision(connection, "CP1", PASSWORD, datetime.now(UTC))
    asked: list[Any] = []
    basic = base64.b64encode(f"CP1:{PASSWORD}".encode()).decode()
    url = f"ws://127.0.0.1:{service.gateway.port}/ocpp/CP1"
    async with connect(
        url, subprotocols=["ocpp1.6"], additional_headers={"Authorization": f"Basic {basic}"}, proxy=None
    ) as line:  # type: ignore[list-item]
        boot = {"chargePointVendor": "V", "chargePointModel": "M", "chargePointSerialNumber": "1"}
        await line.send(json.dumps([2, "boot", "BootNotification", boot]))
        async with asyncio.timeout(LIMIT_S):
            assert json.loads(await line.recv())[2]["status"] == "Accepted"

        async def answer() -> None:
            async for text in line:
                _, message_id, action, payload = json.loads(text)
                asked.append((action, payload))
                await line.send(json.dumps([3, message_id, ANSWERS[action]]))

        answering = asyncio.create_task(answer())
        yield asked
        answering.cancel()


async def run(cli: Cli, *arguments: str) -> Any:
    async with asyncio.timeout(LIMIT_S):
        return await asyncio.to_thread(cli, *arguments)


async def test_a_refused_charger_is_sent_away(cli: Cli, service: Service, charger: list[Any]) -> None:
    assert "CP1" in service.connections.connected()
    shown = await run(cli, "station", "refuse", "CP1")
    assert shown.exit_code == 0, shown.stderr
    async with asyncio.timeout(LIMIT_S):
        while "CP1" in service.connections.connected():  # noqa: ASYNC110 - the other end of a socket has no event for us
            await asyncio.sleep(0.05)


async def test_a_charger_is_asked_and_its_answer_printed(cli: Cli, charger: list[Any]) -> None:
    shown = await run(cli, "station", "command", "CP1", "get-configuration", "HeartbeatInterval", "Colour")
    assert shown.exit_code == 0, shown.stderr
    assert "HeartbeatInterval" in shown.stdout
    assert "unknown to CP1: Colour" in shown.stdout
    said = {}
    for words in (
        ["ChangeConfiguration", "HeartbeatInterval", "60"],
        ["change-availability", "0", "inoperative"],
        ["trigger_message", "meter-values", "1"],
        ["unlock-connector", "1"],
        ["remote-start", "04A1B2C3D4", "1"],
    ):
        result = await run(cli, "station", "command", "CP1", *words)
        said[words[0]] = (result.exit_code, (result.stdout + result.stderr).strip())
    reset = await run(cli, "station", "reset", "CP1")
    assert (reset.exit_code, reset.stdout.split(":")[0]) == (0, "CP1")
    assert {name: code for name, (code, _) in said.items()} == {
        "ChangeConfiguration": 0,
        "change-availability": 0,
        "trigger_message": 1,
        "unlock-connector": 0,
        "remote-start": 1,
    }
    assert "reboot_required" in said["ChangeConfiguration"][1]
    assert "not_supported" in said["trigger_message"][1]
    assert charger == [
        ("GetConfiguration", {"key": ["HeartbeatInterval", "Colour"]}),
        ("ChangeConfiguration", {"key": "HeartbeatInterval", "value": "60"}),
        ("ChangeAvailability", {"connectorId": 0, "type": "Inoperative"}),
        ("TriggerMessage", {"requestedMessage": "MeterValues", "connectorId": 1}),
        ("UnlockConnector", {"connectorId": 1}),
        ("RemoteStartTransaction", {"idTag": "04A1B2C3D4", "connectorId": 1}),
        ("Reset", {"type": "Soft"}),
    ]


async def test_a_charger_that_is_away_is_offline(cli: Cli, service: Service, database: Database) -> None:
    with database.write() as connection:
        stations.provision(connection, "CP2", None, datetime.now(UTC))
    result = await run(cli, "station", "reset", "CP2")
    assert result.exit_code == 1
    assert result.stderr.startswith("roambridge: CP2: offline")


async def test_a_partner_registers_at_us_with_our_invitation(cli: Cli, service: Service) -> None:
    invitation = json.loads((await run(cli, "partner", "invite", "Acme")).stdout)
    async with EmspSimulator(("NL", "MSP"), "127.0.0.1", 0, name="Acme") as emsp, asyncio.timeout(LIMIT_S):
        emsp.issue_token("04A1B2C3D4")
        await emsp.register(invitation["versions_url"], invitation["token"])
        [row] = [json.loads(line) for line in (await run(cli, "partner", "list", "--json")).stdout.splitlines()]
        assert (row["state"], row["version"], row["parties"]) == ("registered", "2.2.1", ["NL-MSP EMSP"])
        synced = await run(cli, "partner", "sync", "Acme")
        assert synced.stdout.startswith("Acme: 1 cards listed"), synced.output
        again = await run(cli, "partner", "invite", "Acme")
        assert (again.exit_code, again.stderr) == (
            1,
            "roambridge: Acme is registered already; unregister it first\n",
        )
        left = await run(cli, "partner", "unregister", "Acme")
        assert (left.exit_code, left.stdout) == (0, "Acme has left\n")
    [card] = [json.loads(line) for line in (await run(cli, "token", "list", "--json")).stdout.splitlines()]
    assert (card["owner"], card["valid"]) == ("Acme", False)


async def test_we_register_at_a_partner_with_its_invitation(cli: Cli, service: Service) -> None:
    async with EmspSimulator(("NL", "MSP"), "127.0.0.1", 0, name="Acme") as emsp:
        url, token = emsp.versions_url, emsp.invite()
        registered = await run(cli, "partner", "register", "Acme", "--url", url, "--token", token)
        assert (registered.exit_code, registered.stdout) == (0, "registered at Acme: OCPI 2.2.1, NL-MSP EMSP\n")
        shown = await run(cli, "partner", "show", "Acme")
        assert f"{emsp.versions_url.removesuffix('/versions')}/2.2.1/tokens" in shown.stdout
        wrong = await run(cli, "partner", "register", "Other", "--url", url, "--token", "nobodys-token")
        assert wrong.exit_code == 1
        assert wrong.stderr.startswith("roambridge: Other: ")
        assert len(wrong.stderr.splitlines()) == 1


async def test_how_much_a_charger_may_draw_is_set_compared_and_taken_away(cli: Cli, charger: list[Any]) -> None:  # G01
    shown = await run(cli, "profile", "set", "CP1", "1", "--limit", "16.5A", "--hours", "2")
    assert (shown.exit_code, shown.stdout.split("\n")[1]) == (0, "profile 1"), shown.stderr
    told = next(payload["csChargingProfiles"] for action, payload in charger if action == "SetChargingProfile")
    assert told["chargingProfileId"] == 1
    assert told["chargingSchedule"]["chargingSchedulePeriod"] == [{"startPeriod": 0, "limit": 16.5}]
    held = json.loads((await run(cli, "profile", "list", "CP1", "--json")).stdout)
    assert (held["state"], held["limits"]) == ("installed", ["16.5 A from 0 s"])
    ours = await run(cli, "profile", "schedule", "CP1", "1", "--hours", "1", "--ask")
    assert ours.exit_code == 1
    assert "32 for 16.5 A" in ours.stderr
    gone = await run(cli, "profile", "clear", "CP1", "--all")
    assert "not_found" in gone.stderr  # the charger's word: it holds none
    assert "none" in (await run(cli, "profile", "list", "CP1")).stdout
    refused = await run(cli, "profile", "set", "CP1", "0", "--limit", "16A", "--purpose", "tx")
    assert (refused.exit_code, refused.stderr) == (1, "roambridge: a transaction's profile names its EVSE\n")
    for words in (["--limit", "sixteen"], [], ["--limit", "16A", "--file", "x.json"]):
        assert (await run(cli, "profile", "set", "CP1", "1", *words)).exit_code == 2
