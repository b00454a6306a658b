"""Connectors that a simulated charger keeps for a card, until it comes or its time is over (OCPP 1.6 section 5.13)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from csms.simulator.wire import Handled, Payload, status

if TYPE_CHECKING:
    from csms.simulator.charge_point import ChargePoint


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """`connector` 0: whichever is free when the card comes. `group` is a parentIdTag, whose cards may come as well."""

    number: int
    connector: int
    id_token: str
    until: datetime
    group: str | None = None

    def is_for(self, id_token: str, groups: frozenset[str]) -> bool:
        return id_token.casefold() == self.id_token.casefold() or self.group in groups


class Reservations:
    def __init__(self) -> None:
        self._kept: dict[int, Reservation] = {}

    def keep(self, reservation: Reservation) -> None:
        """In place of one with the same number."""
        self._kept[reservation.number] = reservation

    def drop(self, number: int) -> Reservation | None:
        return self._kept.pop(number, None)

    def get(self, number: int) -> Reservation | None:
        return self._kept.get(number)

    def on(self, connector: int) -> Reservation | None:
        return next((kept for kept in self._kept.values() if kept.connector == connector), None)

    def for_card(self, connector: int, id_token: str, groups: frozenset[str] = frozenset()) -> Reservation | None:
        """The reservation that this card uses up by starting here."""
        usable = (kept for kept in self._kept.values() if kept.connector in (0, connector))
        return next((kept for kept in usable if kept.is_for(id_token, groups)), None)

    def over(self, now: datetime) -> list[Reservation]:
        return [kept for kept in self._kept.values() if kept.until <= now]


def reserve_now(charge_point: ChargePoint, payload: Payload) -> Handled:
    number = payload["connectorId"]
    if number not in (0, *charge_point.connectors):
        return status("Rejected")
    if number == 0 and not charge_point.configuration.flag("ReserveConnectorZeroSupported"):
        return status("Rejected")
    chosen = [c for c in charge_point.connectors.values() if number in (0, c.number)]
    earlier = charge_point.reservations.get(payload["reservationId"])
    states = {charge_point.availability(c.number, except_for=earlier) for c in chosen}
    if "Available" not in states:
        return status(next(word for word in ("Occupied", "Faulted", "Unavailable") if word in states))
    reservation = Reservation(
        number=payload["reservationId"],
        connector=number,
        id_token=payload["idTag"],
        until=datetime.fromisoformat(payload["expiryDate"]),
        group=payload.get("parentIdTag"),
    )
    if reservation.until <= charge_point.clock.now():
        return status("Rejected")
    charge_point.reservations.keep(reservation)
    freed = earlier.connector if earlier and earlier.connector != number else 0

    async def show() -> None:
        for connector, word in ((freed, "Available"), (number, "Reserved")):
            if connector:
                await charge_point.set_status(connector, word)

    return status("Accepted", show)


def cancel_reservation(charge_point: ChargePoint, payload: Payload) -> Handled:
    dropped = charge_point.reservations.drop(payload["reservationId"])
    if dropped is None:
        return status("Rejected")
    if not dropped.connector:
        return status("Accepted")
    return status("Accepted", partial(charge_point.set_status, dropped.connector, "Available"))
