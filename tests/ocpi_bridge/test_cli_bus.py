"""`roambridge bus`: what no worker could handle is told, sent again and dropped."""

from collections.abc import Callable
from typing import Any

import pytest

from csms.bus import names
from csms.bus.entries import Reported, entry_to_bytes
from tests.csms.bus.words import boot
from tests.ocpi_bridge.cli_answers import objects, refusal
from tests.redis_server import RedisServer

Cli = Callable[..., Any]


@pytest.fixture
def dialect() -> str:
    return "sqlite"  # no command here looks into the database


@pytest.fixture
def bus(cli: Cli, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.setenv("ROAMBRIDGE_REDIS_URL", redis_server.url)
    return lambda *arguments: cli("bus", *arguments)


def buried(server: RedisServer, station_id: str, error: str) -> str:
    """The id of a letter."""
    letter = {
        "entry_id": "1780315200000-0",
        "stream": names.stream_of(station_id),
        "e": entry_to_bytes(Reported(boot(station_id), "gateway-1")),
        "error": error,
    }
    with server.look() as redis:
        return str(redis.xadd(names.DEAD, letter))


def waiting(server: RedisServer, station_id: str) -> int:
    with server.look() as redis:
        return int(redis.xlen(names.events(names.stream_of(station_id))))


def test_dead_messages_are_told_sent_again_and_dropped(bus: Cli, redis_server: RedisServer) -> None:
    first, second, third = (buried(redis_server, f"CP{n}", "DataError: out of range") for n in range(3))
    told = objects(bus("dead", "--json"))
    assert [row["letter_id"] for row in told] == [first, second, third]
    assert told[0] | {"letter_id": "", "died_at": "", "event_id": ""} == {
        "letter_id": "",
        "died_at": "",
        "said_at": "2026-06-01T12:00:00Z",
        "station_id": "CP0",
        "kind": "station_booted",
        "event_id": "",
        "times": 1,
        "error": "DataError: out of range",
    }
    assert "DataError" in bus("dead").stdout
    assert bus("drop", second).stdout == f"{second} dropped\n"
    assert refusal(bus("drop", second)).startswith(f"there is no dead message {second}")
    assert bus("requeue", first).stdout == "1 sent again\n"
    assert [waiting(redis_server, f"CP{n}") for n in range(3)] == [1, 0, 0]
    assert bus("requeue", "--all").stdout == "1 sent again\n"
    assert [waiting(redis_server, f"CP{n}") for n in range(3)] == [1, 0, 1]
    assert bus("dead").stdout == "dead messages: none\n"


def test_without_one_or_all_nothing_is_sent(bus: Cli) -> None:
    assert refusal(bus("requeue")) == "name one message, or --all"
    assert refusal(bus("requeue", "1-0", "--all")) == "name one message, or --all"


def test_without_a_redis_it_says_so(
    cli: Cli, bus: Cli, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_server.kill()
    assert refusal(bus("dead")).startswith("ROAMBRIDGE_REDIS_URL: ")
    monkeypatch.delenv("ROAMBRIDGE_REDIS_URL")
    assert refusal(cli("bus", "dead")).startswith("ROAMBRIDGE_REDIS_URL is not set")
