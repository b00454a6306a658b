"""A station that waits for adoption, or was refused at its Boot, still answers what it is asked."""

import asyncio

import msgspec
import pytest

from csms import commands, events
from tests.csms.gateway.gateway_rig import Rig, ask, receive, send

BOOT = [2, "boot-1", "BootNotification", {"chargePointVendor": "Acme", "chargePointModel": "Wall"}]


@pytest.mark.parametrize("status", ["Pending", "Rejected"])
async def test_a_station_that_was_not_accepted_may_answer_and_send_what_it_is_asked_for(rig: Rig, status: str) -> None:
    # X12: asked for its Boot, it says whether it will, then sends it, and is answered.
    reply = rig.core.replies[events.StationBooted]
    rig.core.replies[events.StationBooted] = msgspec.structs.replace(
        reply, status=events.RegistrationStatus[status.upper()]
    )
    async with rig.charger() as charger:
        assert (await ask(charger, BOOT))[2]["status"] == status
        command = commands.TriggerMessage(station_id="CP1", kind=commands.TriggerKind.BOOT)
        asking = asyncio.create_task(rig.connections.send(command, timeout_s=30))
        kind, message_id, action, payload = await receive(charger)
        assert (kind, action, payload) == (2, "TriggerMessage", {"requestedMessage": "BootNotification"})
        await send(charger, [3, message_id, {"status": "Accepted"}])
        assert (await asking).outcome is commands.Outcome.ACCEPTED
        assert (await ask(charger, [2, "boot-2", *BOOT[2:]]))[:2] == [3, "boot-2"]
    assert [type(event) for event in rig.core.events] == [events.StationBooted] * 2
