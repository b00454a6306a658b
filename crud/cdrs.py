"""CDRs as their eMSP reads them: the charge records it pays, which never change."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, case, select

from adapters import v211
from adapters.cdrs import cdr_to_ocpi, without_prices
from adapters.rendered import Rendered
from crud.kept import Kept
from crud.own_prices import prices_itself
from crud.pages import Listed, fetch, page_of
from crud.scope import own
from csms.database import Database
from csms.models import ChargeRecord, Tariff, Transaction

_RECORD = ChargeRecord.__table__.c
_TRANSACTION = Transaction.__table__.c
_BEFORE = case((_RECORD.credit, 0), else_=1)  # a credit before what stands instead
_IDS: Any = bindparam("ids", expanding=True)

# Put together once, since a push asks them for every few objects.
_WHOLE = select(ChargeRecord.__table__).where(_RECORD.id.in_(_IDS))
_STARTED = select(
    _TRANSACTION.id,
    _TRANSACTION.auth_method,
    _TRANSACTION.authorization_reference,
    _TRANSACTION.tariff_row,
    _TRANSACTION.created_at,
).where(_TRANSACTION.id.in_(_IDS))
_VERSIONS = select(Tariff.__table__).where(Tariff.id.in_(_IDS))

CACHED = 20_000  # CDRs


class CdrsCrud:
    """One that was shown is rendered no more: it never changes (CD-06)."""

    def __init__(self, database: Database, *, cached: int = CACHED) -> None:
        self._database = database
        self._kept = Kept(cached)

    async def list(self, filters: dict[str, Any], *, version: str = "2.2.1", **_: Any) -> Listed:
        return await asyncio.to_thread(self._list, filters, version)

    def current(self, connection: Connection, id: str) -> Rendered | None:
        """The CDR of this charge record; None when there is none."""
        return self.these(connection, [id]).get(id)

    def these(self, connection: Connection, ids: Sequence[str]) -> Mapping[str, Rendered]:
        """As `current`, of many."""
        return self._rendered(connection, ids)

    def _list(self, filters: dict[str, Any], version: str) -> Listed:
        query = select(_RECORD.id).where(*own(ChargeRecord))
        if version == v211.VERSION:  # it knows no credits, and without them a corrected CDR would be paid twice (CD-09)
            query = query.where(_RECORD.credit.is_(False), _RECORD.corrects.is_(None))
        with self._database.read() as connection:
            rows, total, last = fetch(
                connection,
                query,
                page_of(filters),
                updated=_RECORD.created_at,  # a record never changes after (CD-10)
                order=(_RECORD.created_at, _BEFORE, _RECORD.id),
            )
            return [*self._rendered(connection, [row.id for row in rows]).values()], total, last

    def _rendered(self, connection: Connection, ids: Sequence[str]) -> dict[str, Rendered]:
        """In the order of `ids`."""
        looks = dict.fromkeys(ids)
        found = self._kept.same(looks)
        if len(found) < len(looks):
            missing = [id for id in ids if id not in found]
            fresh = _rendered(connection, connection.execute(_WHOLE, {"ids": missing}).all())
            self._kept.keep(looks, fresh)
            found |= fresh
        return {id: found[id] for id in ids if id in found}


def _rendered(connection: Connection, records: Sequence[Row[Any]]) -> dict[str, Rendered]:
    if not records:
        return {}
    started = connection.execute(_STARTED, {"ids": list({record.transaction_id for record in records})})
    transactions = {row.id: row for row in started}
    versions = connection.execute(_VERSIONS, {"ids": list({record.tariff_row for record in records})})
    tariffs = {row.id: row for row in versions}
    itself = prices_itself(connection, {record.owner_id for record in records})
    found = {}
    for record in records:
        transaction = transactions[record.transaction_id]
        cdr = cdr_to_ocpi(record, tariffs.get(record.tariff_row), transaction)
        if itself(record.owner_id, transaction.created_at):
            cdr = without_prices(cdr)
        found[record.id] = Rendered(cdr, beside={"snapshot": record.snapshot})
    return found
