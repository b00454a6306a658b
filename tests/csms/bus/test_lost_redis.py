"""A Redis that lost everything, and whose clock is behind, is spoken with all the same."""

import asyncio
import time

import msgspec
import pytest

from csms.bus import names
from csms.commands import GetConfiguration, Outcome
from csms.models import StationBoot
from tests.csms.bus.roles import Roles
from tests.csms.bus.test_commands import SETTINGS, Sockets, here
from tests.csms.bus.words import boot, until
from tests.redis_server import RedisServer

AHEAD_S = 3600


@pytest.mark.parametrize("how", ["flushed", "began again"])
async def test_entries_with_lower_ids_than_before_are_read(roles: Roles, redis_server: RedisServer, how: str) -> None:
    gateway, worker = await roles.gateway(), await roles.worker()
    sockets = [Sockets(role.bus, SETTINGS) for role in (gateway, worker)]
    worker.story.site("CP1")
    await here(gateway, redis_server, "CP1", "c1")
    read = msgspec.msgpack.encode([["displaced", "CP1", "c0", "c1"]])
    with redis_server.look() as redis:  # as if its clock had been an hour ahead, or is behind from now on
        for role in (gateway, worker):
            redis.xadd(names.inbox(role.bus.process_id), {"m": read}, id=f"{int((time.time() + AHEAD_S) * 1000)}-0")
    await until(lambda: [len(one.displaced) for one in sockets] == [1, 1])

    if how == "flushed":
        with redis_server.look() as redis:
            redis.flushall()
    else:
        redis_server.kill()
        redis_server.forget()
        await asyncio.to_thread(redis_server.start)
    async with asyncio.timeout(30):
        await gateway.bus.report(boot("CP1"))
    with redis_server.look() as redis:
        await until(lambda: redis.hget(names.WHERE, "CP1") == f"{gateway.bus.process_id} c1")
    answer = await worker.bus.send(GetConfiguration(station_id="CP1"), timeout_s=30)
    assert (answer.outcome, len(sockets[0].asked)) == (Outcome.ACCEPTED, 1)
    assert len(worker.story.rows(StationBoot)) == 1


async def test_what_was_read_from_a_redis_that_kept_it_is_not_read_again(
    roles: Roles, redis_server: RedisServer
) -> None:
    gateway = await roles.gateway()
    sockets = Sockets(gateway.bus, SETTINGS)
    inbox = names.inbox(gateway.bus.process_id)
    with redis_server.look() as redis:
        redis.xadd(inbox, {"m": msgspec.msgpack.encode([["displaced", "CP1", "c0", "c1"]])})
    await until(lambda: sockets.displaced == [("CP1", "c0", "c1")])
    redis_server.kill()
    await asyncio.to_thread(redis_server.start)
    with redis_server.look() as redis:
        redis.xadd(inbox, {"m": msgspec.msgpack.encode([["displaced", "CP1", "c1", "c2"]])})
    await until(lambda: len(sockets.displaced) > 1)
    assert sockets.displaced == [("CP1", "c0", "c1"), ("CP1", "c1", "c2")]
