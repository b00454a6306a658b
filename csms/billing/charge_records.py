"""A transaction that ended is billed once, or waits for a person with the reasons, or is written off: never forgotten."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import msgspec
from sqlalchemy import Connection, Row, Table, select

from csms import clock, refunds
from csms.billing.evidence import evidence_of, signed_values
from csms.billing.pricing import NO_TARIFF, Line, Money, Price, Reservation
from csms.billing.proposals import quirk_entry
from csms.billing.sessions import Known, Priced, known_of, priced
from csms.billing.standing import transaction_of
from csms.billing.tariffs import Period
from csms.billing.verdict import CAUSE_VERDICT, FLAG_VERDICT, Verdict, verdict
from csms.database import insert_into
from csms.journal import FactType, Recorded, append, fact_about
from csms.lifecycle import Cause, Flag
from csms.models import ChargeRecord, Review

UNKNOWN_OWNER = "unknown_owner"
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
    told = _as_billed(connection, transaction) if transaction.ended_at is not None else None
    cost = told or priced(transaction, known_of(connection, transaction)).price
    return cost.periods, cost


def _as_billed(connection: Connection, transaction: Any) -> Price | None:
    """The price in its first bill; None where there is none yet, or a person's word made it."""
    table = ChargeRecord.__table__.c
    first = (table.transaction_id == transaction.id, table.credit.is_(False), table.corrects.is_(None))
    record = connection.execute(select(ChargeRecord.__table__).where(*first)).one_or_none()
    if record is None or record.evidence is None or "adjustment" in record.snapshot:
        return None
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
    for fact in facts:
        if fact.type == FactType.TRANSACTION_ENDED:
            transaction = transaction_of(connection, fact.subject)
            if not _is_settled(connection, transaction.id):
                _settle(connection, transaction, at)
                append(connection, refunds.open_evaluation(connection, transaction, at), now=at)


def _settle(connection: Connection, transaction: Row[Any], now: datetime) -> None:
    cause, flags = Cause(transaction.cause), {Flag(flag) for flag in transaction.flags}
    measured = {
        "energy_mwh": transaction.energy_mwh,
        "duration_s": (transaction.ended_at - transaction.started_at).total_seconds(),
    }
    if verdict(cause, flags, **measured) is Verdict.WRITE_OFF:
        _review(connection, transaction.id, [cause.value], "written_off", now)
        return
    known = known_of(connection, transaction)
    found = priced(transaction, known)
    reasons = [*_doubts(cause, flags, measured), *_obstacles(transaction, found.price)]
    if reasons:
        detail = quirk_entry(connection, transaction)
        if _review(connection, transaction.id, reasons, "open", now, detail):
            append(connection, [fact_about(FactType.REVIEW_OPENED, transaction, reasons=reasons)], now=now)
    else:
        _issue(connection, transaction, known, found, now)


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
    return _issue(connection, measured, known, found, now, decided, **made_by)


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


def _is_settled(connection: Connection, transaction_id: str) -> bool:
    billed = select(ChargeRecord.id).where(
        ChargeRecord.transaction_id == transaction_id, ChargeRecord.credit.is_(False)
    )
    reviewed = select(Review.id).where(Review.transaction_id == transaction_id)
    return any(connection.execute(query).first() is not None for query in (billed, reviewed))


def _doubts(cause: Cause, flags: set[Flag], measured: dict[str, Any]) -> list[str]:
    """Why the verdict is to review; empty when it is not."""
    doubts = [cause.value] if CAUSE_VERDICT[cause] is Verdict.REVIEW else []
    doubts += sorted(flag.value for flag in flags if FLAG_VERDICT[flag] is Verdict.REVIEW)
    if verdict(Cause.LOCAL, flags & {Flag.CLOCK_SKEWED}, **measured) is Verdict.REVIEW:
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


def _issue(
    connection: Connection,
    transaction: Any,
    known: Known,
    found: Priced,
    now: datetime,
    decided: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda record: {},
    **made_by: Any,
) -> str:
    record = {
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
        **made_by,
    }
    record |= decided(record)
    if _is_new(connection, ChargeRecord, record):
        issued = fact_about(FactType.CHARGE_RECORD_ISSUED, transaction, record["id"], transaction_id=transaction.id)
        append(connection, [issued], now=now)
    return str(record["id"])


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
    return _is_new(connection, Review, review)


def _is_new(connection: Connection, model: type[ChargeRecord] | type[Review], row: dict[str, Any]) -> bool:
    """Written, unless the database holds one for that transaction already: its unique index decides, whoever writes."""
    table = cast(Table, model.__table__)
    statement = insert_into(connection, table).values(**row).on_conflict_do_nothing().returning(table.c.id)
    return connection.execute(statement).first() is not None
