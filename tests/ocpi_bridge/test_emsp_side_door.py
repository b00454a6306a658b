"""The simulated partner's side door: faults come and go while it runs, and what it received can be listed."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from click.testing import Result
from typer.testing import CliRunner

from ocpi_bridge.emsp_simulator import EmspSimulator, Fault
from ocpi_bridge.emsp_simulator.cli import app
from ocpi_bridge.emsp_simulator.serving import serving
from ocpi_bridge.emsp_simulator.side_door import NotSuch, plan, side_door


@pytest.fixture
async def door() -> AsyncIterator[tuple[EmspSimulator, str]]:
    async with EmspSimulator() as emsp, serving(side_door(emsp), "127.0.0.1", 0) as admin:
        yield emsp, admin.url.removeprefix("http://")


async def asked(*arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, list(arguments))


async def get(url: str, token: str = "tok") -> int:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        return (await http.get(url, headers={"Authorization": f"Token {token}"})).status_code


async def test_a_fault_is_set_listed_spent_and_cleared_while_it_runs(door: tuple[EmspSimulator, str]) -> None:
    emsp, admin = door
    told = await asked("fault", "versions=error_500:2", "--admin", admin)
    assert (told.exit_code, told.output) == (0, "versions: error_500, any method, 2 more\n")
    assert [await get(emsp.versions_url) for _ in range(3)] == [500, 500, 401]
    await asked("fault", "tokens=stale_token:always", "--method", "get", "--admin", admin)
    told = await asked("fault", "--admin", admin)
    assert told.output == "tokens: stale_token, GET, always\n"
    assert (await asked("fault", "--clear", "--admin", admin)).output == ""
    assert emsp.faults == []


@pytest.mark.parametrize("wrong", ["versions", "versions=bad", "versions=hang:soon", "=hang:-1"])
async def test_what_is_no_fault_is_said_in_a_line(door: tuple[EmspSimulator, str], wrong: str) -> None:
    emsp, admin = door
    told = await asked("fault", wrong, "--admin", admin)
    assert (told.exit_code, told.output.count("\n")) == (1, 1)
    assert (await asked("run", "--fault", wrong)).exit_code == 2
    assert emsp.faults == []


async def test_a_fault_may_strike_everything(door: tuple[EmspSimulator, str]) -> None:
    emsp, _ = door
    plan(emsp, "=error_500")
    assert [await get(emsp.versions_url) for _ in range(2)] == [500, 401]
    with pytest.raises(NotSuch):
        plan(emsp, "hang")


async def test_requests_are_listed_without_the_tokens_they_carried(door: tuple[EmspSimulator, str]) -> None:
    emsp, admin = door
    await get(emsp.versions_url, "c2VjcmV0")
    async with httpx.AsyncClient(trust_env=False) as http:
        body = {"token": "another-secret", "url": "https://e\x1b[31m"}
        await http.post(f"{emsp.base_url}/2.2.1/credentials", json=body)
        await http.put(f"{emsp.base_url}/2.2.1/sessions/BE/BEC/%1b%5b31m", json={"kwh": 1.5})
    lines = (await asked("requests", "--admin", admin)).output.splitlines()
    assert [line.split()[-2:] for line in lines] == [
        ["GET", "/versions"],
        ["POST", "/2.2.1/credentials"],
        ["PUT", "/2.2.1/sessions/BE/BEC/%1b%5b31m"],
    ]
    whole = (await asked("requests", "--json", "--admin", admin)).output
    rows: list[dict[str, Any]] = [json.loads(line) for line in whole.splitlines()]
    assert rows[2]["body"] == {"kwh": 1.5}
    assert "secret" not in whole
    assert "c2VjcmV0" not in whole
    assert "\x1b" not in whole
    found = (await asked("requests", "--method", "put", "--path", "sessions", "--admin", admin)).output
    assert found.splitlines() == lines[2:]


async def test_complaints_and_objects_are_told(door: tuple[EmspSimulator, str]) -> None:
    emsp, admin = door
    await get(emsp.versions_url)
    assert "GET /versions: unknown token (TR-07)" in (await asked("complaints", "--admin", admin)).output
    emsp.cdrs.append({"id": "C1"})
    emsp.locations.put({"id": "L1"}, "BE", "BEC", "L1")
    told = json.loads((await asked("objects", "--admin", admin)).output)
    assert (told["cdrs"], told["locations"], told["sessions"]) == ([{"id": "C1"}], [{"id": "L1"}], [])


async def test_the_side_door_is_open_to_this_machine_alone(door: tuple[EmspSimulator, str]) -> None:
    _, admin = door
    for elsewhere in ("0.0.0.0:0", "192.0.2.1:80", "example.com:80"):
        assert (await asked("run", "--listen", "127.0.0.1:0", "--admin", elsewhere)).exit_code == 2
    async with httpx.AsyncClient(trust_env=False) as http:
        told = await http.get(f"http://{admin}/requests", headers={"Host": "evil.example"})
        assert told.status_code == 400
        assert (await http.get(f"http://{admin}/versions")).status_code == 404


async def test_nobody_at_the_side_door_is_said_in_a_line() -> None:
    told = await asked("requests", "--admin", "127.0.0.1:1")
    assert (told.exit_code, told.output.startswith("no partner answers at 127.0.0.1:1")) == (1, True)


async def test_slow_answers_late_and_withheld_never() -> None:
    async with EmspSimulator() as emsp:
        emsp.slow_s = 0.05
        emsp.trust("tok", ("BE", "BEC"))
        emsp.fault("versions", Fault.SLOW)
        began = asyncio.get_running_loop().time()
        assert await get(emsp.versions_url, "dG9r") == 200
        assert asyncio.get_running_loop().time() - began >= 0.05
        emsp.fault("versions", Fault.WITHHELD)
        hanging = asyncio.create_task(get(emsp.versions_url, "dG9r"))
        await emsp.wait_for(lambda: len(emsp.requests) == 2 and emsp.faults == [])
        assert not hanging.done()
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)
