"""A transaction as the OCPI Session that its eMSP follows, whole or as the difference from what it already has."""

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from adapters.datatypes import NOT_AVAILABLE, moment, optional_text, present, price, text, volume
from adapters.periods import MWH_PER_KWH, charging_periods, reserved_period
from csms.billing.periods import closed
from csms.billing.pricing import Price
from csms.billing.sessions import DEFAULT_CURRENCY
from csms.billing.tariffs import Period
from csms.billing.verdict import is_held
from csms.lifecycle import State

STATUS = {
    State.ACTIVE: "ACTIVE",
    State.ORPHANED: "ACTIVE",  # nothing heard lately, its end may still come
    State.ENDED: "COMPLETED",
    State.REFUSED: "INVALID",
}


def session_to_ocpi(transaction: Any, periods: Sequence[Period], cost: Price) -> dict[str, Any]:
    """Of a Transaction row; `periods` and `cost` from the function that also makes its bill (TC-28).

    While it runs the last period is left out, since it still grows: what was told of periods is never taken back (SE-07).
    total_cost is left out while it is not known (SE-22), also where a person must look at the bill first: COMPLETED is
    final, and the CDR will say it.
    """
    snapshot = transaction.snapshot
    ended = transaction.state == State.ENDED
    tariff_id = optional_text((snapshot.get("tariff") or {}).get("tariff_id"), 36)
    kept = cost.reservation
    unknown = cost.unsupported or (ended and is_held(transaction))
    return present(
        {
            "country_code": text(transaction.country_code, 2),
            "party_id": text(transaction.party_id, 3),
            "id": transaction.id,
            "start_date_time": moment(transaction.started_at),
            "end_date_time": moment(transaction.ended_at) if ended and transaction.ended_at else None,
            "kwh": volume(Decimal(transaction.energy_mwh) / MWH_PER_KWH),
            "cdr_token": cdr_token(snapshot),
            "auth_method": transaction.auth_method,
            "authorization_reference": optional_text(transaction.authorization_reference, 36),
            "location_id": _of(snapshot, "location", "location_id", 36),
            "evse_uid": _of(snapshot, "evse", "uid", 36),
            "connector_id": _of(snapshot, "connector", "connector_id", 36),
            "currency": cost.currency,
            "charging_periods": [
                *(reserved_period(kept.start, kept.end, tariff_id) if kept else ()),
                *charging_periods(periods if ended else closed(periods), tariff_id),
            ],
            "total_cost": None if unknown else price(cost.total_excl_vat, cost.total_incl_vat),
            "status": STATUS[State(transaction.state)],
            "last_updated": moment(transaction.last_updated),
        }
    )


def reserved_to_ocpi(reservation: Any) -> dict[str, Any]:
    """Of the row of a Reservation that its station granted, and that no charge has followed (SE-14): charging is yet to come,
    or will not. Its EVSE is #NA while none is assigned (SE-15)."""
    snapshot = reservation.snapshot
    over = reservation.state != "active"
    return present(
        {
            "country_code": text(reservation.country_code, 2),
            "party_id": text(reservation.party_id, 3),
            "id": reservation.public_id,
            "start_date_time": moment(reservation.granted_at),
            "end_date_time": moment(reservation.finished_at) if over and reservation.finished_at else None,
            "kwh": volume(Decimal(0)),
            "cdr_token": cdr_token(snapshot),
            "auth_method": "COMMAND",
            "authorization_reference": optional_text(reservation.authorization_reference, 36),
            "location_id": _of(snapshot, "location", "location_id", 36),
            "evse_uid": _of(snapshot, "evse", "uid", 36),
            "connector_id": _of(snapshot, "connector", "connector_id", 36),
            "currency": snapshot.get("currency") or DEFAULT_CURRENCY,
            "status": "COMPLETED" if over else "RESERVATION",
            "last_updated": moment(reservation.last_updated),
        }
    )


def session_patch(confirmed: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, Any] | None:
    """The PATCH that makes the `confirmed` Session the `current` one; both as rendered, or as read back from JSON.

    Periods in it are appended by the receiver (SE-05). Empty when nothing but last_updated differs: there is nothing to
    tell. None when a PATCH cannot say it, because a field is gone or a told period changed (PU-06, SE-07): PUT instead.
    """
    if confirmed.keys() - current.keys() - {"charging_periods"}:
        return None
    told = list(confirmed.get("charging_periods") or ())
    periods = list(current.get("charging_periods") or ())
    if len(periods) < len(told) or not _same(told, periods[: len(told)]):
        return None
    changes = {
        name: value
        for name, value in current.items()
        if name not in ("charging_periods", "last_updated")
        and (name not in confirmed or not _same(confirmed[name], value))
    }
    if periods[len(told) :]:
        changes["charging_periods"] = periods[len(told) :]
    return changes | {"last_updated": current["last_updated"]} if changes else {}


def cdr_token(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """The eMSP's token, under the eMSP's own party (SE-23), as it was at the start."""
    token = snapshot["token"]
    return {
        "country_code": text(token["country_code"], 2),
        "party_id": text(token["party_id"], 3),
        "uid": text(token["uid"], 36),
        "type": token["type"],
        "contract_id": text(token["contract_id"], 36),
    }


def _of(snapshot: Mapping[str, Any], part: str, name: str, limit: int) -> str:
    """An id out of the snapshot; a station that no import knows has none (TY-13)."""
    return text((snapshot.get(part) or {}).get(name) or NOT_AVAILABLE, limit)


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON, where 1.50, 1.5 and a Decimal of either are one number."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_same(*pair) for pair in zip(one, other, strict=True))
    if isinstance(one, Decimal) or isinstance(other, Decimal):
        try:
            return Decimal(str(one)) == Decimal(str(other))
        except InvalidOperation:
            return False
    return bool(one == other)
