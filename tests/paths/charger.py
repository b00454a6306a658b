"""A charger that we did not write: the `ocpp` package's own ChargePoint over `websockets`, its validation on."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from ocpp.routing import on
from ocpp.v16 import ChargePoint, call, call_result
from websockets.asyncio.client import connect

PATIENCE_S = 15  # a charger's own is 30 to 60


class Lost(Exception):
    """The line broke before the answer came."""


class Charger(ChargePoint):  # type: ignore[misc]  # the package has no types
    """Obeys, and tells the test what it was asked."""

    def __init__(self, station_id: str, socket: Any) -> None:
        super().__init__(station_id, socket, PATIENCE_S)
        self.asked: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()
        self.listening: asyncio.Future[None] = asyncio.ensure_future(self.start())

    @on("RemoteStartTransaction")
    async def remote_start(self, **fields: Any) -> Any:
        self.asked.put_nowait(("RemoteStartTransaction", fields))
        return call_result.RemoteStartTransaction(status="Accepted")

    @on("RemoteStopTransaction")
    async def remote_stop(self, **fields: Any) -> Any:
        self.asked.put_nowait(("RemoteStopTransaction", fields))
        return call_result.RemoteStopTransaction(status="Accepted")

    @on("GetConfiguration")
    async def get_configuration(self, **_fields: Any) -> Any:
        return call_result.GetConfiguration(configuration_key=[], unknown_key=[])

    @on("ChangeConfiguration")
    async def change_configuration(self, **_fields: Any) -> Any:
        return call_result.ChangeConfiguration(status="NotSupported")

    @on("TriggerMessage")
    async def trigger(self, **_fields: Any) -> Any:
        return call_result.TriggerMessage(status="NotImplemented")

    async def asked_for(self, action: str) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                told, fields = await self.asked.get()
                if told == action:
                    return fields

    # ---- what it says -----------------------------------------------------------------------------------------------

    async def say(self, message: Any) -> Any:
        """The answer; a CALLERROR is raised, and Lost when the line breaks, which the package itself would wait out. It
        gives each message an id of its own."""
        answered = asyncio.ensure_future(self.call(message, suppress=False))
        try:
            await asyncio.wait({answered, self.listening}, return_when=asyncio.FIRST_COMPLETED)
            if not answered.done():
                raise Lost
            return answered.result()
        finally:
            answered.cancel()
            await asyncio.gather(answered, return_exceptions=True)

    async def boot(self) -> None:
        answer = await self.say(
            call.BootNotification(
                charge_point_vendor="Field", charge_point_model="Wall", charge_point_serial_number=f"S-{self.id}"
            )
        )
        assert answer.status == "Accepted", answer

    async def status(self, status: str, connector: int = 1) -> None:
        await self.say(
            call.StatusNotification(
                connector_id=connector, error_code="NoError", status=status, timestamp=wire_time(datetime.now(UTC))
            )
        )

    async def authorize(self, uid: str) -> str:
        return str((await self.say(call.Authorize(id_tag=uid))).id_tag_info["status"])

    async def begin(self, uid: str, *, at: datetime, meter_wh: int = 1000) -> Any:
        return await self.say(
            call.StartTransaction(connector_id=1, id_tag=uid, meter_start=meter_wh, timestamp=wire_time(at))
        )

    async def meter(self, transaction: int, wh: int, *, at: datetime) -> None:
        sample = {"value": str(wh), "measurand": "Energy.Active.Import.Register", "unit": "Wh"}
        value = {"timestamp": wire_time(at), "sampled_value": [sample]}
        await self.say(call.MeterValues(connector_id=1, transaction_id=transaction, meter_value=[value]))

    async def finish(self, transaction: int, wh: int, *, at: datetime, uid: str | None = None) -> Any:
        return await self.say(
            call.StopTransaction(
                transaction_id=transaction, meter_stop=wh, timestamp=wire_time(at), id_tag=uid, reason="Local"
            )
        )


@asynccontextmanager
async def charging_point(url: str, station_id: str, password: str) -> AsyncIterator[Charger]:
    """Connected until the end of the block, or until the other side goes."""
    basic = b64encode(f"{station_id}:{password}".encode()).decode()
    async with connect(
        f"{url}/{station_id}",
        subprotocols=["ocpp1.6"],  # type: ignore[list-item]
        additional_headers={"Authorization": f"Basic {basic}"},
        proxy=None,
    ) as socket:
        charger = Charger(station_id, socket)
        try:
            yield charger
        finally:
            charger.listening.cancel()
            await asyncio.gather(charger.listening, return_exceptions=True)


def wire_time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
