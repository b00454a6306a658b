"""What a charger says at a gateway is answered by a worker, once, in order."""

import asyncio

from csms.events import RegistrationStatus
from csms.models import StationBoot
from tests.csms.bus.roles import Roles
from tests.csms.bus.words import boot


async def test_a_boot_at_a_gateway_is_answered_by_a_worker(roles: Roles) -> None:
    worker = await roles.worker()
    worker.story.site("CP1")
    gateway = await roles.gateway()
    async with asyncio.timeout(30):
        reply = await gateway.bus.report(boot("CP1"))
    assert reply.status is RegistrationStatus.ACCEPTED
    assert reply.current_time == worker.story.now
    assert [row.station_id for row in worker.story.rows(StationBoot)] == ["CP1"]
