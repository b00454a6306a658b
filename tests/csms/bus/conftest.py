"""A Redis of the test's own, which it may stop, freeze and start again."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.csms.bus.roles import Roles
from tests.redis_server import RedisServer, installed


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A redis-server that keeps what it confirmed (appendfsync always), on a unix socket."""
    installed()
    server = RedisServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
async def roles(redis_server: RedisServer, database_url: str) -> AsyncIterator[Roles]:
    """Gateways and workers over that Redis, and a database."""
    async with Roles(redis_server, database_url) as roles:
        yield roles


@pytest.fixture
def dialect() -> str:
    """Roles share a database, so it is PostgreSQL."""
    return "postgresql"
