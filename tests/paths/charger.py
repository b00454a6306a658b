"""A charger that we did not write: the `ocpp` package's own ChargePoint over `websockets`, its validation on."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

from ocpp.routing import on
from ocpp.v16 import ChargePoint, call, call_result
from websockets.asyncio.client import connect

PATIENCE_S = 30  # a charger's own is 30 to 60


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

    async def status(self, status: str, connector: int = 1, *, at: datetime | None = None) -> None:
        timestamp = wire_time(at or datetime.now(UTC))
        await self.say(
            call.StatusNotification(connector_id=connector, error_code="NoError", status=status, timestamp=timestamp)
        )

    async def authorize(self, uid: str) -> str:
        return str((await self.say(call.Authorize(id_tag=uid))).id_tag_info["status"])

    async def begin(self, uid: str, *, at: datetime, meter_wh: int = 1000, reservation: int | None = None) -> Any:
        return await self.say(
            call.StartTransaction(
                connector_id=1,
                id_tag=uid,
                meter_start=meter_wh,
                timestamp=wire_time(at),
                reservation_id=reservation,
            )
        )

    async def meter(self, transaction: int, wh: int, *, at: datetime) -> None:
        sample = {"value": str(wh), "measurand": "Energy.Active.Import.Register", "unit": "Wh"}
        value = {"timestamp": wire_time(at), "sampled_value": [sample]}
        await self.say(call.MeterValues(connector_id=1, transaction_id=transaction, meter_value=[value]))

    async def finish(
        self, transaction: int, wh: int, *, at: datetime, uid: str | None = None, data: list[Any] | None = None
    ) -> Any:
        return await self.say(
            call.StopTransaction(
                transaction_id=transaction,
                meter_stop=wh,
                timestamp=wire_time(at),
                id_tag=uid,
                reason="Local",
                transaction_data=data,
            )
        )


class SmartCharger(Charger):
    """It can be reserved and takes charging profiles, says so, and keeps what it was given."""

    FEATURES = "Core,Reservation,SmartCharging,RemoteTrigger"

    def __init__(self, station_id: str, socket: Any) -> None:
        super().__init__(station_id, socket)
        self.reserved: dict[int, dict[str, Any]] = {}
        self.profiles: dict[int, dict[str, Any]] = {}
        self.runs = 0  # the transaction's number, which the test sets

    @on("GetConfiguration")
    async def get_configuration(self, **_fields: Any) -> Any:
        told = {"key": "SupportedFeatureProfiles", "readonly": True, "value": self.FEATURES}
        return call_result.GetConfiguration(configuration_key=[told], unknown_key=[])

    @on("ReserveNow")
    async def reserve_now(self, **fields: Any) -> Any:
        self.reserved[fields["reservation_id"]] = fields
        self.asked.put_nowait(("ReserveNow", fields))
        return call_result.ReserveNow(status="Accepted")

    @on("CancelReservation")
    async def cancel_reservation(self, **fields: Any) -> Any:
        known = self.reserved.pop(fields["reservation_id"], None) is not None
        self.asked.put_nowait(("CancelReservation", fields))
        return call_result.CancelReservation(status="Accepted" if known else "Rejected")

    @on("UnlockConnector")
    async def unlock_connector(self, **fields: Any) -> Any:
        self.asked.put_nowait(("UnlockConnector", fields))
        return call_result.UnlockConnector(status="Unlocked")

    @on("SetChargingProfile")
    async def set_charging_profile(self, **fields: Any) -> Any:
        profile = fields["cs_charging_profiles"]
        self.profiles[profile["charging_profile_id"]] = profile
        self.asked.put_nowait(("SetChargingProfile", fields))
        return call_result.SetChargingProfile(status="Accepted")

    @on("ClearChargingProfile")
    async def clear_charging_profile(self, **fields: Any) -> Any:
        known = self.profiles.pop(fields.get("id"), None) is not None
        self.asked.put_nowait(("ClearChargingProfile", fields))
        return call_result.ClearChargingProfile(status="Accepted" if known else "Unknown")

    @on("GetCompositeSchedule")
    async def get_composite_schedule(self, **fields: Any) -> Any:
        """Of its newest profile, as if that had begun now."""
        self.asked.put_nowait(("GetCompositeSchedule", fields))
        schedule = list(self.profiles.values())[-1]["charging_schedule"]
        told = {
            "charging_rate_unit": schedule["charging_rate_unit"],
            "charging_schedule_period": [
                {"start_period": period["start_period"], "limit": float(period["limit"])}
                for period in schedule["charging_schedule_period"]
            ],
            "duration": fields["duration"],
        }
        return call_result.GetCompositeSchedule(
            status="Accepted",
            connector_id=fields["connector_id"],
            schedule_start=wire_time(datetime.now(UTC)),
            charging_schedule=told,
        )


C = TypeVar("C", bound=Charger)


@asynccontextmanager
async def charging_point(
    url: str,
    station_id: str,
    password: str,
    kind: Callable[[str, Any], C] = Charger,  # type: ignore[assignment]
) -> AsyncIterator[C]:
    """Connected until the end of the block, or until the other side goes."""
    basic = b64encode(f"{station_id}:{password}".encode()).decode()
    async with connect(
        f"{url}/{station_id}",
        subprotocols=["ocpp1.6"],  # type: ignore[list-item]
        additional_headers={"Authorization": f"Basic {basic}"},
        proxy=None,
    ) as socket:
        charger = kind(station_id, socket)
        try:
            yield charger
        finally:
            charger.listening.cancel()
            await asyncio.gather(charger.listening, return_exceptions=True)


def wire_time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
