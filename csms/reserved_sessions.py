"""A partner's reservation is a Session from when the station grants it, and the charge it is kept for is the same one."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select

from csms.locations import places, snapshot
from csms.models import OWN, Evse, Token

OPEN = ("requested", "active")


def granted(connection: Connection, row: Row[Any], *, evse: int, token_id: int | None, now: datetime) -> dict[str, Any]:
    """What the row of a reservation keeps when the station grants it, or grants a replacement: since when, and alone that
    where no partner asked, or no import knows the station."""
    since = {"granted_at": row.granted_at or now}
    if row.owner_id is None or token_id is None:
        return since
    first = select(func.min(Evse.evse)).where(Evse.station_id == row.station_id, Evse.removed.is_(False))
    number = evse or connection.execute(first).scalar() or 0
    place = places(connection, [(row.station_id, number)]).get((row.station_id, number))
    if place is None:
        return since
    card = connection.execute(select(Token.__table__).where(Token.id == token_id)).one()
    kept = snapshot(place, card, None) | {"currency": next((tariff.currency for tariff in place.tariffs), None)}
    if not evse:
        kept |= {"evse": None, "connector": None}  # which one, nobody knows yet
    return {
        **since,
        "public_id": row.public_id or str(uuid.uuid4()),
        "country_code": place.location.country_code,
        "party_id": place.location.party_id,
        "snapshot": kept,
    }


def taken_over(reservation: Mapping[str, Any] | None, card: Any) -> dict[str, Any]:
    """What a transaction has of the Session that its reservation began: with the very card that this is kept for, and while
    it is kept. A Session that is over stays so, and the charge is one of its own."""
    if reservation is None or card is None or reservation["public_id"] is None or reservation["state"] not in OPEN:
        return {}
    if (card.id, card.owner_id) != (reservation["token_id"], reservation["owner_id"]):
        return {}
    return {"id": reservation["public_id"], "created_at": reservation["granted_at"]}


def kept_for(reservation: Mapping[str, Any] | None, owner_id: int | None) -> dict[str, Any]:
    """For the snapshot of a transaction that uses it: what is priced, and told, of the time before (TC-26). Nothing where
    somebody else asked for it than `owner_id`, who pays, or where it was cancelled, and only its station still knew of it; nor
    where it was billed as one that nobody used."""
    if reservation is None or reservation["granted_at"] is None or reservation["state"] not in (*OPEN, "expired"):
        return {}
    if reservation["transaction_id"] is not None:
        return {}
    if owner_id != (OWN if reservation["owner_id"] is None else reservation["owner_id"]):
        return {}
    times = {name: reservation[name].isoformat() for name in ("granted_at", "expires_at")}
    return {"reservation": {"number": reservation["number"], **times}}
