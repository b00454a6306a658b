"""A bill is priced again from what is stored of its session, and comes to the same bytes; where it does not, what differs is
named. Nothing is written: a bill is never changed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from types import SimpleNamespace
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, and_, or_, select

from csms.billing.charge_records import adjusted, content, corrected, known_for
from csms.billing.evidence import is_gone
from csms.billing.roundings import kept
from csms.billing.sessions import Known, known_of, priced
from csms.credits import REFUND
from csms.database import Database
from csms.models import ChargeRecord, Transaction

AT_ONCE: Final = 100
GROW: Final = ("flags", "findings")  # of a transaction, by what comes after its end: as they were when it was billed
TOTALS: Final = ("total_excl_vat", "total_incl_vat")
WITHOUT_EVIDENCE: Final = ("evidence", "signed_data")  # of a record made before these were kept


class Outcome(StrEnum):
    SAME = "same"
    DIFFERS = "differs"
    EVIDENCE_GONE = "evidence_gone"  # samples or statuses are deleted by their age: what is left tells another story


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A column of the record, as it was billed and as it would be now."""

    what: str
    billed: Any
    now: Any


@dataclass(frozen=True, kw_only=True)
class Rebilled:
    """`differences` are empty unless it differs."""

    record: str
    transaction: str
    made_at: datetime
    outcome: Outcome
    differences: Sequence[Difference] = ()


def rebill(database: Database, since: datetime, until: datetime, *, at_once: int = AT_ONCE) -> Iterator[Rebilled]:
    """Every record that was made from `since` to before `until`, credits and corrections too, in the order of their making.
    The database is looked at for `at_once` records at a time, so that no look lasts long."""
    table = ChargeRecord.__table__
    query = select(table).order_by(table.c.created_at, table.c.id).limit(at_once)
    after = table.c.created_at >= since
    while True:
        with database.read() as connection:
            records = connection.execute(query.where(after, table.c.created_at < until)).all()
            found = [rebilled(connection, record) for record in records]
        yield from found
        if len(records) < at_once:
            return
        last = records[-1]
        later = and_(table.c.created_at == last.created_at, table.c.id > last.id)
        after = or_(table.c.created_at > last.created_at, later)


def rebilled(connection: Connection, record: Row[Any]) -> Rebilled:
    """One record, a row of its table, against its session."""
    transaction = _as_billed(connection, record)
    known = known_of(connection, SimpleNamespace(**transaction), rounding=kept(record))
    found = {"record": record.id, "transaction": record.transaction_id, "made_at": record.created_at}
    correction = corrected(record)
    known = known_for(known, correction)
    if is_gone(record, known):
        return Rebilled(outcome=Outcome.EVIDENCE_GONE, **found)
    now = content_again(record, adjusted(transaction, record.snapshot, correction), known)
    differences = tuple(
        Difference(what=name, billed=_plain(getattr(record, name)), now=_plain(value))
        for name, value in now.items()
        if as_bytes(getattr(record, name)) != as_bytes(value)
    )
    return Rebilled(outcome=Outcome.DIFFERS if differences else Outcome.SAME, differences=differences, **found)


def content_again(record: Any, measured: Any, known: Known) -> dict[str, Any]:
    """The columns that follow from the session, with what a person decided of this very record: paid back, credited."""
    now = content(measured, known, priced(measured, known))
    if record.evidence is None:
        now = {name: value for name, value in now.items() if name not in WITHOUT_EVIDENCE}
    for line in record.lines:
        if line["dimension"] == REFUND:
            now["lines"] = [*now["lines"], line]
            now |= {name: now[name] + Decimal(line[name.removeprefix("total_")]) for name in TOTALS}
    if record.credit:
        now |= {name: -now[name] for name in TOTALS}
    return now


def as_bytes(value: Any) -> bytes:
    """By which two contents are compared: JSON, its names in order, money with all its digits."""
    return msgspec.json.encode(_plain(value), order="sorted")


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value)


def _as_billed(connection: Connection, record: Any) -> Mapping[str, Any]:
    """The transaction's columns, with the tariff that the record names."""
    table = Transaction.__table__
    transaction = connection.execute(select(table).where(table.c.id == record.transaction_id)).one()
    told: Mapping[str, Any] = (record.evidence or {}).get("session") or {}
    return {
        **transaction._mapping,
        **{name: told[name] for name in GROW if name in told},
        "tariff_row": record.tariff_row,
    }
