"""Sessions as their eMSP reads them: its own transactions, with the price so far from the function that bills them, and the
reservations that no transaction has followed."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, or_, select, union_all

from adapters.cdrs import without_prices
from adapters.rendered import Rendered
from adapters.sessions import reserved_to_ocpi, session_to_ocpi
from crud.kept import Kept
from crud.own_prices import prices_itself
from crud.pages import Listed, fetch, page_of
from crud.scope import own
from csms.billing.pricing import Price
from csms.billing.tariffs import Period
from csms.database import Database
from csms.events import AuthorizationStatus
from csms.lifecycle import Cause
from csms.models import OWN, Reservation, Transaction

_TRANSACTION = Transaction.__table__.c
_RESERVATION = Reservation.__table__.c

CACHED = 20_000  # sessions

_SOMEBODY_CAME = or_(_TRANSACTION.cause.is_(None), _TRANSACTION.cause != Cause.NOBODY_CAME.value)

# What of a transaction's row its Session changes with; the rest stays as it was at the start (PU-13).
_LOOKS = (
    _TRANSACTION.id,
    _TRANSACTION.last_updated,
    _TRANSACTION.state,
    _TRANSACTION.started_at,
    _TRANSACTION.ended_at,
    _TRANSACTION.energy_mwh,
    _TRANSACTION.sample_count,
    _TRANSACTION.tariff_row,
    _TRANSACTION.auth_method,
    _TRANSACTION.authorization_reference,
)

# What a running or ended transaction costs as far as it is known.
PriceOf = Callable[[Connection, Row[Any]], tuple[Sequence[Period], Price]]


class SessionsCrud:
    """A transaction whose start was refused is no session of anybody's, whatever the charger does. A Session that did not
    change since it was last shown is neither read nor priced again."""

    def __init__(self, database: Database, price_of: PriceOf, *, cached: int = CACHED) -> None:
        self._database = database
        self._price_of = price_of
        self._kept = Kept(cached)

    async def list(self, filters: dict[str, Any], **_: Any) -> Listed:
        return await asyncio.to_thread(self._list, filters)

    def current(self, connection: Connection, id: str) -> Rendered | None:
        """The Session with this id, as it is now; None when no partner may see it as one."""
        return next(iter(self._rendered(connection, [id])), None)

    def _list(self, filters: dict[str, Any]) -> Listed:
        charging = select(_TRANSACTION.id, _TRANSACTION.created_at, _TRANSACTION.last_updated).where(
            *shown(), *own(Transaction)
        )
        reserved = select(_RESERVATION.public_id, _RESERVATION.granted_at, _RESERVATION.last_updated).where(
            *not_charging(), *own(Reservation)
        )
        all_of_them = union_all(charging, reserved).subquery()
        with self._database.read() as connection:
            rows, total, last = fetch(
                connection,
                select(all_of_them),
                page_of(filters),
                updated=all_of_them.c.last_updated,
                order=(all_of_them.c.created_at, all_of_them.c.id),
            )
            return [*self._rendered(connection, [row.id for row in rows])], total, last

    def _rendered(self, connection: Connection, ids: Sequence[str]) -> Sequence[Rendered]:
        """In the order of `ids`."""
        query = select(*_LOOKS).where(_TRANSACTION.id.in_(ids), *shown())
        looks: dict[str, object] = {row[0]: tuple(row) for row in connection.execute(query)}
        found = self._kept.same(looks)
        found |= self._fresh(connection, {id: row for id, row in looks.items() if id not in found})
        if len(found) < len(ids):
            reserved = select(Reservation.__table__).where(_RESERVATION.public_id.in_(ids), *not_charging())
            found |= {row.public_id: _reserved(row) for row in connection.execute(reserved)}
        return [found[id] for id in ids if id in found]

    def _fresh(self, connection: Connection, looks: dict[str, object]) -> dict[str, Rendered]:
        if not looks:
            return {}
        charging = select(Transaction.__table__).where(_TRANSACTION.id.in_(looks))
        rows = connection.execute(charging).all()
        itself = prices_itself(connection, {row.owner_id for row in rows})
        fresh = {row.id: self._charging(connection, row, itself(row.owner_id, row.created_at)) for row in rows}
        self._kept.keep(looks, fresh)
        return fresh

    def _charging(self, connection: Connection, row: Row[Any], unpriced: bool) -> Rendered:
        periods, price = self._price_of(connection, row)
        session = session_to_ocpi(row, periods, price)
        return Rendered(without_prices(session) if unpriced else session, beside={"snapshot": row.snapshot})


def _reserved(row: Row[Any]) -> Rendered:
    return Rendered(reserved_to_ocpi(row), beside={"snapshot": row.snapshot})


def is_reserved(connection: Connection, session_id: str) -> bool:
    """Whether the caller knows by this id a Session in which nobody charges, and perhaps nobody will."""
    named = _RESERVATION.public_id.in_({session_id, session_id.lower()})
    query = select(_RESERVATION.number).where(named, *not_charging(), *own(Reservation))
    return connection.execute(query).first() is not None


def not_charging() -> list[ColumnElement[bool]]:
    """Granted to a partner, and no transaction has taken its id."""
    charging = select(_TRANSACTION.id).where(_TRANSACTION.id == _RESERVATION.public_id, _SOMEBODY_CAME)
    return [_RESERVATION.public_id.is_not(None), ~charging.exists()]


def shown() -> list[ColumnElement[bool]]:
    """A partner's, and started with its leave; a reservation that nobody used stays the Session that it was (SE-11)."""
    accepted = _TRANSACTION.authorization == AuthorizationStatus.ACCEPTED.value
    return [_TRANSACTION.owner_id != OWN, accepted, _SOMEBODY_CAME]
