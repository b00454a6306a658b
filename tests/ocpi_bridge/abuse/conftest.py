from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.ocpi_bridge.abuse.rig import Rig, abused


@pytest.fixture
async def rig(cli: Callable[..., Any], environment: Callable[..., None]) -> AsyncIterator[Rig]:
    async with abused(environment) as rig:
        yield rig
