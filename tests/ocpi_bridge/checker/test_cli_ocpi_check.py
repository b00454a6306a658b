"""`roambridge ocpi check`: lines or JSON, exit codes, and no token in what it says."""

import asyncio
import base64
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ocpi_bridge.emsp_simulator import EmspSimulator, Fault

Cli = Callable[..., Any]
TOKEN = "t0k3n-of-ours-at-the-partner"


@pytest.fixture
def emsp() -> Iterator[EmspSimulator]:
    """It runs in a loop of its own: the command starts another."""
    simulator = EmspSimulator()
    ready, loop = threading.Event(), asyncio.new_event_loop()

    async def serve() -> None:
        async with simulator:
            simulator.trust(TOKEN, ("BE", "BEC"))
            simulator.issue_token("CARD1")
            ready.set()
            await simulator.closed.wait()

    def run() -> None:
        loop.run_until_complete(serve())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(10)
    yield simulator
    loop.call_soon_threadsafe(simulator.closed.set)
    thread.join(10)


only_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


@only_sqlite
def test_a_clean_platform_ends_with_0(cli: Cli, emsp: EmspSimulator) -> None:
    result = cli("ocpi", "check", emsp.versions_url, "--token", "-", input=f"{TOKEN}\n")
    assert result.exit_code == 0, result.stdout + result.stderr
    assert "0 deviations of MUST" in result.stdout
    assert "read 1 tokens" in result.stdout


@only_sqlite
def test_deviations_are_told_line_by_line_and_end_with_1(cli: Cli, emsp: EmspSimulator) -> None:
    emsp.issue_token("CARD2", whitelist=TOKEN, issuer=base64.b64encode(TOKEN.encode()).decode() * 2)
    result = cli("ocpi", "check", emsp.versions_url, "--token", TOKEN)
    assert result.exit_code == 1
    (line,) = [line for line in result.stdout.splitlines() if "TY-17" in line]
    assert line.startswith("MUST   TY-17  tokens CARD... whitelist: '(token)' is no WhitelistType; due:")
    (row,) = [json.loads(line) for line in _json(cli, emsp) if "TY-17" in line]
    assert set(row) == {"id", "level", "where", "seen", "due", "count"}
    for said in (result.stdout, result.stderr, *_json(cli, emsp)):
        assert TOKEN not in said
        assert base64.b64encode(TOKEN.encode()).decode() not in said


def _json(cli: Cli, emsp: EmspSimulator) -> list[str]:
    return list(cli("ocpi", "check", emsp.versions_url, "--token", TOKEN, "--json").stdout.splitlines())


@only_sqlite
@pytest.mark.parametrize(
    "arguments",
    [
        ("http://10.0.0.1/versions", "--token", TOKEN),  # not what OUTBOUND_ALLOW names
        ("file:///etc/passwd", "--token", TOKEN),
        ("https://example.com/versions", "--token", "two words"),
        ("https://example.com/versions", "--token", TOKEN, "--version", "3.0"),
        ("https://example.com/versions", "--token", TOKEN, "--party", "someone"),
        ("https://example.com/versions",),
    ],
)
def test_what_cannot_begin_ends_with_2(cli: Cli, arguments: tuple[str, ...]) -> None:  # TR-35
    result = cli("ocpi", "check", *arguments)
    assert result.exit_code == 2, result.stdout + result.stderr
    assert TOKEN not in result.stdout + result.stderr


@only_sqlite
def test_a_private_platform_is_called_when_the_operator_says_so(
    cli: Cli, environment: Callable[..., None], emsp: EmspSimulator
) -> None:  # TR-35
    environment(OUTBOUND_ALLOW="")
    refused = cli("ocpi", "check", emsp.versions_url, "--token", TOKEN)
    assert (refused.exit_code, emsp.requests) == (2, [])
    assert "OUTBOUND_ALLOW" in refused.stderr
    assert cli("ocpi", "check", emsp.versions_url, "--token", TOKEN, "--private").exit_code == 0
    assert cli("ocpi", "check", "http://[::1", "--token", TOKEN, "--private").exit_code == 2


@only_sqlite
def test_where_a_private_platform_leads_elsewhere_nobody_goes(
    cli: Cli, environment: Callable[..., None], emsp: EmspSimulator
) -> None:  # TR-35
    environment(OUTBOUND_ALLOW="")
    here, emsp.base_url = emsp.versions_url, "http://127.0.0.2:1"
    result = cli("ocpi", "check", here, "--token", TOKEN, "--private")
    assert result.exit_code == 1
    assert "127.0.0.2 is not on the public internet" in result.stdout
    assert {request.path.rstrip("/") for request in emsp.requests} == {"/versions"}


@only_sqlite
def test_who_does_not_answer_or_does_not_know_us_ends_with_2(cli: Cli, emsp: EmspSimulator) -> None:
    unknown = cli("ocpi", "check", emsp.versions_url, "--token", "nobodys")
    assert (unknown.exit_code, "HTTP 401" in unknown.stderr) == (2, True), unknown.stdout
    emsp.fault("versions", Fault.HANG, times=None)
    silent = cli("ocpi", "check", emsp.versions_url, "--token", TOKEN, "--timeout", "0.2")
    assert (silent.exit_code, "does not answer" in silent.stderr) == (2, True), silent.stdout


@only_sqlite
def test_json_is_on_one_side_and_its_summary_on_the_other(cli: Cli, emsp: EmspSimulator) -> None:
    emsp.issue_token("CARD2", issuer="x" * 65)
    result = cli("ocpi", "check", emsp.versions_url, "--token", TOKEN, "--json")
    assert {json.loads(line)["id"] for line in result.stdout.splitlines()} >= {"TY-06"}
    assert result.stderr.startswith("OCPI 2.2.1: 1 deviations of MUST")


@only_sqlite
def test_a_platform_that_invents_fields_without_end_fills_no_screen(cli: Cli, emsp: EmspSimulator) -> None:
    emsp.issue_token("CARD2", **{f"x{number}": 1 for number in range(3_000)})
    result = cli("ocpi", "check", emsp.versions_url, "--token", TOKEN)
    assert len(result.stdout.splitlines()) <= 1_001
    assert "not read: findings beyond 1000" in result.stdout


@only_sqlite
def test_a_token_that_opens_no_module_ends_with_2(cli: Cli, emsp: EmspSimulator) -> None:  # TR-08
    emsp.inbound.clear()
    emsp.invitations.add(TOKEN)
    result = cli("ocpi", "check", emsp.versions_url, "--token", TOKEN)
    assert result.exit_code == 2, result.stdout
    assert "TR-08" in result.stdout


@only_sqlite
def test_an_answer_that_does_not_end_ends_by_the_time_limit(cli: Cli, emsp: EmspSimulator) -> None:
    emsp.fault("tokens", Fault.DRIP, times=None)
    result = cli("ocpi", "check", emsp.versions_url, "--token", TOKEN, "--timeout", "0.2")
    assert result.exit_code == 1
    assert "PG-15" in result.stdout
