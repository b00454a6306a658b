"""What breaks under a running service, and how it is mended: by name, so that a report can say what happened when."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg

from tests.log_disk import LogDisk
from tests.paths.partner import Partner
from tests.paths.roles import Deployment
from tests.postgres_cluster import PostgresCluster
from tests.redis_server import RedisServer

AWAY_S = 2.0
SLOW_S, SLOW_FOR_S = 3.0, 6.0
JUMP_S, JUMPED_FOR_S = 7200.0, 4.0
SEEN_WITHIN_S = 60.0  # a fault that nobody notices breaks nothing
GATEWAYS = ("gateway-1", "gateway-2")
IN_ITS_BATCH = (
    "SELECT application_name FROM pg_stat_activity"
    " WHERE application_name LIKE 'worker-%' AND wait_event_type = 'Lock' LIMIT 1"
)


class ChargersClocks:
    """What each charger takes for the time: `ahead_s`, by how much its clock is wrong."""

    def __init__(self) -> None:
        self.ahead_s: Counter[str] = Counter()

    def __call__(self, station_id: str) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead_s[station_id])


@dataclass(frozen=True, kw_only=True)
class Field:
    """Everything that may break."""

    deployment: Deployment
    redis: RedisServer
    postgres: PostgresCluster
    partner: Partner
    log_disk: LogDisk
    chargers: list[str] = field(default_factory=list)
    clocks: ChargersClocks = field(default_factory=ChargersClocks)


async def killed(name: str, field: Field) -> None:
    """kill -9; whoever looks after processes starts it again."""
    field.deployment.kill(name)
    await field.deployment.start(name)


async def worker_killed_in_its_batch(field: Field) -> None:
    """kill -9 of one that has written half of what it must write; nothing of that may be left, and nothing missing."""

    def with_half_a_batch() -> str:
        with psycopg.connect(field.postgres.url) as connection:
            connection.execute("LOCK TABLE journal IN SHARE MODE")  # facts are written after what they tell of
            until = time.monotonic() + SEEN_WITHIN_S
            while (found := connection.execute(IN_ITS_BATCH).fetchone()) is None:
                assert time.monotonic() < until, "no worker writes anything"
                time.sleep(0.01)
            field.deployment.kill(found[0])
            return str(found[0])

    await field.deployment.start(await asyncio.to_thread(with_half_a_batch))


async def redis_restarted(field: Field) -> None:
    field.redis.kill()
    await asyncio.sleep(AWAY_S)
    await asyncio.to_thread(field.redis.start)


async def postgres_restarted(field: Field) -> None:
    await asyncio.to_thread(field.postgres.crash)
    await asyncio.sleep(AWAY_S)
    await asyncio.to_thread(field.postgres.start)


async def postgres_cut(field: Field) -> None:
    await asyncio.to_thread(field.postgres.cut)


async def message_log_full(field: Field) -> None:
    """The disk of the message log, and of nothing else. It is full when a frame could not be written down; with room again
    frames are written down again."""
    before = await _frames_logged(field)
    await asyncio.to_thread(field.log_disk.full)
    try:
        full = await _until(field, lambda now: now["dropped"] > before["dropped"])
        await asyncio.sleep(AWAY_S)
    finally:
        await asyncio.to_thread(field.log_disk.room)
    await _until(field, lambda now: now["written"] > full["written"])


async def _until(field: Field, seen: Callable[[Counter[str]], bool]) -> Counter[str]:
    async with asyncio.timeout(SEEN_WITHIN_S):
        while not seen(found := await _frames_logged(field)):  # noqa: ASYNC110 - processes share no event
            await asyncio.sleep(0.2)
    return found


async def _frames_logged(field: Field) -> Counter[str]:
    found: Counter[str] = Counter()
    for name in GATEWAYS:
        found.update(await field.deployment.frames_logged(name))
    return found


async def clock_jumped(name: str, ahead_s: float, field: Field) -> None:
    """The host of one of ours is set forward or back, and a little later right again."""
    field.deployment.jump(name, ahead_s)
    await asyncio.sleep(JUMPED_FOR_S)
    field.deployment.jump(name, 0.0)


async def chargers_clocks_jumped(field: Field) -> None:
    """One charger in three believes in a day to come, one in a day that is over; later they know better."""
    for number, station_id in enumerate(field.chargers):
        field.clocks.ahead_s[station_id] = (timedelta(), timedelta(days=3), timedelta(days=-2))[
            number % 3
        ].total_seconds()
    await asyncio.sleep(JUMPED_FOR_S)
    field.clocks.ahead_s.clear()


async def partner_away(field: Field) -> None:
    await field.partner.close()
    await asyncio.sleep(AWAY_S)
    await field.partner.close(False)


async def partner_slow(field: Field) -> None:
    """Each answer takes it long, and what it must still hear piles up."""
    await field.partner.slow(SLOW_S)
    await asyncio.sleep(SLOW_FOR_S)
    await field.partner.slow(0.0)


# Those first that need somebody who charges.
FAULTS: Mapping[str, Callable[[Field], Awaitable[None]]] = {
    "a worker killed in its batch": worker_killed_in_its_batch,
    "the message log's disk full": message_log_full,
    "a gateway's clock two hours ahead": partial(clock_jumped, "gateway-1", JUMP_S),
    "a gateway's clock two hours behind": partial(clock_jumped, "gateway-2", -JUMP_S),
    "a worker's clock two hours ahead": partial(clock_jumped, "worker-1", JUMP_S),
    "a worker's clock two hours behind": partial(clock_jumped, "worker-2", -JUMP_S),
    "the api's clock two hours ahead": partial(clock_jumped, "api-1", JUMP_S),
    "chargers' clocks days off": chargers_clocks_jumped,
    "a worker killed": partial(killed, "worker-1"),
    "the other worker killed": partial(killed, "worker-2"),
    "a gateway killed": partial(killed, "gateway-1"),
    "the other gateway killed": partial(killed, "gateway-2"),
    "an api killed": partial(killed, "api-1"),
    "Redis killed and started": redis_restarted,
    "PostgreSQL crashed and started": postgres_restarted,
    "PostgreSQL's connections cut": postgres_cut,
    "the partner away": partner_away,
    "the partner slow": partner_slow,
}
