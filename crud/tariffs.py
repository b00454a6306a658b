"""Tariffs as partners read them: those that they pay, of each the version in force."""

import asyncio
from typing import Any

from sqlalchemy import Connection, select

from adapters.rendered import Rendered
from adapters.tariffs import tariff_to_ocpi
from crud.pages import Listed, fetch, page_of
from crud.payers import hidden_from
from crud.scope import of_addressed_party, paying
from csms.billing.choice import Payer
from csms.database import Database
from csms.models import Tariff

_TARIFF = Tariff.__table__.c


class TariffsCrud:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, filters: dict[str, Any], *, version: str = "2.2.1", **_: Any) -> Listed:
        return await asyncio.to_thread(self._list, filters, version)

    def current(
        self, connection: Connection, row: int, who: Payer | None = None, version: str = "2.2.1"
    ) -> Rendered | None:
        """The version in force of the tariff that this row is a version of; None when the tariff was removed, is over, or is
        not one that `who` pays (None: anybody)."""
        wanted = select(Tariff.country_code, Tariff.party_id, Tariff.tariff_key).where(Tariff.id == row)
        key = connection.execute(wanted).one_or_none()
        if key is None:
            return None
        query = select(Tariff.__table__).where(
            _TARIFF.country_code == key.country_code,
            _TARIFF.party_id == key.party_id,
            _TARIFF.tariff_key == key.tariff_key,
            _TARIFF.current.is_(True),
            _TARIFF.removed.is_(False),
        )
        found = connection.execute(query).one_or_none()
        if found is None or found.id in hidden_from(connection, who, version).values():
            return None
        return Rendered(tariff_to_ocpi(found))

    def _list(self, filters: dict[str, Any], version: str) -> Listed:
        query = select(Tariff.__table__).where(
            _TARIFF.current.is_(True), _TARIFF.removed.is_(False), *of_addressed_party(Tariff)
        )
        with self._database.read() as connection:
            others = hidden_from(connection, paying(), version).values()
            rows, total, last = fetch(
                connection,
                query.where(_TARIFF.id.not_in(others)),
                page_of(filters),
                updated=_TARIFF.last_updated,
                order=(_TARIFF.created_at, _TARIFF.tariff_key, _TARIFF.country_code, _TARIFF.party_id),
            )
        return [Rendered(tariff_to_ocpi(row)) for row in rows], total, last
