"""The tariffs and their versions, as whoever manages them looks at them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from csms.billing.choice import Payer, is_for
from csms.models import Tariff

_TARIFF = Tariff.__table__.c
ORDER = (_TARIFF.country_code, _TARIFF.party_id, _TARIFF.tariff_key, _TARIFF.version)


def versions(
    connection: Connection,
    *,
    every: bool = False,
    tariff_id: str | None = None,
    party: tuple[str, str] | None = None,
    payer: Payer | None = None,
) -> Sequence[Row[Any]]:
    """In the order of their party, id and version. Not `every`: without older versions and removed ones. `payer`: what is
    for this one."""
    query: Select[Any] = select(Tariff.__table__).order_by(*ORDER)
    if not every:
        query = query.where(_TARIFF.current.is_(True), _TARIFF.removed.is_(False))
    if tariff_id is not None:
        query = query.where(_TARIFF.tariff_key == tariff_id.casefold())
    if party is not None:
        query = query.where(_TARIFF.country_code == party[0], _TARIFF.party_id == party[1])
    return [row for row in connection.execute(query) if payer is None or is_for(row, payer)]


def version_at(connection: Connection, current: Row[Any], at: datetime) -> Row[Any]:
    """What `current` was at a moment, for a session that is told late; its first version, where it came only after that."""
    if current.version == 1 or current.last_updated <= at:
        return current
    mine = [_TARIFF[name] == getattr(current, name) for name in ("country_code", "party_id", "tariff_key")]
    older = select(Tariff.__table__).where(*mine, _TARIFF.version < current.version).order_by(_TARIFF.version)
    rows = connection.execute(older).all()
    return next((row for row in reversed(rows) if row.last_updated <= at), rows[0] if rows else current)


def state(tariff: Any) -> str:
    """in_force, awaited or over, by its dates; older, of a version that another follows; removed."""
    if tariff.removed:
        return "removed"
    return (tariff.told or "in_force") if tariff.current else "older"
