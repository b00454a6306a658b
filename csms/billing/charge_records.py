"""A transaction that ended is billed once, or waits for a person with the reasons, or is written off: never forgotten."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import msgspec
from sqlalchemy import Connection, Row, Table, bindparam, select

from csms import clock, refunds
from csms.billing.evidence import evidence_of, signed_values
from csms.billing.pricing import NO_TARIFF, Line, Money, Price, Reservation
from csms.billing.proposals import quirk_entry
from csms.billing.sessions import Known, Priced, in_parts, known_of, known_of_all, priced
from csms.billing.tariffs import Period
from csms.billing.verdict import CAUSE_VERDICT, FLAG_VERDICT, Verdict, verdict
from csms.database import insert_into
from csms.journal import Fact, FactType, Recorded, append, fact_about
from csms.lifecycle import Cause, Flag
from csms.models import ChargeRecord, Review, Transaction

UNKNOWN_OWNER = "unknown_owner"
TOLD = frozenset(
    {FactType.CHARGE_RECORD_ISSUED, FactType.REVIEW_OPENED, FactType.REFUND_OPENED}
)  # what `bill` makes true
IMPLAUSIBLE = "implausible"  # a length that must have been invented, or energy in no time


class NotBillable(Exception):
    """No person's word makes a bill of it: its arguments say what is missing, a price (no_tariff, unsupported:...) or
    somebody who pays it (unknown_owner)."""


@dataclass(frozen=True, kw_only=True)
class Correction:
    """What a person knows better than the charger; None where the charger was right."""

    energy_mwh: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None

    def known(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


# ---- the price ------------------------------------------------------------------------------------------------------


def session_price(connection: Connection, transaction: Any) -> tuple[tuple[Period, ...], Price]:
    """What `transaction` (a row of its table) costs: so far, or at its end, and from its bill on what this says: samples are
    deleted and roundings change, and what it cost does not."""
    return session_prices(connection, [transaction])[transaction.id]


def session_prices(
    connection: Connection, transactions: Sequence[Any]
) -> Mapping[str, tuple[tuple[Period, ...], Price]]:
    """As `session_price`, of several by their ids."""
    found = _as_billed(connection, [one.id for one in transactions if one.ended_at is not None])
    for part in in_parts([one for one in transactions if one.id not in found]):
        known = known_of_all(connection, part)
        found |= {one.id: priced(one, known[one.id]).price for one in part}
    return {id: (cost.periods, cost) for id, cost in found.items()}


_IDS: Any = bindparam("ids", expanding=True)
_T = ChargeRecord.__table__.c
_FIRST = select(ChargeRecord.__table__).where(_T.transaction_id.in_(_IDS), _T.credit.is_(False), _T.corrects.is_(None))


def _as_billed(connection: Connection, ids: Sequence[str]) -> dict[str, Price]:
    """The prices in the first bills of these transactions; none where there is no bill yet, or a person's word made it."""
    records = connection.execute(_FIRST, {"ids": ids}) if ids else ()
    return {
        record.transaction_id: _price_of(record)
        for record in records
        if record.evidence is not None and "adjustment" not in record.snapshot
    }


def _price_of(record: Any) -> Price:
    costs = {f"{name}_cost": msgspec.convert(money, Money) for name, money in record.costs.items()}
    nothing: Money = (Decimal(), Decimal())
    kept = record.evidence.get("reservation")
    return Price(
        currency=record.currency,
        periods=msgspec.convert(record.periods, tuple[Period, ...]),
        lines=msgspec.convert(record.lines, tuple[Line, ...]),
        total_excl_vat=record.total_excl_vat,
        total_incl_vat=record.total_incl_vat,
        **{"reservation_cost": nothing, **costs},
        energy_mwh=record.energy_mwh,
        seconds=record.duration_s,
        parking_seconds=record.parking_s,
        unsupported=(),
        reservation=msgspec.convert(kept, Reservation) if kept else None,
    )


# ---- the bill -------------------------------------------------------------------------------------------------------


def bill(connection: Connection, facts: Sequence[Recorded], *, now: datetime | None = None) -> None:
    """The journal's reader "billing": every ended transaction gets its one charge record, or its one review (E11, CD-32);
    one that ended in a failure, also its evaluation for a refund (E05).

    A repeated fact changes nothing. Raises for a transaction that cannot be billed or judged: the journal buries that fact
    alone, and the watch over unbilled transactions says so.
    """
    at = now or datetime.now(UTC)
    ended = list(dict.fromkeys(fact.subject for fact in facts if fact.type == FactType.TRANSACTION_ENDED))
    for part in in_parts(_unsettled(connection, ended)):
        append(connection, _settle(connection, part, at), now=at)


