"""A bill that was wrong is taken back by a credit of all of it, and one that is right may stand in its place.

What was issued is never changed: partners keep it, get the credit after it, and the corrected bill after that. Each is a
person's doing, who says why.
"""

import uuid
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, cast

import msgspec
from sqlalchemy import Connection, Row, Table, select

from csms import refunds, tariff_list
from csms.billing.charge_records import Correction, bill_reviewed, corrected
from csms.billing.evidence import is_gone
from csms.billing.pricing import TO_FOUR_DECIMALS, Rounding
from csms.billing.roundings import kept
from csms.billing.sessions import known_of
from csms.billing.standing import standing_record, transaction_of
from csms.database import insert_into
from csms.journal import FactType, append, fact_about
from csms.models import ChargeRecord, RefundEvaluation, Tariff

REFUND = "REFUND"  # the line of what was paid back, beside those that the tariff made


class UnknownRecord(Exception):
    """No charge record has this id."""


class NotCreditable(Exception):
    """It does not stand: it is a credit, or was credited before; the words say which."""


class InvalidCorrection(Exception):
    """A correction that cannot be: the words say why."""


# ---- taking back ----------------------------------------------------------------------------------------------------


def credit(connection: Connection, record_id: str, person: str, reason: str, now: datetime) -> str:
    """All of the record is taken back (CD-07): its credit has a new id, refers to it, and negates its totals; nothing else
    differs, and the record itself is not touched. Returns the credit's id.

    UnknownRecord, NotCreditable.
    """
    record = _standing(connection, record_id)
    credit_id = _credit(connection, record, person, reason, now)
    refunds.bill_decided(connection, transaction_of(connection, record.transaction_id))
    return credit_id


def correct(
    connection: Connection,
    record_id: str,
    person: str,
    reason: str,
    now: datetime,
    *,
    energy_mwh: int | None = None,
    started_at: datetime | None = None,
    ended_at: datetime | None = None,
    tariff: str | None = None,
) -> tuple[str, str]:
    """The credit, and a new record priced from the corrected measure (CD-08); returns both ids. None leaves what the record
    said, also what an earlier correction made of it. `tariff`: the id of the one, of the session's party, by whose version in
    force it should have been priced. What was paid back of the record before stays so.

    As `credit`; InvalidCorrection: nothing changed, or it cannot have been so. NotBillable as of any bill.
    """
    record = _standing(connection, record_id)
    transaction = transaction_of(connection, record.transaction_id)
    known = Correction(energy_mwh=energy_mwh, started_at=started_at, ended_at=ended_at)
    version = _version(connection, record, tariff)
    otherwise_priced = version is not None and version.id != record.tariff_row
    if problem := impossible(record, known, now, otherwise=otherwise_priced):
        raise InvalidCorrection(problem)
    whole = Correction(**(corrected(record).known() | known.known()))
    evidence = known_of(connection, transaction)
    if is_gone(record, evidence, samples=False):
        raise InvalidCorrection("the statuses that it was made of are deleted by their age: it can be taken back alone")
    if whole.energy_mwh is None and is_gone(record, evidence):
        raise InvalidCorrection("the samples that it was made of are deleted by their age: say what the energy was")
    credit_id = _credit(connection, record, person, reason, now)
    words: dict[str, Any] = {"by": person, "reason": reason, "at": now}
    made = bill_reviewed(
        connection,
        transaction,
        now,
        correction=whole,
        tariff=version if version is not None and version.id != transaction.tariff_row else None,
        corrects=record.id,
        decided=lambda new: _lowered(SimpleNamespace(**new), _paid_back(record)),
        **words,
    )
    refunds.bill_decided(connection, transaction)
    return credit_id, made


def impossible(measured: Row[Any], correction: Correction, now: datetime, *, otherwise: bool = False) -> str | None:
    """Why `correction` of what a transaction or a record says cannot be; None when it can. `otherwise`: something else of it
    changes too."""
    started_at = correction.started_at or measured.started_at
    ended_at = correction.ended_at or measured.ended_at
    if not otherwise and not any(measured._mapping[name] != value for name, value in correction.known().items()):
        return "nothing was changed"
    if correction.energy_mwh is not None and correction.energy_mwh < 0:
        return "energy is not negative"
    if ended_at < started_at:
        return "it cannot end before it starts"
    if ended_at > now:
        return "it cannot end in the future"
    energy_mwh = measured.energy_mwh if correction.energy_mwh is None else correction.energy_mwh
    return "no energy passes in no time" if energy_mwh and ended_at == started_at else None


def _version(connection: Connection, record: Row[Any], tariff_id: str | None) -> Row[Any] | None:
    """The version that a corrected bill is priced by: the one in force of the tariff that is named, else the record's own."""
    if tariff_id is None:
        query = select(Tariff.__table__).where(Tariff.__table__.c.id == record.tariff_row)
        return connection.execute(query).one_or_none()
    return named_version(connection, record, tariff_id)


def named_version(connection: Connection, owned: Any, tariff_id: str) -> Row[Any]:
    """The one in force, of the party that a record or a transaction is of. Raises InvalidCorrection."""
    party = (owned.country_code, owned.party_id)
    found = tariff_list.versions(connection, tariff_id=tariff_id, party=party)
    if not found:
        raise InvalidCorrection(f"there is no tariff {tariff_id} of {party[0]}*{party[1]}")
    return found[0]


# ---- paying back ----------------------------------------------------------------------------------------------------


