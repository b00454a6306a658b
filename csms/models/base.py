"""What all tables share: types, names of constraints, and the two groups they are in."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from sqlalchemy import DDL, BigInteger, Integer, Sequence, Table, event
from sqlalchemy.orm import DeclarativeBase, mapped_column

from csms.database import Json, Money, Plain, Utc

Rowid = Annotated[
    int, mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)
]
Big = Annotated[int, mapped_column(BigInteger)]
JsonValue = Annotated[Any, mapped_column(Json)]

CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

OWN = 0  # the owner of the operator's own cards; a partner's are owned by its id


class Base(DeclarativeBase):
    type_annotation_map = {datetime: Utc, Decimal: Money, str: Plain, dict[str, Any]: Json, list[Any]: Json}  # noqa: RUF012


Base.metadata.naming_convention = CONVENTION

transaction_numbers = Sequence("transaction_numbers", start=1, minvalue=1, maxvalue=2**31 - 1, metadata=Base.metadata)


class LogBase(DeclarativeBase):
    """The message log's tables: a file of their own on SQLite."""

    type_annotation_map = {datetime: Utc, str: Plain}  # noqa: RUF012


LogBase.metadata.naming_convention = CONVENTION


def monthly(table: Any) -> None:
    """On PostgreSQL this table is cut by months, which csms.partitions makes; the default one takes what none of them does."""
    assert isinstance(table, Table)
    ddl = DDL("CREATE TABLE %(table)s_default PARTITION OF %(table)s DEFAULT")  # type: ignore[no-untyped-call]
    event.listen(table, "after_create", ddl.execute_if(dialect="postgresql"))
