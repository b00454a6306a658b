"""Gateway and core in one process on real sockets, with a clock the test sets, for chargers that we did not write."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from csms.bus import LoggedFrame
from csms.database import Database
from csms.gateway.connections import Connections
from csms.gateway.server import Gateway, GatewaySettings
from tests.csms.core_story import Story


class NoLog:
    def record(self, frame: LoggedFrame, /) -> None:
        return None


class Live(Story):
    """A story whose commands cross the wire."""

    def __init__(self, database: Database, **options: Any) -> None:
        self.connections = Connections()
        super().__init__(database, **options)
        self.gateway = Gateway(
            settings=GatewaySettings(host="127.0.0.1", port=0),
            connections=self.connections,
            report=self.csms.report,
            credentials=self.csms.stations,
            presence=self.csms.stations,
            message_log=NoLog(),
        )

    async def _send(self, command: Any, *, timeout_s: float) -> Any:
        self.sent.append(command)
        return await self.connections.send(command, timeout_s=timeout_s)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.gateway.port}/ocpp"


@asynccontextmanager
async def live(database: Database, **options: Any) -> AsyncIterator[Live]:
    """Core, queue of requests and gateway run until the end of the block."""
    story = Live(database, **options)
    running = [asyncio.create_task(run()) for run in (story.csms.run, story.csms.remote.run)]
    await story.gateway.start()
    try:
        yield story
    finally:
        await story.gateway.stop()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await story.csms.remote.stop()
        await story.csms.close()


class Charger:
    """One of nobody's make: what it says is written by the test."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def calls(self, action: str, payload: str | dict[str, Any]) -> Any:
        """The answer to a call, `payload` as it is on the wire."""
        written = payload if isinstance(payload, str) else orjson.dumps(payload).decode()
        await self._socket.send(f'[2,"1","{action}",{written}]')
        return orjson.loads(await self._socket.recv())

    async def answers(self, payload: dict[str, Any]) -> Any:
        """To what it is asked next, which is returned."""
        _, message_id, _, asked = orjson.loads(await self._socket.recv())
        await self._socket.send(orjson.dumps([3, message_id, payload]).decode())
        return asked


@asynccontextmanager
async def charger(story: Live, station_id: str = "CP1") -> AsyncIterator[Charger]:
    async with connect(f"{story.url}/{station_id}", subprotocols=[Subprotocol("ocpp1.6")]) as socket:
        one = Charger(socket)
        boot = {"chargePointVendor": "Acme", "chargePointModel": "Raw"}
        answer = await one.calls("BootNotification", boot)
        assert answer[2]["status"] == "Accepted"
        yield one