def _unsettled(connection: Connection, ids: Sequence[str]) -> Sequence[Row[Any]]:
    """In the order of `ids`. Raises KeyError for one that there is not."""
    if not ids:
        return []
    named = {"ids": ids}
    settled = {*connection.execute(_BILLED, named).scalars(), *connection.execute(_REVIEWED, named).scalars()}
    rows = {row.id: row for row in connection.execute(_ENDED, named)}
    return [rows[id] for id in ids if id not in settled]


_BILLED = select(_T.transaction_id).where(_T.transaction_id.in_(_IDS), _T.credit.is_(False))
_REVIEWED = select(Review.transaction_id).where(Review.transaction_id.in_(_IDS))
_ENDED = select(Transaction.__table__).where(Transaction.id.in_(_IDS))


def _settle(connection: Connection, transactions: Sequence[Row[Any]], now: datetime) -> Sequence[Fact]:
    """The facts that follow, in the order of the transactions."""
    facts: dict[str, list[Fact]] = {one.id: [] for one in transactions}
    to_price = []
    for one in transactions:
        if _verdict(one) is Verdict.WRITE_OFF:
            _review(connection, one.id, [Cause(one.cause).value], "written_off", now)
        else:
            to_price.append(one)
    known = known_of_all(connection, to_price) if to_price else {}
    records = []
    for one in to_price:
        found = priced(one, known[one.id])
        reasons = [*_doubts(one), *_obstacles(one, found.price)]
        if not reasons:
            records.append(_record(one, known[one.id], found, now))
        elif _review(connection, one.id, reasons, "open", now, quirk_entry(connection, one)):
            facts[one.id].append(fact_about(FactType.REVIEW_OPENED, one, reasons=reasons))
    new = _new_records(connection, records)
    for one in transactions:
        if one.id in new:
            facts[one.id].append(_issued(one, new[one.id]))
        facts[one.id] += refunds.open_evaluation(connection, one, now)
    return [fact for told in facts.values() for fact in told]


def bill_reviewed(
    connection: Connection,
    transaction: Row[Any],
    now: datetime,
    *,
    correction: Correction | None = None,
    tariff: Any = None,
    corrects: str | None = None,
    decided: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda record: {},
    **words: Any,
) -> str:
    """The bill of a transaction that a person looked at: as it stands, or with `correction`, which the record's snapshot
    tells beside what the charger said (`words`: who, and why). `tariff`: the row of the version it should have begun with,
    where that is another. `corrects`: the record, credited, in whose place it stands; `decided`: what else of the new record
    is by a person's word. Returns the record's id. Raises NotBillable.

    Energy that a person set is spread evenly over the session: the meter's word is what was not believed.
    """
    said = transaction._asdict()
    if tariff is not None:
        said |= {"tariff_row": tariff.id, "snapshot": {**transaction.snapshot, "tariff": _named(tariff)}}
    measured: Any = SimpleNamespace(**said)
    known = known_for(known_of(connection, measured), correction)
    if correction is not None:
        told = {**words, **adjustment(transaction, correction, tariff)}
        measured = adjusted(said, {**said["snapshot"], "adjustment": told}, correction)
    found = priced(measured, known)
    if obstacles := _obstacles(transaction, found.price):
        raise NotBillable(*obstacles)
    made_by = {"corrects": corrects, "decided_by": words.get("by"), "decision": words.get("reason")}
    record = _record(measured, known, found, now) | made_by
    record |= decided(record)
    if _new_records(connection, [record]):
        append(connection, [_issued(measured, record["id"])], now=now)
    return str(record["id"])


def adjustment(transaction: Row[Any], correction: Correction, tariff: Any = None) -> dict[str, dict[str, Any]]:
    """What a person knows better (`after`), and what was said before, each by its name."""
    after = correction.known()
    before = {name: transaction._mapping[name] for name in after}
    if tariff is None:
        return {"before": before, "after": after}
    old = transaction.snapshot.get("tariff")
    return {"before": {**before, "tariff": old}, "after": {**after, "tariff": _named(tariff)}}


def _named(tariff: Any) -> dict[str, Any]:
    return {"tariff_id": tariff.tariff_id, "version": tariff.version}


def corrected(record: Any) -> Correction:
    """What a person had corrected when `record` was made."""
    known = (record.snapshot.get("adjustment") or {}).get("after") or {}
    return Correction(
        energy_mwh=known.get("energy_mwh"),
        started_at=clock.read(known.get("started_at")),
        ended_at=clock.read(known.get("ended_at")),
    )


