"""What an operator does with a station from a terminal: its settings, its messages, and a restart the hard way."""

import asyncio
import base64
import json
import os
import pty
import pwd
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select as rows_of
from sqlalchemy import update
from websockets.asyncio.client import connect

from csms import people, resets, stations
from csms.database import Database
from csms.models import Alert, RemoteRequest, Station
from csms.users import Role
from ocpi_bridge.roles.serve import Service
from ocpi_bridge.settings import load
from tests.ocpi_bridge.cli_answers import objects

Cli = Callable[..., Any]
PASSWORD = "a-charger-key-of-the-tests"
LIMIT_S = 30
ROOT = Path(__file__).parents[2]
ME = pwd.getpwuid(os.getuid()).pw_name


class Charger:
    """Answers over a real socket; it has settings that can be read and changed."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.settings = {"HeartbeatInterval": "300", "WebSocketPingInterval": "60", "ConnectionTimeOut": "60"}
        self.resets = "Accepted"

    def answer(self, action: str, payload: Any) -> Any:
        self.asked.append((action, payload))
        if action == "GetConfiguration":
            keys = payload.get("key") or list(self.settings)
            known = [key for key in keys if key in self.settings]
            return {
                "configurationKey": [{"key": k, "readonly": k == "Model", "value": self.settings[k]} for k in known],
                "unknownKey": [key for key in keys if key not in self.settings],
            }
        if action == "ChangeConfiguration":
            if payload["key"] not in self.settings:
                return {"status": "NotSupported"}
            self.settings[payload["key"]] = payload["value"]
            return {"status": "Accepted"}
        if action == "DataTransfer":
            return {"status": "Accepted", "data": f"{payload['messageId']} done"}
        if action == "Reset":
            return {"status": self.resets}
        return {"status": "Accepted"}

    def payloads(self, action: str) -> list[Any]:
        return [payload for asked, payload in self.asked if asked == action]


@pytest.fixture
async def service(cli: Cli, environment: Callable[..., None]) -> AsyncIterator[Service]:
    environment(OCPP_LISTEN="127.0.0.1:0", HTTP_LISTEN="127.0.0.1:0", PUBLIC_URL="http://127.0.0.1")
    service = Service(load())
    assert service.csms.after_boot is not None
    service.csms.after_boot._settle_s = (600.0, 600.0)  # what follows a Boot is another story
    async with asyncio.timeout(LIMIT_S):
        await service.start()
    yield service
    async with asyncio.timeout(LIMIT_S):
        await service.stop()


@pytest.fixture
async def charger(service: Service, database: Database) -> AsyncIterator[Charger]:
    with database.write() as connection:
        stations.provision(connection, "CP1", PASSWORD, datetime.now(UTC))
    charger = Charger()
    basic = base64.b64encode(f"CP1:{PASSWORD}".encode()).decode()
    async with connect(
        f"ws://127.0.0.1:{service.gateway.port}/ocpp/CP1",
        subprotocols=["ocpp1.6"],  # type: ignore[list-item]
        additional_headers={"Authorization": f"Basic {basic}"},
        proxy=None,
    ) as line:
        boot = {"chargePointVendor": "V", "chargePointModel": "M", "chargePointSerialNumber": "1"}
        await line.send(json.dumps([2, "boot", "BootNotification", boot]))
        async with asyncio.timeout(LIMIT_S):
            assert json.loads(await line.recv())[2]["status"] == "Accepted"

        async def answer() -> None:
            async for text in line:
                _, message_id, action, payload = json.loads(text)
                await line.send(json.dumps([3, message_id, charger.answer(action, payload)]))

        answering = asyncio.create_task(answer())
        yield charger
        answering.cancel()


async def run(cli: Cli, *arguments: str) -> Any:
    async with asyncio.timeout(LIMIT_S):
        return await asyncio.to_thread(cli, *arguments)


# ---- settings ---------------------------------------------------------------------------------------------------------


async def test_settings_are_read_set_and_compared(cli: Cli, charger: Charger) -> None:  # C09
    charger.settings["Model"] = "X"
    assert "never read" in (await run(cli, "station", "configuration", "CP1")).stdout
    rows = {row["key"]: row for row in objects(await run(cli, "station", "configuration", "CP1", "--read", "--json"))}
    assert (rows["ConnectionTimeOut"]["value"], rows["Model"]["readonly"]) == ("60", True)
    done = await run(cli, "station", "set", "CP1", "ConnectionTimeOut", "90")
    assert (done.exit_code, done.stdout) == (0, "CP1: accepted (Accepted)\n")
    assert charger.settings["ConnectionTimeOut"] == "90"
    unknown = await run(cli, "station", "set", "CP1", "Colour", "red")
    assert (unknown.exit_code, unknown.stderr) == (1, "roambridge: CP1: not_supported (NotSupported)\n")
    charger.settings["ConnectionTimeOut"] = "30"
    await run(cli, "station", "configuration", "CP1", "--read")
    found = {row["key"]: row for row in objects(await run(cli, "station", "configuration", "CP1", "--drift", "--json"))}
    assert (found["ConnectionTimeOut"]["desired"], found["ConnectionTimeOut"]["actual"]) == ("90", "30")
    assert (found["Colour"]["state"], found["Colour"]["actual"]) == ("unsupported", None)
    assert "30" in (await run(cli, "station", "configuration", "CP1")).stdout


async def test_what_would_harm_is_refused_before_it_is_sent(cli: Cli, charger: Charger) -> None:  # C09, C06
    charger.settings |= {"Model": "X", "MeterValueSampleInterval": "60"}
    await run(cli, "station", "configuration", "CP1", "--read")
    fine = await run(cli, "station", "set", "CP1", "MeterValueSampleInterval", "5")
    assert fine.exit_code == 1
    assert "--sure overrules this" in fine.stderr
    for key, word in {"Model": "read only", "AuthorizationKey": "station password", "WifiPassword": "secret"}.items():
        refused = await run(cli, "station", "set", "CP1", key, "x")
        assert refused.exit_code == 1
        assert word in refused.stderr
    assert charger.payloads("ChangeConfiguration") == []
    assert (await run(cli, "station", "set", "CP1", "MeterValueSampleInterval", "5", "--sure")).exit_code == 0
    charger.settings |= {"AuthorizationKey": "old", "WifiPassword": "old"}
    for key in ("AuthorizationKey", "authorizationkey ", "SecurityProfile"):
        refused = await run(cli, "station", "command", "CP1", "change-configuration", key, "1")
        assert (refused.exit_code, "is changed by" in refused.stderr or "is raised by" in refused.stderr) == (1, True)
    assert charger.settings["AuthorizationKey"] == "old"
    nobody = await run(cli, "station", "set", "CP9", "A", "1")
    assert (nobody.exit_code, nobody.stderr) == (1, "roambridge: there is no station CP9\n")


async def test_another_secret_is_written_and_kept_nowhere(cli: Cli, charger: Charger, database: Database) -> None:
    charger.settings["WifiPassword"] = "old"
    done = await run(cli, "station", "command", "CP1", "change-configuration", "WifiPassword", "hunter2")
    assert done.exit_code == 0, done.stderr
    assert charger.settings["WifiPassword"] == "hunter2"
    with database.read() as connection:
        [kept] = connection.execute(rows_of(RemoteRequest.command)).scalars()
    assert kept["value"] == "[redacted]"


async def test_a_station_is_throttled_by_the_key_of_its_vendor(
    cli: Cli, charger: Charger, database: Database
) -> None:  # G10
    charger.settings |= {"MaxCurrent": "32", "G_MaxCurrent": "32"}
    done = await run(cli, "station", "throttle", "CP1", "16")
    assert (done.exit_code, done.stdout) == (0, "CP1: accepted (Accepted)\n"), done.stderr
    with database.write() as connection:
        connection.execute(update(Station).values(vendor="Growatt", model="THOR 11AS-S"))
    assert (await run(cli, "station", "throttle", "CP1", "10.5")).exit_code == 0
    assert (charger.settings["MaxCurrent"], charger.settings["G_MaxCurrent"]) == ("16", "10.5")
    nobody = await run(cli, "station", "throttle", "CP9", "16")
    assert (nobody.exit_code, nobody.stderr) == (1, "roambridge: there is no station CP9\n")
    assert (await run(cli, "station", "throttle", "CP1", "NaN")).exit_code == 2


# ---- messages ---------------------------------------------------------------------------------------------------------


async def test_the_rest_of_what_a_station_can_be_asked(cli: Cli, charger: Charger) -> None:  # C09
    for words in (
        ["clear-cache"],
        ["send-data", "com.example", "Tune", '{"a": 1}'],
        ["SendData", "com.example", "Ping"],
        ["extended-trigger", "log-status"],
        ["extended_trigger", "meter-values", "1"],
    ):
        result = await run(cli, "station", "command", "CP1", *words)
        assert result.exit_code == 0, (words, result.output)
        if words[0] == "send-data":
            assert result.stdout == "CP1: accepted (Accepted)\nTune done\n"
    assert [(a, p) for a, p in charger.asked if a not in ("GetConfiguration", "ChangeConfiguration")] == [
        ("ClearCache", {}),
        ("DataTransfer", {"vendorId": "com.example", "messageId": "Tune", "data": '{"a": 1}'}),
        ("DataTransfer", {"vendorId": "com.example", "messageId": "Ping"}),
        ("ExtendedTriggerMessage", {"requestedMessage": "LogStatusNotification"}),
        ("ExtendedTriggerMessage", {"requestedMessage": "MeterValues", "connectorId": 1}),
    ]
    for wrong in (["trigger-message", "log-status"], ["extended-trigger", "diagnostics-status"], ["send-data", "x"]):
        assert (await run(cli, "station", "command", "CP1", *wrong)).exit_code == 2


# ---- a restart the hard way (R04, R05) --------------------------------------------------------------------------------


def at_a_terminal(typed: str, *arguments: str) -> tuple[int, str]:
    """`roambridge ...` as a person runs it who answers `typed` when asked; its exit code and all that it showed."""
    ours, theirs = pty.openpty()
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "TERM": "dumb"}
    environ |= {name: value for name, value in os.environ.items() if name.startswith("ROAMBRIDGE_")}
    running = subprocess.Popen(
        [sys.executable, "-m", "ocpi_bridge", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environ,
        start_new_session=True,
    )
    os.close(theirs)
    shown, answered = b"", False
    try:
        while select.select([ours], [], [], LIMIT_S)[0]:
            try:
                more = os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            if not more:
                break
            shown += more
            if b"to go on" in shown and not answered:
                answered = True
                os.write(ours, f"{typed}\n".encode())
        return running.wait(LIMIT_S), shown.decode()
    finally:
        if running.poll() is None:
            running.send_signal(signal.SIGKILL)
            running.wait()
        os.close(ours)


async def person(typed: str, *arguments: str) -> tuple[int, str]:
    return await asyncio.to_thread(at_a_terminal, typed, *arguments)


HARD = ("station", "reset", "CP1", "--hard", "--reason", "hangs")


async def test_a_job_cannot_reset_the_hard_way(cli: Cli, charger: Charger, database: Database) -> None:  # R05
    with database.write() as connection:
        people.add(connection, ME, Role.ADMIN, datetime.now(UTC))
    refused = await run(cli, *HARD, "--without-soft")
    assert (refused.exit_code, refused.stderr) == (
        1,
        "roambridge: a hard reset is a person's decision: it needs a terminal\n",
    )
    assert (await run(cli, "station", "reset", "CP1", "--hard")).exit_code == 2  # no reason
    assert (await run(cli, "station", "reset", "CP1", "--reason", "hangs")).exit_code == 2
    assert charger.payloads("Reset") == []


async def test_a_person_at_a_terminal_resets_the_hard_way_after_the_soft_way_failed(  # R04, R05, C10
    cli: Cli, charger: Charger, database: Database
) -> None:
    code, shown = await person("CP1", *HARD)
    assert (code, f"{ME} is no user" in shown) == (1, True), shown
    assert (await run(cli, "user", "add", ME, "--role", "viewer")).exit_code == 0
    code, shown = await person("CP1", *HARD)
    assert (code, "it takes an operator" in shown) == (1, True), shown
    assert (await run(cli, "user", "add", ME, "--role", "operator")).exit_code == 0
    code, shown = await person("CP1", *HARD)
    assert (code, "no soft reset was tried" in shown) == (1, True), shown
    charger.resets = "Rejected"
    assert (await run(cli, "station", "reset", "CP1")).exit_code == 1
    code, shown = await person("CP2", *HARD)
    assert (code, "nothing was sent" in shown) == (1, True), shown
    charger.resets = "Accepted"
    code, shown = await person("CP1", *HARD)
    assert (code, "CP1: accepted" in shown) == (0, True), shown
    assert charger.payloads("Reset") == [{"type": "Soft"}, {"type": "Hard"}]
    with database.read() as connection:
        row = connection.execute(rows_of(RemoteRequest.__table__).where(RemoteRequest.reason.is_not(None))).one()
        kinds = connection.execute(rows_of(Alert.kind)).scalars().all()
    assert (row.requested_by, row.reason, row.state, row.effect) == (f"person:{ME}", "hangs", "accepted", "awaited")
    assert "hard_reset" in kinds


async def test_a_person_may_overrule(cli: Cli, charger: Charger, database: Database) -> None:  # R04
    await run(cli, "user", "add", ME, "--role", "admin")
    code, shown = await person("CP1", *HARD, "--without-soft")
    assert (code, "accepted" in shown) == (0, True), shown
    with database.write() as connection:
        connection.execute(update(RemoteRequest).values(effect="missing"))
        assert resets.too_early(connection, "CP1", datetime.now(UTC)) is not None  # that one was not soft


def test_people_are_added_listed_and_disabled(cli: Cli) -> None:  # R05
    assert cli("user", "add", "eve", "--role", "operator").stdout == "eve may come in, as operator\n"
    assert cli("user", "add", "eve", "--role", "admin").stdout == "eve is admin now\n"
    assert cli("user", "add", "api:key").exit_code == 1
    assert cli("user", "add", "eve", "--role", "king").exit_code == 2
    assert cli("user", "disable", "eve").stdout == "eve may do nothing any more\n"
    assert cli("user", "disable", "eve").stdout == "eve was disabled before\n"
    assert "no user bob" in cli("user", "disable", "bob").stderr
    [row] = objects(cli("user", "list", "--json"))
    assert (row["name"], row["role"], row["disabled_at"] is None) == ("eve", "admin", False)