def pay_back(
    connection: Connection,
    refund_id: int,
    person: str,
    reason: str,
    now: datetime,
    *,
    amount: Decimal | None = None,
) -> tuple[str, str | None]:
    """A refund is granted, and its bill says so: all of it is credited, or with `amount` (VAT included) a record that is
    lower by that much takes its place. Returns the ids of the credit, and of that record.

    As `refunds.grant`; NotCreditable: there is no bill that stands. InvalidCorrection: an amount that is not part of it.
    """
    table = RefundEvaluation.__table__
    transaction_id = connection.execute(select(table.c.transaction_id).where(table.c.id == refund_id)).scalar()
    if transaction_id is None:
        raise refunds.UnknownRefund(refund_id)
    stands = standing_record(connection, transaction_id)
    if stands is None:
        raise NotCreditable("the session has no bill that stands")
    # Before the refund, as in `correct`: neither waits for the other for ever.
    record = _standing(connection, stands.id)
    if amount is not None and not _is_part(amount, record):
        raise InvalidCorrection(f"{amount} is no part of {record.total_incl_vat} {record.currency}")
    refunds.grant(connection, refund_id, person, reason, now)
    credit_id = _credit(connection, record, person, reason, now)
    if amount is None or amount == record.total_incl_vat:
        return credit_id, None
    lower = _lowered(record, amount) | {"corrects": record.id}
    return credit_id, _issue(connection, record, lower, FactType.CHARGE_RECORD_ISSUED, person, reason, now)


def _is_part(amount: Decimal, record: Row[Any]) -> bool:
    """Also in the digits that the currency has."""
    if not amount.is_finite() or not 0 < amount <= record.total_incl_vat:
        return False
    return amount == _rounding(record)(Fraction(amount))


def _rounding(record: Any) -> Rounding:
    return kept(record) or TO_FOUR_DECIMALS


def _paid_back(record: Row[Any]) -> Decimal:
    """VAT included; what was granted, also where the record itself was less."""
    return Decimal(record.snapshot.get("paid_back") or 0)


def _lowered(record: Any, amount: Decimal) -> dict[str, Any]:
    """`amount` less, or all of it where it is less itself, at the rate of VAT that the whole bill has. Measures and costs are
    as the tariff has them; only the total is lower, as under a highest price (CD-22)."""
    if not amount:
        return {}
    granted = {"paid_back": format(amount, "f")}
    amount = min(amount, record.total_incl_vat)
    if not amount:
        return {"snapshot": {**record.snapshot, **granted}}
    share = Fraction(amount) * Fraction(record.total_excl_vat) / Fraction(record.total_incl_vat)
    excl_vat = _rounding(record)(share)
    line = {
        "dimension": REFUND,
        "quantity": "1",
        "measured": "1",
        "unit": "session",
        "price": format(-excl_vat, "f"),
        "vat": None,
        "excl_vat": format(-excl_vat, "f"),
        "incl_vat": format(-amount, "f"),
        "period_start": msgspec.to_builtins(record.started_at),
        "element": None,
        "component": None,
        "periods": [],
    }
    remark = f"{amount.normalize():f} {record.currency} incl. VAT was paid back"
    return {
        "total_excl_vat": record.total_excl_vat - excl_vat,
        "total_incl_vat": record.total_incl_vat - amount,
        "lines": [*record.lines, line],
        "snapshot": {**record.snapshot, **granted, "remark": remark},
    }


# ---- rows -----------------------------------------------------------------------------------------------------------


def _credit(connection: Connection, record: Row[Any], person: str, reason: str, now: datetime) -> str:
    negated = {
        "credit": True,
        "credit_reference_id": record.id,
        "corrects": None,
        "total_excl_vat": -record.total_excl_vat,
        "total_incl_vat": -record.total_incl_vat,
    }
    return _issue(connection, record, negated, FactType.CHARGE_RECORD_CREDITED, person, reason, now)


def _issue(
    connection: Connection,
    record: Row[Any],
    changes: Mapping[str, Any],
    fact: FactType,
    person: str,
    reason: str,
    now: datetime,
) -> str:
    """Another of `record`, with `changes`. The database's unique indexes decide who was first (CD-32)."""
    words = {"decided_by": person, "decision": reason}
    made = {**record._mapping, **changes, **words, "id": str(uuid.uuid4()), "created_at": now}
    table = cast(Table, ChargeRecord.__table__)
    statement = insert_into(connection, table).values(**made).on_conflict_do_nothing().returning(table.c.id)
    if connection.execute(statement).first() is None:
        raise NotCreditable(f"{record.id} was credited before")
    transaction = transaction_of(connection, record.transaction_id)
    told = {"transaction_id": transaction.id, "record": record.id, "by": person, "reason": reason}
    append(connection, [fact_about(fact, transaction, made["id"], **told)], now=now)
    return str(made["id"])


def _standing(connection: Connection, record_id: str) -> Row[Any]:
    """Locked: of two who credit it at the same moment the second finds the first."""
    table = ChargeRecord.__table__
    record = connection.execute(select(table).where(table.c.id == record_id).with_for_update()).one_or_none()
    if record is None:
        raise UnknownRecord(record_id)
    if record.credit:
        raise NotCreditable(f"{record_id} is a credit itself")
    by = connection.execute(select(table.c.decided_by).where(table.c.credit_reference_id == record_id)).scalar()
    if by is not None:
        raise NotCreditable(f"{record_id} was credited before, by {by}")
    return record
