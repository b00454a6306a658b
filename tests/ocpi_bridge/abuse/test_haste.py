"""A partner that asks without a pause, or sends bodies that never end, is told to wait; nobody else waits for it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from ocpi_bridge.conformance.allowance import Allowance
from tests.ocpi_bridge.abuse.rig import Rig, abused

only_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
LIST = "/cpo/2.2.1/locations"
WAITING = 60  # requests whose bodies never come


def test_a_bucket_fills_at_its_rate_and_holds_ten_seconds_worth() -> None:  # TR-37
    now = 0.0
    allowance = Allowance(60, monotonic=lambda: now)
    assert [allowance.wait_s(1) for _ in range(11)] == [0] * 10 + [1]
    assert allowance.wait_s(2) == 0
    now += 2.5
    assert [allowance.wait_s(1) for _ in range(3)] == [0, 0, 1]
    now += 3600
    assert [allowance.wait_s(1) for _ in range(11)] == [0] * 10 + [1]


def test_a_slow_rate_says_how_long_and_none_limits_nobody() -> None:  # TR-37
    slow = Allowance(2, monotonic=lambda: 0.0)
    assert [slow.wait_s(1), slow.wait_s(1)] == [0, 30]
    assert not any(Allowance(0).wait_s(1) for _ in range(1000))


@only_sqlite
async def test_who_asks_too_often_is_told_when_to_come_again_and_the_others_are_served(
    cli: Callable[..., Any], environment: Callable[..., None]
) -> None:  # TR-37
    async with (
        abused(environment, OCPI_REQUESTS_PER_MINUTE="6") as rig,
        rig.client("one") as one,
        rig.client("two") as two,
    ):
        assert (await one.get(LIST)).status_code == 200
        refused = await one.get(LIST)
        assert (refused.status_code, refused.json()["status_code"]) == (429, 2000)
        assert 1 <= int(refused.headers["retry-after"]) <= 10
        assert "x-request-id" in refused.headers
        assert (await two.get(LIST)).status_code == 200


@only_sqlite
async def test_bodies_that_never_come_hold_up_nobody(rig: Rig) -> None:
    host, _, port = rig.url.removeprefix("http://").partition(":")
    token = rig.header("one")["Authorization"]
    head = (
        f"PUT /ocpi/cpo/2.2.1/tokens/DE/TNM/CARD-of-one HTTP/1.1\r\nHost: {host}\r\nAuthorization: {token}\r\n"
        "Content-Length: 100\r\n\r\n{"
    )
    writers = []
    try:
        for _ in range(WAITING):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(head.encode())
            await writer.drain()
            writers.append(writer)
        async with asyncio.timeout(30):
            await rig.is_well()
    finally:
        for writer in writers:
            writer.close()
