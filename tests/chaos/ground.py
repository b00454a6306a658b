"""All of a deployment and its partner, with servers of its own that keep through a crash what they committed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.chaos.faults import Field
from tests.paths.partner import Emsp
from tests.paths.roles import Deployment
from tests.postgres_cluster import PostgresCluster
from tests.redis_server import RedisServer

RUNNING = ("gateway-1", "gateway-2", "worker-1", "worker-2", "api-1")


@asynccontextmanager
async def ground(folder: Path, cluster: PostgresCluster, redis: RedisServer) -> AsyncIterator[Field]:
    """`cluster` and `redis` run. What the processes print is in `folder`."""
    emsp = Emsp(folder)
    deployment = Deployment(folder, cluster.url, redis.url)
    try:
        await deployment.start(*RUNNING)
        yield Field(deployment=deployment, redis=redis, postgres=cluster, partner=await emsp.party("NL-CHA", kind="C"))
    finally:
        deployment.stop()
        emsp.end()
