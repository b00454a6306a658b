"""A gateway that stops leaves no socket open, whoever connects in that moment."""

import pytest

from tests.csms.gateway.gateway_rig import gateway_running
from tests.listening import MOMENTS, comes_at, is_let_go


@pytest.mark.parametrize("moment", MOMENTS)
async def test_who_comes_as_the_gateway_stops_is_let_go(moment: int) -> None:
    async with gateway_running() as rig:
        line = await comes_at(moment, rig.gateway.port)
    await is_let_go(line)
