"""Gateways and workers over a Redis and a PostgreSQL of the tests' own."""

from collections.abc import AsyncIterator

import pytest

from tests.csms.bus.roles import Roles
from tests.redis_server import RedisServer


@pytest.fixture
async def roles(redis_server: RedisServer, database_url: str) -> AsyncIterator[Roles]:
    """Gateways and workers over that Redis, and a database."""
    async with Roles(redis_server, database_url) as roles:
        yield roles


@pytest.fixture
def dialect() -> str:
    """Roles share a database, so it is PostgreSQL."""
    return "postgresql"
