"""All of a deployment and its partner, with servers of its own that keep through a crash what they committed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.chaos.faults import Field
from tests.log_disk import LogDisk
from tests.paths.partner import Emsp
from tests.paths.roles import Deployment
from tests.postgres_cluster import PostgresCluster
from tests.redis_server import RedisServer

RUNNING = ("gateway-1", "gateway-2", "worker-1", "worker-2", "api-1")


@asynccontextmanager
async def ground(folder: Path, cluster: PostgresCluster, redis: RedisServer) -> AsyncIterator[Field]:
    """`cluster` and `redis` run; in the end `cluster` does not. What the processes print is in `folder`."""
    emsp = Emsp(folder)
    deployment = Deployment(folder, cluster.url, redis.url, jumping=True)
    log_disk = LogDisk(cluster)
    try:
        await deployment.start(*RUNNING)
        await asyncio.to_thread(log_disk.move)
        yield Field(
            deployment=deployment,
            redis=redis,
            postgres=cluster,
            partner=await emsp.party("NL-CHA", kind="C"),
            log_disk=log_disk,
        )
    finally:
        deployment.stop()
        emsp.end()
        cluster.crash()
        log_disk.remove()
