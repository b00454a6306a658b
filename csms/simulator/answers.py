"""What a simulated charger answers to each call of the CSMS's, and what it does afterwards; one table says which it knows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from ocpp.messages import get_validator

from csms.simulator import certificates, charging_profiles, files, local_list, reservations, vendor_data
from csms.simulator.charging_profiles import TX
from csms.simulator.connector import RemoteStart
from csms.simulator.wire import CALL, Handled, Payload
from csms.simulator.wire import status as _status

if TYPE_CHECKING:
    from csms.simulator.charge_point import ChargePoint


Trigger = Callable[["ChargePoint", "int | None"], Awaitable[None]]


def handle(charge_point: ChargePoint, action: str, payload: Any) -> Handled:
    """An action outside the table is NotImplemented, a payload that breaks its schema a FormationViolation."""
    answer = ANSWERS.get(action)
    if answer is None:
        return Handled(error="NotImplemented")
    if not get_validator(CALL, action, "1.6", parse_float=Decimal).is_valid(payload):
        return Handled(error="FormationViolation")
    return answer(charge_point, payload)


def _remote_start(charge_point: ChargePoint, payload: Payload) -> Handled:
    asked, id_token, limits = payload.get("connectorId"), payload["idTag"], payload.get("chargingProfile")
    free = [
        c.number
        for c in charge_point.connectors.values()
        if c.operative and c.running is None and charge_point.is_for(c.number, id_token)
    ]
    if asked not in free if asked is not None else not free:
        return _status("Rejected")
    if limits is not None and limits["chargingProfilePurpose"] != TX:
        return _status("Rejected")
    start = RemoteStart(connector=asked or free[0], id_token=id_token)
    if limits is not None:
        charge_point.profiles.promised[start.connector] = (id_token, limits)

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


def _clear_cache(charge_point: ChargePoint, payload: Payload) -> Handled:
    if not charge_point.configuration.flag("AuthorizationCacheEnabled"):
        return _status("Rejected")
    charge_point.cache.clear()
    return _status("Accepted")


def _trigger(charge_point: ChargePoint, payload: Payload) -> Handled:
    return _triggered(TRIGGERS, charge_point, payload)


def _extended_trigger(charge_point: ChargePoint, payload: Payload) -> Handled:
    return _triggered(EXTENDED_TRIGGERS, charge_point, payload)


def _triggered(known: dict[str, Trigger], charge_point: ChargePoint, payload: Payload) -> Handled:
    number = payload.get("connectorId")
    send = known.get(payload["requestedMessage"])
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


async def _send_signed_firmware_status(charge_point: ChargePoint, number: int | None) -> None:
    await charge_point.call("SignedFirmwareStatusNotification", {"status": "Idle"})


async def _send_log_status(charge_point: ChargePoint, number: int | None) -> None:
    at_work = charge_point.uploading
    told = {"status": "Idle"} if at_work is None else {"status": "Uploading", "requestId": at_work}
    await charge_point.call("LogStatusNotification", told)


async def _send_certificate_request(charge_point: ChargePoint, number: int | None) -> None:
    await charge_point.request_certificate()


TRIGGERS: dict[str, Trigger] = {
    "BootNotification": _send_boot,
    "Heartbeat": _send_heartbeat,
    "StatusNotification": _send_status,
    "MeterValues": _send_meter_values,
    "FirmwareStatusNotification": _send_firmware_status,
    "DiagnosticsStatusNotification": _send_diagnostics_status,
}
EXTENDED_TRIGGERS: dict[str, Trigger] = {
    "BootNotification": _send_boot,
    "Heartbeat": _send_heartbeat,
    "StatusNotification": _send_status,
    "MeterValues": _send_meter_values,
    "FirmwareStatusNotification": _send_signed_firmware_status,
    "LogStatusNotification": _send_log_status,
    "SignChargePointCertificate": _send_certificate_request,
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
    "ClearCache": _clear_cache,
    "DataTransfer": vendor_data.data_transfer,
    "ReserveNow": reservations.reserve_now,
    "CancelReservation": reservations.cancel_reservation,
    "GetLocalListVersion": local_list.get_local_list_version,
    "SendLocalList": local_list.send_local_list,
    "SetChargingProfile": charging_profiles.set_charging_profile,
    "ClearChargingProfile": charging_profiles.clear_charging_profile,
    "GetCompositeSchedule": charging_profiles.get_composite_schedule,
    "UpdateFirmware": files.update_firmware,
    "GetDiagnostics": files.get_diagnostics,
    # Improved security for OCPP 1.6-J
    "ExtendedTriggerMessage": _extended_trigger,
    "SignedUpdateFirmware": files.signed_update_firmware,
    "GetLog": files.get_log,
    "InstallCertificate": certificates.install_certificate,
    "GetInstalledCertificateIds": certificates.get_installed_certificate_ids,
    "DeleteCertificate": certificates.delete_certificate,
    "CertificateSigned": certificates.certificate_signed,
}
