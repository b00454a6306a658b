"""The payloads of a charger's messages, with the units and the card spelling that its profile gives it."""

from datetime import datetime

from csms.simulator.configuration import ENERGY
from csms.simulator.connector import Transaction
from csms.simulator.meter import Meter, as_text, in_unit
from csms.simulator.profile import AS_MEASURED, Profile
from csms.simulator.wire import Payload

UNKNOWN_TRANSACTION = -1  # what chargers send when no StartTransaction.conf ever told them an id (X04)


def id_tag(profile: Profile, id_token: str) -> str:
    return profile.id_token_prefix + id_token


def boot_notification(profile: Profile) -> Payload:
    about = {
        "chargePointVendor": profile.vendor,
        "chargePointModel": profile.model,
        "chargePointSerialNumber": profile.serial_number,
        "firmwareVersion": profile.firmware_version or None,
    }
    return {key: value for key, value in about.items() if value is not None}


def status_notification(number: int, status: str, *, stamp: str) -> Payload:
    return {"connectorId": number, "errorCode": "NoError", "status": status, "timestamp": stamp}


def start_transaction(
    profile: Profile, transaction: Transaction, meter: Meter, now: datetime, *, stamp: str
) -> Payload:
    frame: Payload = {
        "connectorId": transaction.connector,
        "idTag": id_tag(profile, transaction.id_token),
        "meterStart": int(in_unit(meter.register_mwh(now), profile.start_unit)),
        "timestamp": stamp,
    }
    reserved = transaction.reservation_id
    return frame if reserved is None else frame | {"reservationId": reserved}


def stop_transaction(
    profile: Profile, transaction: Transaction, meter: Meter, now: datetime, *, stamp: str, reason: str
) -> Payload:
    """Without its transactionId, which may not be known yet; the card only where it was used to stop."""
    frame: Payload = {
        "meterStop": int(in_unit(meter.register_mwh(now), profile.stop_unit)),
        "timestamp": stamp,
        "reason": reason,
    }
    return frame | ({"idTag": id_tag(profile, transaction.id_token)} if reason == "Local" else {})


def meter_sample(
    profile: Profile, meter: Meter, now: datetime, *, stamp: str, context: str, measurands: tuple[str, ...]
) -> Payload:
    label = profile.meter_unit if profile.unit_label == AS_MEASURED else profile.unit_label
    values = []
    for measurand in measurands:
        if measurand == ENERGY:
            text = as_text(in_unit(meter.register_mwh(now), profile.meter_unit))
            value = {"value": text, "context": context, "measurand": measurand, "location": "Outlet"}
            values.append(value | ({"unit": label} if label is not None else {}))
        else:
            values.append({"value": str(meter.power_w(now)), "context": context, "measurand": measurand, "unit": "W"})
    return {"timestamp": stamp, "sampledValue": values}


def of_transaction(frame: Payload, transaction: Transaction) -> Payload:
    """The frame with the id by which the CSMS knows the transaction, as far as the charger knows it by now."""
    known = transaction.transaction_id
    return frame | {"transactionId": UNKNOWN_TRANSACTION if known is None else known}
