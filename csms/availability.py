"""What an EVSE is to somebody who wants to charge, in words that need no database."""

from enum import StrEnum

from csms.events import ConnectorStatus


class Availability(StrEnum):
    """What an EVSE is to somebody who wants to charge."""

    AVAILABLE = "available"  # a session can be started; with a plug already in it too
    OCCUPIED = "occupied"
    RESERVED = "reserved"
    UNAVAILABLE = "unavailable"
    FAULTED = "faulted"
    UNKNOWN = "unknown"  # offline, or never heard of
    REMOVED = "removed"


AVAILABILITY: dict[ConnectorStatus, Availability] = {
    ConnectorStatus.AVAILABLE: Availability.AVAILABLE,
    ConnectorStatus.PREPARING: Availability.AVAILABLE,
    ConnectorStatus.CHARGING: Availability.OCCUPIED,
    ConnectorStatus.SUSPENDED_EV: Availability.OCCUPIED,
    ConnectorStatus.SUSPENDED_EVSE: Availability.OCCUPIED,
    ConnectorStatus.FINISHING: Availability.OCCUPIED,
    ConnectorStatus.RESERVED: Availability.RESERVED,
    ConnectorStatus.UNAVAILABLE: Availability.UNAVAILABLE,
    ConnectorStatus.FAULTED: Availability.FAULTED,
}
