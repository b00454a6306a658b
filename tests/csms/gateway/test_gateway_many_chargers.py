"""A car park behind one router is many chargers at one address: none of them is held back for the others' sake."""

import asyncio

from csms.bus import ConnectionOpened
from tests.csms.gateway.gateway_rig import ask, gateway_running

CHARGERS = 500


async def test_five_hundred_chargers_behind_one_router_are_all_served() -> None:  # J05
    async with gateway_running() as rig, rig.charger("FIRST") as first:
        go = asyncio.Event()

        async def come(number: int) -> str:
            async with rig.charger(f"CP{number}", open_timeout=60) as charger:
                await charger.send('[2,"1","BootNotification",{"chargePointVendor":"V","chargePointModel":"M"}]')
                async with asyncio.timeout(60):
                    answer = await charger.recv()
                await go.wait()  # all stay until the last is there
                return str(answer)

        coming = [asyncio.create_task(come(number)) for number in range(CHARGERS)]
        slowest_s = 0.0
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(60):
            while len(rig.presence.of(ConnectionOpened)) <= CHARGERS:
                asked_at = loop.time()
                assert (await ask(first, [2, "h", "Heartbeat", {}]))[0] == 3
                slowest_s = max(slowest_s, loop.time() - asked_at)
                await asyncio.sleep(0.02)
        go.set()
        answers = await asyncio.gather(*coming)
        assert len(answers) == CHARGERS
        assert all('"Accepted"' in answer for answer in answers)
        assert rig.gateway.counts["refused"] == 0
        assert {opened.peer for opened in rig.presence.of(ConnectionOpened)} == {"127.0.0.1"}
        assert slowest_s < 5  # who was there before is answered all along
