"""What the checker's tests share."""

from collections.abc import AsyncIterator

import pytest

from csms.database import Database
from tests.ocpi_bridge.roaming_world import World, world_of


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with world_of(database) as world:
        yield world
