"""Chargers of which a test may have hundreds: no library judges what they say, and each knows whether its line ever broke."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect

from tests.paths.charger import wire_time
from tests.paths.service import PASSWORD

PATIENCE_S = 60.0


class PlainCharger:
    def __init__(self, station_id: str, socket: ClientConnection) -> None:
        self.station_id = station_id
        self.socket = socket
        self.transaction = 0
        self._said = 0

    async def say(self, action: str, **payload: Any) -> Any:
        """The payload of the answer, which must be none of an error."""
        await self.send(action, **payload)
        return await self.heard()

    async def send(self, action: str, **payload: Any) -> None:
        self._said += 1
        await self.socket.send(orjson.dumps([2, str(self._said), action, payload]).decode())

    async def heard(self) -> Any:
        """The answer to what it said last; what it is asked meanwhile it does not support."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                kind, message_id, *rest = orjson.loads(await self.socket.recv())
                if kind == 2:
                    refusal = [4, message_id, "NotSupported", "", {}]
                    await self.socket.send(orjson.dumps(refusal).decode())
                else:
                    assert (kind, message_id) == (3, str(self._said)), (kind, message_id, rest)
                    return rest[0]

    # ---- a charge ---------------------------------------------------------------------------------------------------

    async def boot(self) -> Any:
        serial = f"S-{self.station_id}"
        named = {"chargePointVendor": "Field", "chargePointModel": "Wall", "chargePointSerialNumber": serial}
        return await self.say("BootNotification", **named)

    async def begin(self, uid: str, *, at: datetime, meter_wh: int = 0) -> Any:
        told = await self.say(
            "StartTransaction", connectorId=1, idTag=uid, meterStart=meter_wh, timestamp=wire_time(at)
        )
        self.transaction = told["transactionId"]
        return told

    async def meter(self, wh: int, *, at: datetime) -> Any:
        return await self.say("MeterValues", **self.reading(wh, at=at))

    def reading(self, wh: int, *, at: datetime) -> dict[str, Any]:
        sample = {"value": str(wh), "measurand": "Energy.Active.Import.Register", "unit": "Wh"}
        values = [{"timestamp": wire_time(at), "sampledValue": [sample]}]
        return {"connectorId": 1, "transactionId": self.transaction, "meterValue": values}

    async def finish(self, wh: int, *, at: datetime) -> Any:
        return await self.say(
            "StopTransaction", transactionId=self.transaction, meterStop=wh, timestamp=wire_time(at), reason="Local"
        )


@asynccontextmanager
async def plain_charger(url: str, station_id: str) -> AsyncIterator[PlainCharger]:
    async with connect(
        f"{url}/{station_id}",
        subprotocols=["ocpp1.6"],  # type: ignore[list-item]
        additional_headers={"Authorization": f"Basic {b64encode(f'{station_id}:{PASSWORD}'.encode()).decode()}"},
        compression=None,
        ping_interval=None,
        open_timeout=PATIENCE_S,
        proxy=None,
    ) as socket:
        yield PlainCharger(station_id, socket)


@asynccontextmanager
async def plain_chargers(places: list[tuple[str, str]]) -> AsyncIterator[list[PlainCharger]]:
    """By (url, station)."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(plain_charger(*place)) for place in places]
