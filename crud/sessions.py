"""Sessions as their eMSP reads them: its own transactions, with the price so far from the function that bills them, and the
reservations that no transaction has followed."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, or_, select, union_all

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

# What running or ended transactions cost as far as it is known, by their ids.
PricesOf = Callable[[Connection, Sequence[Row[Any]]], Mapping[str, tuple[Sequence[Period], Price]]]

_IDS: Any = bindparam("ids", expanding=True)


class SessionsCrud:
    """A transaction whose start was refused is no session of anybody's, whatever the charger does. A Session that did not
    change since it was last shown is neither read nor priced again."""

    def __init__(self, database: Database, prices_of: PricesOf, *, cached: int = CACHED) -> None:
        self._database = database
        self._prices_of = prices_of
        self._kept = Kept(cached)

    async def list(self, filters: dict[str, Any], **_: Any) -> Listed:
        return await asyncio.to_thread(self._list, filters)

    def current(self, connection: Connection, id: str) -> Rendered | None:
        """The Session with this id, as it is now; None when no partner may see it as one."""
        return self.these(connection, [id]).get(id)

    def these(self, connection: Connection, ids: Sequence[str]) -> Mapping[str, Rendered]:
        """As `current`, of many."""
        return self._rendered(connection, ids)

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
            return [*self._rendered(connection, [row.id for row in rows]).values()], total, last

    def _rendered(self, connection: Connection, ids: Sequence[str]) -> dict[str, Rendered]:
        """In the order of `ids`."""
        looks: dict[str, object] = {row[0]: tuple(row) for row in connection.execute(_LOOKED_AT, {"ids": ids})}
        found = self._kept.same(looks)
        found |= self._fresh(connection, {id: row for id, row in looks.items() if id not in found})
        if len(found) < len(ids):
            found |= {row.public_id: _reserved(row) for row in connection.execute(_RESERVED, {"ids": ids})}
        return {id: found[id] for id in ids if id in found}

    def _fresh(self, connection: Connection, looks: dict[str, object]) -> dict[str, Rendered]:
        if not looks:
            return {}
        rows = connection.execute(_WHOLE, {"ids": list(looks)}).all()
        itself = prices_itself(connection, {row.owner_id for row in rows})
        prices = self._prices_of(connection, rows)
        fresh = {row.id: _charging(row, *prices[row.id], itself(row.owner_id, row.created_at)) for row in rows}
        self._kept.keep(looks, fresh)
        return fresh


def _charging(row: Row[Any], periods: Sequence[Period], price: Price, unpriced: bool) -> Rendered:
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


# Put together once, since a push asks them for every few objects.
_LOOKED_AT = select(*_LOOKS).where(_TRANSACTION.id.in_(_IDS), *shown())
_WHOLE = select(Transaction.__table__).where(_TRANSACTION.id.in_(_IDS))
_RESERVED = select(Reservation.__table__).where(_RESERVATION.public_id.in_(_IDS), *not_charging())
