"""What a charger says at a gateway is answered by a worker, once, in order."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from csms.events import RegistrationStatus
from csms.models import HandledEvent, StationBoot
from tests.csms.bus.roles import Roles
from tests.csms.bus.words import boot, end, start


async def test_a_boot_at_a_gateway_is_answered_by_a_worker(roles: Roles) -> None:
    worker = await roles.worker()
    worker.story.site("CP1")
    gateway = await roles.gateway()
    async with asyncio.timeout(30):
        reply = await gateway.bus.report(boot("CP1"))
    assert reply.status is RegistrationStatus.ACCEPTED
    assert reply.current_time == worker.story.now
    assert [row.station_id for row in worker.story.rows(StationBoot)] == ["CP1"]


async def test_who_gave_up_may_report_the_same_again(roles: Roles) -> None:
    gateway = await roles.gateway()
    event = boot("CP1")
    given_up = asyncio.ensure_future(gateway.bus.report(event))
    await asyncio.sleep(0)
    given_up.cancel()
    again = asyncio.ensure_future(gateway.bus.report(event))  # at once, before anybody heard of the first
    with contextlib.suppress(asyncio.CancelledError):
        await given_up
    worker = await roles.worker()
    worker.story.site("CP1")
    async with asyncio.timeout(30):
        reply = await again
    assert reply.status is RegistrationStatus.ACCEPTED
    assert [row.event_id for row in worker.story.rows(HandledEvent)] == [event.event_id]


@pytest.mark.parametrize("hours", [2, -2])
async def test_a_charge_is_as_long_as_it_was_though_the_clock_of_its_gateway_jumps(roles: Roles, hours: int) -> None:
    """Redis and the worker agree on the time."""
    worker = await roles.worker()
    story, gateway = worker.story, await roles.gateway()
    story.now = now = datetime.now(UTC)
    story.site("CP1")
    story.card()
    async with asyncio.timeout(30):
        begun = start("CP1", at=now - timedelta(minutes=5))
        number = (await gateway.bus.report(msgspec.structs.replace(begun, received_at=now))).transaction_id
        over = end("CP1", number, 1_500_000, at=now)
        jumped = msgspec.structs.replace(over, received_at=now + timedelta(hours=hours))
        await gateway.bus.report(jumped)
    row = story.transaction()
    assert (row.started_at, row.ended_at, row.flags) == (now - timedelta(minutes=5), now, ["reason_assumed"])
    assert abs(row.ended_received_at - now) < timedelta(minutes=1)
