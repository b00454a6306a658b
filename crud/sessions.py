"""Sessions as their eMSP reads them: its own transactions, with the price so far from the function that bills them."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, select

from adapters.rendered import Rendered
from adapters.sessions import session_to_ocpi
from crud.pages import Listed, fetch, page_of
from crud.scope import own
from csms.billing.tariffs import Period, Price
from csms.database import Database
from csms.events import AuthorizationStatus
from csms.models import OWN, Transaction

_TRANSACTION = Transaction.__table__.c

# What a running or ended transaction costs as far as it is known.
PriceOf = Callable[[Connection, Row[Any]], tuple[Sequence[Period], Price]]


class SessionsCrud:
    """A transaction whose start was refused is no session of anybody's, whatever the charger does."""

    def __init__(self, database: Database, price_of: PriceOf) -> None:
        self._database = database
        self._price_of = price_of

    async def list(self, filters: dict[str, Any], **_: Any) -> Listed:
        return await asyncio.to_thread(self._list, filters)

    def current(self, connection: Connection, id: str) -> Rendered | None:
        """The Session of this transaction, as it is now; None when no partner may see it as one."""
        query = select(Transaction.__table__).where(_TRANSACTION.id == id, *shown())
        row = connection.execute(query).one_or_none()
        return self._rendered(connection, row) if row is not None else None

    def _list(self, filters: dict[str, Any]) -> Listed:
        query = select(Transaction.__table__).where(*shown(), *own(Transaction))
        with self._database.read() as connection:
            rows, total, last = fetch(
                connection,
                query,
                page_of(filters),
                updated=_TRANSACTION.last_updated,
                order=(_TRANSACTION.created_at, _TRANSACTION.id),
            )
            return [self._rendered(connection, row) for row in rows], total, last

    def _rendered(self, connection: Connection, row: Row[Any]) -> Rendered:
        periods, price = self._price_of(connection, row)
        return Rendered(session_to_ocpi(row, periods, price))


def shown() -> list[ColumnElement[bool]]:
    """A partner's, and started with its leave."""
    return [_TRANSACTION.owner_id != OWN, _TRANSACTION.authorization == AuthorizationStatus.ACCEPTED.value]
