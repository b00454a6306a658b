from collections.abc import AsyncIterator

import pytest

from tests.csms.gateway.gateway_rig import Rig, gateway_running


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with gateway_running() as running:
        yield running
