"""The dialects of vendor data that are spoken here, one row a message; to all else we say which word we do not know."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from csms.events import VendorDataReceived, VendorDataReply, VendorDataStatus

# Pure: what is received is in the journal already, and whoever acts on it reads it there.
Dialect: TypeAlias = Callable[[VendorDataReceived], VendorDataReply]

COST_MESSAGES = "org.openchargealliance.costmsg"  # OCPP & California Pricing Requirements, Open Charge Alliance
CONNECTOR_UNPLUGGED = "ConnectorUnplugged"
KEPT = 10_000  # characters of the data; the rest is only in the message log
HIGHEST_NUMBER = 2**31 - 1  # of a transaction

ACCEPTED = VendorDataReply(status=VendorDataStatus.ACCEPTED)
REJECTED = VendorDataReply(status=VendorDataStatus.REJECTED)
UNKNOWN_VENDOR = VendorDataReply(status=VendorDataStatus.UNKNOWN_VENDOR)
UNKNOWN_MESSAGE = VendorDataReply(status=VendorDataStatus.UNKNOWN_MESSAGE)


def unplugged(event: VendorDataReceived) -> VendorDataReply:
    """The cable was taken out after a transaction: accepted when it says of which."""
    return REJECTED if unplugged_from(event.data) is None else ACCEPTED


DIALECTS: Final[Mapping[tuple[str, str | None], Dialect]] = {
    (COST_MESSAGES, CONNECTOR_UNPLUGGED): unplugged,
}
VENDORS = frozenset(vendor for vendor, _ in DIALECTS)


def reply_to(event: VendorDataReceived) -> VendorDataReply:
    known = DIALECTS.get((event.vendor_id, event.message_id))
    if known is not None and len(event.data or "") > KEPT:
        return REJECTED
    if known is not None:
        return known(event)
    return UNKNOWN_MESSAGE if event.vendor_id in VENDORS else UNKNOWN_VENDOR


def unplugged_from(data: str | None) -> int | None:
    """The number of the transaction; None when it cannot be read."""
    try:
        said: Any = msgspec.json.decode(data or "")
        number = said["transactionId"] if isinstance(said, dict) else None
        read = int(number) if isinstance(number, int | str) else 0
        return read if 0 < read <= HIGHEST_NUMBER else None
    except (msgspec.DecodeError, KeyError, ValueError, RecursionError):  # the last: nested without end
        return None
