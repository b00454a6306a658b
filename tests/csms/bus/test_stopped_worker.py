"""A worker that was stopped in the middle of its work, and goes on when others did it, changes nothing."""

import asyncio

from csms.models import Connection, Station
from tests.csms.bus.roles import Roles
from tests.csms.bus.words import boot, opened, until
from tests.redis_server import RedisServer


async def test_a_station_that_it_was_to_write_off_stays_where_it_came_again(
    roles: Roles, redis_server: RedisServer
) -> None:
    stopped, gateway = await roles.worker(), await roles.gateway()
    story = stopped.story
    story.site("CP1")
    gateway.bus.presence.opened(opened("CP1", "c1"))
    await gateway.bus.report(boot("CP1"))
    await until(lambda: story.rows(Station)[0].connection_id == "c1")
    await stopped.commits_nothing()
    told = story.csms.stations.told
    await gateway.falls_silent()
    redis_server.outlived(gateway.bus.process_id)
    await until(lambda: story.csms.stations.told == told + 1)  # that CP1 went: it has this in its hands
    other = await roles.worker()
    redis_server.give_leases_to(other.bus.process_id)
    await until(lambda: story.rows(Station)[0].connection_id is None)
    gateway.lives()
    await until(lambda: story.rows(Station)[0].connection_id == "c1")
    stopped.commits()
    await until(lambda: story.csms.stations.written == told + 1)
    async with asyncio.timeout(30):
        await gateway.bus.report(boot("CP1"))
    assert [row.connection_id for row in story.rows(Station)] == ["c1"]
    assert [row.closed_at for row in story.rows(Connection)] == [None]
