"""A transaction, and which of its records stands: the one that no credit took back."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, select
from sqlalchemy.orm import aliased

from csms.models import ChargeRecord, Transaction

_Credit = aliased(ChargeRecord)


def credited() -> ColumnElement[bool]:
    """That a credit refers to the record."""
    return select(_Credit.id).where(_Credit.credit_reference_id == ChargeRecord.id).exists()


def standing_record(connection: Connection, transaction_id: str) -> Row[Any] | None:
    """None: it was not billed, or what was billed was taken back."""
    query = select(ChargeRecord.__table__).where(
        ChargeRecord.transaction_id == transaction_id, ChargeRecord.credit.is_(False), ~credited()
    )
    return connection.execute(query).one_or_none()


def transaction_of(connection: Connection, transaction_id: str) -> Row[Any]:
    """The transaction that a record, a review or a fact names."""
    table = Transaction.__table__
    return connection.execute(select(table).where(table.c.id == transaction_id)).one()
