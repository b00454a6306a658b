"""A partner's reservation that nobody used is billed where the tariff has a price for that, a day after it expired."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from csms.clock import Rule
from csms.database import insert_into
from csms.events import AuthorizationStatus
from csms.journal import Fact, FactType
from csms.lifecycle import Cause, State
from csms.locations import places
from csms.models import Evse, Reservation, Station, Token, Transaction
from csms.standing import Payers, hexed, no_partners, tariff_for

BILLED_AFTER = timedelta(days=1)  # by then a start that its station kept while it was alone is told
SOUGHT = timedelta(days=7)
AT_MOST = 1000

Numbers = Callable[[Connection, int], Sequence[int]]


def settle(connection: Connection, now: datetime, *, numbers: Numbers, payers: Payers = no_partners) -> Sequence[Fact]:
    """Each gets a transaction in which nobody charged, so that it has its bill like any other; once."""
    table = Reservation.__table__
    query = (
        select(table)
        .where(
            Reservation.state == "expired",
            Reservation.public_id.is_not(None),
            Reservation.transaction_id.is_(None),
            Reservation.finished_at.between(now - SOUGHT, now - BILLED_AFTER),
        )
        .order_by(Reservation.number)
        .limit(AT_MOST)
        .with_for_update()
    )
    priced = [
        (row, tariff)
        for row in connection.execute(query).all()
        if (tariff := _tariff(connection, row, payers)) is not None
    ]
    facts = []
    for (row, tariff), number in zip(priced, numbers(connection, len(priced)) if priced else (), strict=True):
        connection.execute(
            insert_into(connection, Transaction).values(**_of_nobody(connection, row, tariff, number, now))
        )
        mine = update(Reservation).where(Reservation.number == row.number)
        connection.execute(mine.values(transaction_id=row.public_id))
        facts.append(Fact(type=FactType.TRANSACTION_ENDED, subject=row.public_id, station_id=row.station_id))
    return facts


def _tariff(connection: Connection, row: Row[Any], payers: Payers) -> Row[Any] | None:
    """The one with which a session would have begun when the reservation was granted, if it prices reservations."""
    first = select(func.min(Evse.evse)).where(Evse.station_id == row.station_id, Evse.removed.is_(False))
    spot = (row.station_id, row.evse or connection.execute(first).scalar() or 0)
    card = connection.execute(select(Token.__table__).where(Token.id == row.token_id)).one_or_none()
    tariff = tariff_for(connection, payers, places(connection, [spot]).get(spot), card, row.granted_at)
    if tariff is None:
        return None
    prices = any((element.get("restrictions") or {}).get("reservation") for element in tariff.elements)
    return tariff if prices else None


def _of_nobody(connection: Connection, row: Row[Any], tariff: Row[Any], number: int, now: datetime) -> dict[str, Any]:
    query = select(Station.ocpp_version, Station.boot_epoch).where(Station.station_id == row.station_id)
    station = connection.execute(query).one()
    kept = {"number": row.number, "granted_at": row.granted_at.isoformat(), "expires_at": row.expires_at.isoformat()}
    snapshot = {
        **row.snapshot,
        "tariff": {"tariff_id": tariff.tariff_id, "version": tariff.version},
        "reservation": {**kept, "expired": True},
    }
    return {
        "id": row.public_id,
        "number": number,
        "country_code": row.country_code,
        "party_id": row.party_id,
        "station_id": row.station_id,
        "ocpp_version": station.ocpp_version or "",
        "evse": row.evse,
        "connector": 1,
        "state": State.ENDED.value,
        "cause": Cause.NOBODY_CAME.value,
        "token_id": row.token_id,
        "owner_id": row.owner_id,
        "id_token": hexed(row.tag),
        "id_token_key": row.tag_key,
        "authorization": AuthorizationStatus.ACCEPTED.value,
        "auth_method": "COMMAND",
        "authorization_reference": row.authorization_reference,
        "tariff_row": tariff.id,
        "snapshot": snapshot,
        "boot_epoch": station.boot_epoch,
        "dedup_key": f"reservation:{row.number}",
        "started_at": row.expires_at,
        "started_received_at": row.finished_at,
        "started_rule": Rule.SERVER_MISSING.value,
        "start_event_id": f"reservation:{row.number}",
        "ended_at": row.expires_at,
        "ended_received_at": now,
        "ended_rule": Rule.SERVER_MISSING.value,
        "created_at": now,
        "last_updated": now,
    }
