"""What follows from a charger's answer, beside the outcome itself: written in the transaction that stores the outcome.

The modules named here ask of stations by `csms.requests.enqueue`; `csms.remote` sends, and reads this table.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

import structlog
from sqlalchemy import Connection

from csms import alerts, certificates, configuration, diagnostics, firmware, reservations, resets, station_security
from csms.commands import (
    Answer,
    CancelReservation,
    ChangeConfiguration,
    ClearChargingProfile,
    Command,
    GetConfiguration,
    GetDiagnostics,
    GetLog,
    ReserveEvse,
    ResetStation,
    SendCertificate,
    SetChargingProfile,
    UpdateFirmware,
    UpdateFirmwareSigned,
)
from csms.database import away, victim
from csms.journal import Fact
from csms.requests import kind_of
from csms.smart_charging import profiles

log = structlog.get_logger(__name__)

# (connection, id of the request, what was asked, what came of it, now); also called when the request was lost (TIMEOUT).
Follow: TypeAlias = Callable[[Connection, str, Any, Any, datetime], Sequence[Fact]]


def both(first: Follow, then: Follow) -> Follow:
    return lambda *told: [*first(*told), *then(*told)]


FOLLOWS: Mapping[type[Command[Any]], Follow] = {
    SetChargingProfile: profiles.was_set,
    ClearChargingProfile: profiles.was_cleared,
    ChangeConfiguration: both(station_security.was_configured, configuration.was_changed),
    GetConfiguration: configuration.was_read,
    ResetStation: resets.was_reset,
    ReserveEvse: reservations.was_reserved,
    CancelReservation: reservations.was_cancelled,
    UpdateFirmware: firmware.was_answered,
    UpdateFirmwareSigned: firmware.was_answered,
    GetDiagnostics: diagnostics.was_answered,
    GetLog: diagnostics.was_answered,
    SendCertificate: certificates.was_sent,
}


def follow(connection: Connection, request_id: str, command: Command[Any], answer: Answer, now: datetime) -> list[Fact]:
    """A fault of ours here costs what follows, not the outcome itself: somebody waits for that, and is not left without."""
    known = FOLLOWS.get(type(command))
    if known is None:
        return []
    try:
        with connection.begin_nested():
            return [*known(connection, request_id, command, answer, now)]
    except Exception as error:
        if away(error) or victim(error):
            raise  # no fault of what follows
        log.exception("follow_failed", request_id=request_id, station_id=command.station_id)
        why = {"command": kind_of(command), "error": type(error).__name__}
        alarm = alerts.Alarm(kind="follow_failed", subject=request_id, station_id=command.station_id, detail=why)
        alerts.raise_alarms(connection, [alarm], now)
        return []
