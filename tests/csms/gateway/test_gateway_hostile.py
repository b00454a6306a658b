"""A charger that means harm at the wire: what it was told in confidence stays out of the log and of every answer."""

import asyncio

from csms import commands
from csms.commands import Outcome
from tests.csms.gateway.gateway_rig import gateway_running, receive, send

PASSWORD = 'hunter2"\\p4ssw0rd'


async def test_a_password_quoted_in_a_refusal_is_kept_nowhere() -> None:
    async with gateway_running() as rig, rig.charger() as charger:
        await send(charger, [2, "1", "Heartbeat", {}])
        await receive(charger)
        secret = commands.ChangeConfiguration(station_id="CP1", key="AuthorizationKey", value=PASSWORD)
        for said in (f"cannot take {PASSWORD}", PASSWORD.encode().hex(), f"x{PASSWORD}x"):
            asking = asyncio.create_task(rig.connections.send(secret, timeout_s=30))
            _, id_, _, asked = await receive(charger)
            assert asked["value"] == PASSWORD
            await send(charger, [4, id_, "InternalError", said, {"got": said}])
            answer = await asking
            assert PASSWORD not in answer.detail
            assert PASSWORD.encode().hex() not in answer.detail
        asking = asyncio.create_task(rig.connections.send(secret, timeout_s=30))
        _, id_, *_ = await receive(charger)
        await send(charger, [3, id_, {"status": "Rejected", "reason": f"{PASSWORD}?"}])
        assert (await asking).outcome is Outcome.REJECTED
        for row in rig.frames.rows:
            assert "p4ssw0rd" not in row.text
            assert PASSWORD.encode().hex() not in row.text