def adjusted(transaction: Mapping[str, Any], snapshot: dict[str, Any], correction: Correction) -> Any:
    """The transaction as a person corrected it; its own row keeps what its charger said."""
    return SimpleNamespace(**{**transaction, **correction.known(), "snapshot": snapshot})


def known_for(known: Known, correction: Correction | None) -> Known:
    """Without the samples, where a person's word on the energy stands against them."""
    return known if correction is None or correction.energy_mwh is None else replace(known, frames=())


def _measured(transaction: Any) -> dict[str, Any]:
    duration_s = (transaction.ended_at - transaction.started_at).total_seconds()
    return {"energy_mwh": transaction.energy_mwh, "duration_s": duration_s}


def _verdict(transaction: Any) -> Verdict:
    flags = {Flag(flag) for flag in transaction.flags}
    return verdict(Cause(transaction.cause), flags, **_measured(transaction))


def _doubts(transaction: Any) -> list[str]:
    """Why the verdict is to review; empty when it is not."""
    cause, flags = Cause(transaction.cause), {Flag(flag) for flag in transaction.flags}
    doubts = [cause.value] if CAUSE_VERDICT[cause] is Verdict.REVIEW else []
    doubts += sorted(flag.value for flag in flags if FLAG_VERDICT[flag] is Verdict.REVIEW)
    if verdict(Cause.LOCAL, flags & {Flag.CLOCK_SKEWED}, **_measured(transaction)) is Verdict.REVIEW:
        doubts.append(IMPLAUSIBLE)
    return doubts


def _obstacles(transaction: Row[Any], cost: Price) -> list[str]:
    """What no person can decide away."""
    unpriced = [name if name == NO_TARIFF else f"unsupported:{name}" for name in cost.unsupported]
    return unpriced if transaction.owner_id is not None else [*unpriced, UNKNOWN_OWNER]


def content(transaction: Any, known: Known, found: Priced) -> dict[str, Any]:
    """All of a record that follows from its session: the columns, as they are written and as they are read again."""
    cost = found.price
    costs = {"fixed": cost.fixed_cost, "energy": cost.energy_cost, "time": cost.time_cost, "parking": cost.parking_cost}
    if cost.reservation is not None:
        costs["reservation"] = cost.reservation_cost
    return {
        "currency": cost.currency,
        "started_at": transaction.started_at,
        "ended_at": transaction.ended_at,
        "energy_mwh": cost.energy_mwh,
        "duration_s": cost.seconds,
        "parking_s": cost.parking_seconds,
        "total_excl_vat": cost.total_excl_vat,
        "total_incl_vat": cost.total_incl_vat,
        "lines": msgspec.to_builtins(cost.lines),
        "periods": msgspec.to_builtins(cost.periods),
        "costs": msgspec.to_builtins(costs),
        "evidence": evidence_of(transaction, known, found),
        "signed_data": signed_values(known.frames),
    }


def _record(transaction: Any, known: Known, found: Priced, now: datetime) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "country_code": transaction.country_code,
        "party_id": transaction.party_id,
        "transaction_id": transaction.id,
        "owner_id": transaction.owner_id,
        "credit": False,
        "tariff_row": transaction.tariff_row,
        **content(transaction, known, found),
        "snapshot": transaction.snapshot,
        "created_at": now,
    }


def _new_records(connection: Connection, records: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Their ids by their transactions, of those that were written: of a transaction that has one already there is no other,
    whoever wrote it (the unique index decides)."""
    if not records:
        return {}
    table = cast(Table, ChargeRecord.__table__)
    statement = insert_into(connection, table).on_conflict_do_nothing().returning(table.c.id)
    written = set(connection.execute(statement, records).scalars())
    return {record["transaction_id"]: record["id"] for record in records if record["id"] in written}


def _issued(transaction: Any, record_id: str) -> Fact:
    return fact_about(FactType.CHARGE_RECORD_ISSUED, transaction, record_id, transaction_id=transaction.id)


def _review(
    connection: Connection,
    transaction_id: str,
    reasons: list[str],
    state: str,
    now: datetime,
    detail: dict[str, Any] | None = None,
) -> bool:
    """Also what is written off leaves its row: the watch counts it as settled."""
    review = {
        "transaction_id": transaction_id,
        "reasons": reasons,
        "detail": detail,
        "state": state,
        "opened_at": now,
        "closed_at": now if state == "written_off" else None,
    }
    table = cast(Table, Review.__table__)
    statement = insert_into(connection, table).values(**review).on_conflict_do_nothing().returning(table.c.id)
    return connection.execute(statement).first() is not None
