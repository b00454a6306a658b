"""How each currency's amounts are rounded: told once by who runs the service, and read by every process that prices."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from csms.billing.pricing import TO_FOUR_DECIMALS, Rounding
from csms.models import MoneyRounding


def rounding_of(connection: Connection, currency: str) -> Rounding:
    """Four decimals, half up, for a currency that nobody named."""
    row = MoneyRounding
    told = connection.execute(select(row.decimals, row.to_even).where(row.currency == currency)).one_or_none()
    return TO_FOUR_DECIMALS if told is None else Rounding(told.decimals, told.to_even)


def kept(record: Any) -> Rounding | None:
    """How the amounts of a charge record were rounded; None of one that was made before this was kept."""
    told = (record.evidence or {}).get("rounding")
    return None if told is None else Rounding(**told)


def keep(connection: Connection, roundings: Mapping[str, Rounding]) -> None:
    """From now on these, and no others. Bills that were made keep theirs."""
    connection.execute(delete(MoneyRounding))
    rows = [
        {"currency": currency, "decimals": rounding.decimals, "to_even": rounding.to_even}
        for currency, rounding in sorted(roundings.items())
    ]
    if rows:
        connection.execute(insert(MoneyRounding), rows)
