"""The one dialect of DataTransfer that a simulated charger speaks: prices and costs for its display (California pricing)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from csms.simulator.wire import Handled, Payload, status

if TYPE_CHECKING:
    from csms.simulator.charge_point import ChargePoint

COST_MESSAGES = "org.openchargealliance.costmsg"
SHOWN = ("SetUserPrice", "RunningCost", "FinalCost")


def data_transfer(charge_point: ChargePoint, payload: Payload) -> Handled:
    """What it shows its driver is in `charge_point.displayed`: pairs of message and data."""
    if payload["vendorId"] != COST_MESSAGES or not charge_point.configuration.flag("CustomDisplayCostAndPrice"):
        return status("UnknownVendorId")
    if payload.get("messageId") not in SHOWN:
        return status("UnknownMessageId")
    try:
        shown = json.loads(payload.get("data", ""))
    except ValueError:
        return status("Rejected")
    charge_point.displayed.append((payload["messageId"], shown))
    return status("Accepted")


def connector_unplugged(transaction_id: int, *, stamp: str) -> Payload:
    data = json.dumps({"transactionId": transaction_id, "timestamp": stamp})
    return {"vendorId": COST_MESSAGES, "messageId": "ConnectorUnplugged", "data": data}
