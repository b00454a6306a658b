"""CDRs as their eMSP reads them: the charge records it pays, which never change."""

import asyncio
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from adapters.cdrs import cdr_to_ocpi
from adapters.rendered import Rendered
from crud.pages import Listed, fetch, page_of
from crud.scope import own
from csms.database import Database
from csms.models import ChargeRecord, Tariff, Transaction

_RECORD = ChargeRecord.__table__.c
_TRANSACTION = Transaction.__table__.c


class CdrsCrud:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, filters: dict[str, Any], **_: Any) -> Listed:
        return await asyncio.to_thread(self._list, filters)

    def current(self, connection: Connection, id: str) -> Rendered | None:
        """The CDR of this charge record; None when there is none."""
        rows = connection.execute(select(ChargeRecord.__table__).where(_RECORD.id == id)).all()
        return next(iter(_rendered(connection, rows)), None)

    def _list(self, filters: dict[str, Any]) -> Listed:
        query = select(ChargeRecord.__table__).where(*own(ChargeRecord))
        with self._database.read() as connection:
            rows, total, last = fetch(
                connection,
                query,
                page_of(filters),
                updated=_RECORD.created_at,  # a record never changes after (CD-10)
                order=(_RECORD.created_at, _RECORD.id),
            )
            return list(_rendered(connection, rows)), total, last


def _rendered(connection: Connection, records: Sequence[Row[Any]]) -> Sequence[Rendered]:
    if not records:
        return []
    started = select(
        _TRANSACTION.id, _TRANSACTION.auth_method, _TRANSACTION.authorization_reference, _TRANSACTION.tariff_row
    ).where(_TRANSACTION.id.in_({record.transaction_id for record in records}))
    transactions = {row.id: row for row in connection.execute(started)}
    versions = select(Tariff.__table__).where(Tariff.id.in_({record.tariff_row for record in records}))
    tariffs = {row.id: row for row in connection.execute(versions)}
    return [
        Rendered(cdr_to_ocpi(record, tariffs.get(record.tariff_row), transactions[record.transaction_id]))
        for record in records
    ]
