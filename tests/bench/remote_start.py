"""From a partner's START_SESSION over HTTP to the RemoteStartTransaction on its charger's socket."""

import asyncio
from collections.abc import Mapping
from time import perf_counter
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection

from ocpi_bridge.emsp_simulator import EmspSimulator
from tests.bench.load import Charger

TARGET_P99_MS = 50.0
WARM_UP = 20
PATIENCE_S = 10.0


async def latencies_ms(ocpp_url: str, password: str, invitation: Mapping[str, str], count: int) -> list[float]:
    """Ascending. One after the other, each on an idle service; the partner is invited, the charger the bench's first."""
    charger = Charger(0)
    async with EmspSimulator(party=("NL", "BNC")) as emsp:
        await emsp.register(invitation["versions_url"], invitation["token"])
        card = emsp.issue_token("BENCH-CARD")
        await charger.connect(ocpp_url, password)
        started: asyncio.Queue[float] = asyncio.Queue()
        obeying = asyncio.create_task(_obey(charger.socket, started))
        found = []
        for number in range(WARM_UP + count):
            sent_at = perf_counter()
            asking = asyncio.create_task(emsp.start_session(card, "FLEET1", f"{charger.station_id}-1"))
            async with asyncio.timeout(PATIENCE_S):
                arrived_at = await started.get()
                command = await asking
                await emsp.wait_for(lambda uid=command.uid: emsp.command_results.get(uid))  # type: ignore[misc]
            assert command.result == "ACCEPTED", command.reply
            if number >= WARM_UP:
                found.append((arrived_at - sent_at) * 1000)
        obeying.cancel()
        await asyncio.gather(obeying, return_exceptions=True)
        await charger.close()
    return sorted(found)


async def _obey(socket: ClientConnection, started: asyncio.Queue[float]) -> None:
    async for text in socket:
        at = perf_counter()
        frame: Any = orjson.loads(text)
        if frame[0] != 2:
            continue
        if frame[2] == "RemoteStartTransaction":
            started.put_nowait(at)
        answer = {"status": "Accepted"} if frame[2] == "RemoteStartTransaction" else {}
        await socket.send(orjson.dumps([3, frame[1], answer]).decode())
