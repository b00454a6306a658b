"""What breaks under a running service, and how it is mended: by name, so that a report can say what happened when."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

from tests.paths.partner import Partner
from tests.paths.roles import Deployment
from tests.postgres_cluster import PostgresCluster
from tests.redis_server import RedisServer

AWAY_S = 2.0
SLOW_S, SLOW_FOR_S = 3.0, 6.0


@dataclass(frozen=True, kw_only=True)
class Field:
    """Everything that may break."""

    deployment: Deployment
    redis: RedisServer
    postgres: PostgresCluster
    partner: Partner


async def killed(name: str, field: Field) -> None:
    """kill -9; whoever looks after processes starts it again."""
    field.deployment.kill(name)
    await field.deployment.start(name)


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


async def partner_away(field: Field) -> None:
    await field.partner.close()
    await asyncio.sleep(AWAY_S)
    await field.partner.close(False)


async def partner_slow(field: Field) -> None:
    """Each answer takes it long, and what it must still hear piles up."""
    await field.partner.slow(SLOW_S)
    await asyncio.sleep(SLOW_FOR_S)
    await field.partner.slow(0.0)


FAULTS: Mapping[str, Callable[[Field], Awaitable[None]]] = {
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
