"""The ocpp library's own ChargePoint as a server: it validates, answers, and stores nothing."""

import asyncio
import sys
from datetime import UTC, datetime
from typing import Any

import uvloop
from ocpp.routing import on
from ocpp.v16 import ChargePoint, call_result
from ocpp.v16.datatypes import IdTagInfo
from ocpp.v16.enums import Action, AuthorizationStatus, RegistrationStatus
from websockets.asyncio.server import ServerConnection, serve


def _now() -> str:
    return datetime.now(UTC).isoformat()


class Station(ChargePoint):
    @on(Action.boot_notification)
    def boot(self, **_: Any) -> Any:
        return call_result.BootNotification(current_time=_now(), interval=300, status=RegistrationStatus.accepted)

    @on(Action.heartbeat)
    def heartbeat(self) -> Any:
        return call_result.Heartbeat(current_time=_now())

    @on(Action.status_notification)
    def status(self, **_: Any) -> Any:
        return call_result.StatusNotification()

    @on(Action.start_transaction)
    def begin(self, **_: Any) -> Any:
        info = IdTagInfo(status=AuthorizationStatus.accepted)
        return call_result.StartTransaction(transaction_id=1, id_tag_info=info)

    @on(Action.meter_values)
    def meter_values(self, **_: Any) -> Any:
        return call_result.MeterValues()


async def _serve(port: int) -> None:
    async def handle(connection: ServerConnection) -> None:
        await Station("bench", connection).start()

    async with serve(handle, "127.0.0.1", port, subprotocols=["ocpp1.6"], compression=None, ping_interval=None):  # type: ignore[list-item]
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    import logging

    logging.getLogger("ocpp").setLevel(logging.ERROR)
    uvloop.run(_serve(int(sys.argv[1])))
