"""What a simulated charger answers to each call of the CSMS's, and what it does afterwards; one table says which it knows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ocpp.messages import get_validator

from csms.simulator.connector import RemoteStart
from csms.simulator.wire import CALL, Handled, Payload

if TYPE_CHECKING:
    from csms.simulator.charge_point import ChargePoint


def handle(charge_point: ChargePoint, action: str, payload: Any) -> Handled:
    """An action outside the table is NotImplemented, a payload that breaks its schema a FormationViolation."""
    answer = ANSWERS.get(action)
    if answer is None:
        return Handled(error="NotImplemented")
    if not get_validator(CALL, action, "1.6").is_valid(payload):
        return Handled(error="FormationViolation")
    return answer(charge_point, payload)


def _status(status: str, then: Callable[[], Awaitable[object]] | None = None) -> Handled:
    return Handled(result={"status": status}, then=then)


def _remote_start(charge_point: ChargePoint, payload: Payload) -> Handled:
    asked = payload.get("connectorId")
    free = [c.number for c in charge_point.connectors.values() if c.operative and c.running is None]
    if asked not in free if asked is not None else not free:
        return _status("Rejected")
    start = RemoteStart(connector=asked or free[0], id_token=payload["idTag"])

    async def tell() -> None:
        charge_point.remote_starts.put_nowait(start)

    return _status("Accepted", tell)


def _remote_stop(charge_point: ChargePoint, payload: Payload) -> Handled:
    for connector in charge_point.connectors.values():
        if connector.running and connector.running.transaction_id == payload["transactionId"]:
            return _status("Accepted", partial(charge_point.stop_transaction, connector.number, reason="Remote"))
    return _status("Rejected")


def _reset(charge_point: ChargePoint, payload: Payload) -> Handled:
    return _status("Accepted", partial(charge_point.reboot, reason=f"{payload['type']}Reset"))


def _unlock(charge_point: ChargePoint, payload: Payload) -> Handled:
    connector = charge_point.connectors.get(payload["connectorId"])
    if connector is None:
        return _status("NotSupported")
    if connector.running is None:
        return _status("Unlocked")
    return _status("Unlocked", partial(charge_point.stop_transaction, connector.number, reason="UnlockCommand"))


def _change_configuration(charge_point: ChargePoint, payload: Payload) -> Handled:
    key, value = payload["key"], payload["value"]
    status = charge_point.configuration.change(key, value)
    if status == "Accepted" and key == "AuthorizationKey":
        charge_point.take_authorization_key(value)
    return _status(status)


def _get_configuration(charge_point: ChargePoint, payload: Payload) -> Handled:
    return Handled(result=charge_point.configuration.describe(payload.get("key", ())))


def _change_availability(charge_point: ChargePoint, payload: Payload) -> Handled:
    number, operative = payload["connectorId"], payload["type"] == "Operative"
    if number not in (0, *charge_point.connectors):
        return _status("Rejected")
    chosen = [c for c in charge_point.connectors.values() if number in (0, c.number)]
    waits = not operative and any(connector.running for connector in chosen)
    return _status("Scheduled" if waits else "Accepted", partial(charge_point.change_availability, number, operative))


def _trigger(charge_point: ChargePoint, payload: Payload) -> Handled:
    number = payload.get("connectorId")
    send = TRIGGERS.get(payload["requestedMessage"])
    if send is None:
        return _status("NotImplemented")
    if number is not None and number not in (0, *charge_point.connectors):
        return _status("Rejected")
    return _status("Accepted", partial(send, charge_point, number))


async def _send_boot(charge_point: ChargePoint, number: int | None) -> None:
    await charge_point.boot()


async def _send_heartbeat(charge_point: ChargePoint, number: int | None) -> None:
    await charge_point.heartbeat()


async def _send_status(charge_point: ChargePoint, number: int | None) -> None:
    for each in (0, *charge_point.connectors) if number is None else (number,):
        await charge_point.report_status(each)


async def _send_meter_values(charge_point: ChargePoint, number: int | None) -> None:
    for each in charge_point.connectors if not number else (number,):
        await charge_point.meter_values(each, context="Trigger")


async def _send_firmware_status(charge_point: ChargePoint, number: int | None) -> None:
    await charge_point.call("FirmwareStatusNotification", {"status": "Idle"})


async def _send_diagnostics_status(charge_point: ChargePoint, number: int | None) -> None:
    await charge_point.call("DiagnosticsStatusNotification", {"status": "Idle"})


TRIGGERS: dict[str, Callable[[ChargePoint, int | None], Awaitable[None]]] = {
    "BootNotification": _send_boot,
    "Heartbeat": _send_heartbeat,
    "StatusNotification": _send_status,
    "MeterValues": _send_meter_values,
    "FirmwareStatusNotification": _send_firmware_status,
    "DiagnosticsStatusNotification": _send_diagnostics_status,
}

ANSWERS: dict[str, Callable[[ChargePoint, Payload], Handled]] = {
    "RemoteStartTransaction": _remote_start,
    "RemoteStopTransaction": _remote_stop,
    "Reset": _reset,
    "UnlockConnector": _unlock,
    "ChangeConfiguration": _change_configuration,
    "GetConfiguration": _get_configuration,
    "ChangeAvailability": _change_availability,
    "TriggerMessage": _trigger,
}
