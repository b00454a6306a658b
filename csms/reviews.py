"""What waits for a person: held bills and refunds, each with its owner, its state and its age, decided once (E12).

A bill that is held is released as it stands, adjusted, or written off; whoever decides says why, and the transaction keeps
what its charger said. Of two decisions at the same moment the second is refused.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, case, func, literal, or_, select, union_all, update

from csms import refunds
from csms.billing.charge_records import Correction, NotBillable, adjustment, bill_reviewed
from csms.billing.standing import credited, transaction_of
from csms.credits import InvalidCorrection, impossible, named_version
from csms.journal import FactType, append, fact_about
from csms.lifecycle import State
from csms.models import ChargeRecord, RefundEvaluation, Review, Transaction

__all__ = ["NotBillable"]

OPEN, RELEASED, ADJUSTED, WRITTEN_OFF = "open", "released", "adjusted", "written_off"
BILL, REFUND = "bill", "refund"
AGES = {"under 1 h": 3600, "under 1 day": 86_400, "under 7 days": 7 * 86_400}
OLDER = "older"


class UnknownReview(Exception):
    """No review has this id."""


class AlreadyDecided(Exception):
    """Somebody decided it before; the words say who, and how."""


class InvalidAdjustment(Exception):
    """A correction that cannot be: the words say why."""


# ---- the queue ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Item:
    """`kind`: bill (an `id` of reviews) or refund (one of refund_evaluations). `reasons`: why the bill is held; of a
    refund, the cause of the end and what is suggested. `detail` is what else helps to judge."""

    kind: str
    id: int
    transaction_id: str
    station_id: str
    number: int
    reasons: Sequence[str]
    detail: Mapping[str, Any]
    state: str
    owner: str | None
    opened_at: datetime
    closed_at: datetime | None
    decided_by: str | None
    decision: str | None
    energy_mwh: int
    started_at: datetime
    ended_at: datetime | None

    @property
    def key(self) -> str:
        """Where the next page of the queue begins."""
        return f"{self.kind}:{self.id}"

    def age(self, now: datetime) -> timedelta:
        """How long it has waited, or did wait."""
        return (self.closed_at or now) - self.opened_at


def queue(
    connection: Connection,
    *,
    state: str | None = OPEN,
    owner: str | None = None,
    kind: str | None = None,
    limit: int = 100,
    after: str | None = None,
) -> Sequence[Item]:
    """Oldest first, at most `limit` after the item whose key is `after`. `state` None: also what is decided; the states of
    refunds are those of `csms.refunds`. UnknownReview: `after` names nothing."""
    found = union_all(_keys(Review, BILL, state, owner), _keys(RefundEvaluation, REFUND, state, owner)).subquery()
    keys = found.c
    query = select(keys.kind, keys.id).order_by(keys.opened_at, keys.kind, keys.id).limit(limit)
    if kind is not None:
        query = query.where(keys.kind == kind)
    if after is not None:
        last_kind, last_id, opened_at = _place(connection, after)
        same = and_(keys.opened_at == opened_at, keys.kind == last_kind, keys.id > last_id)
        query = query.where(
            or_(keys.opened_at > opened_at, and_(keys.opened_at == opened_at, keys.kind > last_kind), same)
        )
    order = [(row.kind, row.id) for row in connection.execute(query)]
    items = {item.key: item for item in (*_bills(connection, order), *_refunds(connection, order))}
    return [items[f"{kind_}:{id_}"] for kind_, id_ in order]


def _keys(model: type[Review] | type[RefundEvaluation], kind: str, state: str | None, owner: str | None) -> Any:
    query = select(literal(kind).label("kind"), model.id, model.opened_at)
    if state is not None:
        query = query.where(model.state == state)
    return query if owner is None else query.where(model.owner == owner)


def _place(connection: Connection, key: str) -> tuple[str, int, datetime]:
    kind, _, id_ = key.partition(":")
    if kind not in (BILL, REFUND) or not id_.isdecimal():
        raise UnknownReview(key)
    model: type[Review] | type[RefundEvaluation] = Review if kind == BILL else RefundEvaluation
    opened_at = connection.execute(select(model.opened_at).where(model.id == int(id_))).scalar()
    if opened_at is None:
        raise UnknownReview(key)
    return kind, int(id_), opened_at


def _bills(connection: Connection, order: Sequence[tuple[str, int]]) -> list[Item]:
    return [
        _item(row, BILL, reasons=row.reasons, detail={**(row.detail or {}), **_named("adjustment", row.adjustment)})
        for row in _rows(connection, Review, [id_ for kind, id_ in order if kind == BILL])
    ]


def _refunds(connection: Connection, order: Sequence[tuple[str, int]]) -> list[Item]:
    return [
        _item(
            row,
            REFUND,
            reasons=[row.item_cause, row.suggestion],
            detail={
                "suggestion": row.suggestion,
                "energy_mwh": row.item_energy_mwh,
                "duration_s": row.duration_s,
                "total_incl_vat": None if row.total_incl_vat is None else format(row.total_incl_vat, "f"),
                "currency": row.currency,
            },
        )
        for row in _rows(connection, RefundEvaluation, [id_ for kind, id_ in order if kind == REFUND])
    ]


_ABOUT = ("station_id", "number", "started_at", "ended_at", "energy_mwh")


def _rows(connection: Connection, model: type[Review] | type[RefundEvaluation], ids: Sequence[int]) -> Any:
    """With what the transaction itself says; of names that both have, the item's own is `item_...`."""
    mine, theirs = model.__table__.c, Transaction.__table__.c
    shared = {"state", "cause", "energy_mwh"}
    columns = [column.label(f"item_{column.name}") if column.name in shared else column for column in mine]
    query = select(*columns, *(theirs[name] for name in _ABOUT)).join(
        Transaction.__table__, theirs.id == mine.transaction_id
    )
    return connection.execute(query.where(mine.id.in_(ids))) if ids else ()


def _item(row: Row[Any], kind: str, *, reasons: Sequence[str], detail: Mapping[str, Any]) -> Item:
    return Item(
        kind=kind,
        id=row.id,
        transaction_id=row.transaction_id,
        reasons=reasons,
        detail=detail,
        state=row.item_state,
        owner=row.owner,
        opened_at=row.opened_at,
        closed_at=row.closed_at,
        decided_by=row.decided_by,
        decision=row.decision,
        **{name: getattr(row, name) for name in _ABOUT},
    )


def _named(name: str, value: Any) -> dict[str, Any]:
    return {} if value is None else {name: value}


# ---- what a person does with a held bill ----------------------------------------------------------------------------


def take(connection: Connection, review_id: int, person: str, now: datetime) -> None:
    """`person` looks after it from now on, whoever did before. UnknownReview, AlreadyDecided."""
    row = _open(connection, review_id)
    _change(connection, review_id, owner=person)
    _tell(connection, FactType.REVIEW_TAKEN, row, now, by=person)


def release(connection: Connection, review_id: int, person: str, reason: str, now: datetime) -> str:
    """The transaction is billed as it stands; returns the record's id. Partners hear of it as of any bill.

    UnknownReview, AlreadyDecided; NotBillable when it has no price or nobody to pay it, whatever a person says.
    """
    row = _open(connection, review_id)
    transaction = transaction_of(connection, row.transaction_id)
    record_id = bill_reviewed(connection, transaction, now)
    _decide(connection, row, RELEASED, person, reason, now)
    return record_id


def adjust(
    connection: Connection,
    review_id: int,
    person: str,
    reason: str,
    now: datetime,
    *,
    energy_mwh: int | None = None,
    started_at: datetime | None = None,
    ended_at: datetime | None = None,
    tariff: str | None = None,
) -> str:
    """As `release`, with what `person` knows otherwise; None leaves what the charger said. `tariff`: the id of the one, of the
    session's party, by whose version in force it is priced: so also what began with none is billed. The record's snapshot
    and the review keep both, the transaction is not touched. InvalidAdjustment: nothing changed, or it cannot have been so."""
    row = _open(connection, review_id)
    transaction = transaction_of(connection, row.transaction_id)
    correction = Correction(energy_mwh=energy_mwh, started_at=started_at, ended_at=ended_at)
    try:
        version = None if tariff is None else named_version(connection, transaction, tariff)
    except InvalidCorrection as error:
        raise InvalidAdjustment(str(error)) from None
    otherwise = version is not None and version.id != transaction.tariff_row
    if problem := impossible(transaction, correction, now, otherwise=otherwise):
        raise InvalidAdjustment(problem)
    words: dict[str, Any] = {"by": person, "reason": reason, "at": now}
    priced_by = version if otherwise else None
    record_id = bill_reviewed(connection, transaction, now, correction=correction, tariff=priced_by, **words)
    evidence = adjustment(transaction, correction, priced_by)
    _decide(connection, row, ADJUSTED, person, reason, now, adjustment=evidence)
    return record_id


def write_off(connection: Connection, review_id: int, person: str, reason: str, now: datetime) -> None:
    """No bill, for good. UnknownReview, AlreadyDecided."""
    row = _open(connection, review_id)
    _decide(connection, row, WRITTEN_OFF, person, reason, now)


def _open(connection: Connection, review_id: int) -> Row[Any]:
    """Locked: of two decisions at the same moment the second finds the first (on SQLite there is one writer anyhow)."""
    table = Review.__table__
    row = connection.execute(select(table).where(table.c.id == review_id).with_for_update()).one_or_none()
    if row is None:
        raise UnknownReview(review_id)
    if row.state != OPEN:
        raise AlreadyDecided(f"{row.state} by {row.decided_by or 'a rule'}")
    return row


def _decide(
    connection: Connection, row: Row[Any], state: str, person: str, reason: str, now: datetime, **more: Any
) -> None:
    decided = {"state": state, "closed_at": now, "decided_by": person, "decision": reason}
    _change(connection, row.id, **decided, owner=row.owner or person, **more)
    refunds.bill_decided(connection, transaction_of(connection, row.transaction_id))
    _tell(connection, FactType.REVIEW_DECIDED, row, now, state=state, by=person, reason=reason)


def _change(connection: Connection, review_id: int, **values: Any) -> None:
    connection.execute(update(Review).where(Review.id == review_id).values(**values))


def _tell(connection: Connection, type_: FactType, row: Row[Any], now: datetime, **data: Any) -> None:
    transaction = transaction_of(connection, row.transaction_id)
    append(connection, [fact_about(type_, transaction, review=row.id, **data)], now=now)


# ---- what is left unexplained ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Balance:
    """Of the sessions whose end we received on a day (UTC): `exempt` took no energy and are nobody's bill by rule,
    `written_off` are so by a person's word. Of what was billed, `corrected` are those where a person's bill stands in the
    place of the first, `credited` those where none stands any more. `unexplained` must be 0. `held` counts those in review by
    reason; one may have several."""

    closed: int
    billed: int
    corrected: int
    credited: int
    in_review: int
    written_off: int
    exempt: int
    unexplained: int
    held: Mapping[str, int]


def daily_balance(connection: Connection, day: date) -> Balance:
    """E11: closed against billed. Today's last minutes may still be on their way to a bill."""
    begin = datetime.combine(day, time(), UTC)
    ended = (
        Transaction.state == State.ENDED.value,
        Transaction.ended_received_at >= begin,
        Transaction.ended_received_at < begin + timedelta(days=1),
    )
    bills = select(ChargeRecord.id).where(ChargeRecord.transaction_id == Transaction.id, ~ChargeRecord.credit)
    stands, corrects = ~credited(), ChargeRecord.corrects.is_not(None)
    off = Review.state == WRITTEN_OFF
    kind = case(
        (bills.where(stands, corrects).exists(), "corrected"),
        (bills.where(stands).exists(), "billed"),
        (bills.exists(), "credited"),
        (Review.state == OPEN, "in_review"),
        (and_(off, Review.decided_by.is_(None)), "exempt"),
        (off, "written_off"),
        else_="unexplained",
    )
    query = (
        select(kind, func.count())
        .select_from(Transaction)
        .outerjoin(Review, Review.transaction_id == Transaction.id)
        .where(*ended)
        .group_by(kind)
    )
    counts = {name: int(number) for name, number in connection.execute(query)}
    return Balance(
        closed=sum(counts.values()), **{name: counts.get(name, 0) for name in KINDS}, held=_held(connection, ended)
    )


KINDS = ("billed", "corrected", "credited", "in_review", "written_off", "exempt", "unexplained")


def _held(connection: Connection, ended: Sequence[ColumnElement[bool]]) -> Mapping[str, int]:
    query = select(Review.reasons).join(Transaction, Transaction.id == Review.transaction_id)
    open_ = connection.execute(query.where(*ended, Review.state == OPEN)).scalars()
    return dict(sorted(Counter(reason for reasons in open_ for reason in reasons).items()))


def open_by_age(connection: Connection, now: datetime) -> Mapping[str, float]:
    """How many held bills and refunds are open, as "bill under 1 h" and so on: what a graph shows."""
    counts = {f"{kind} {age}": 0 for kind in (BILL, REFUND) for age in (*AGES, OLDER)}
    for kind, model in ((BILL, Review), (REFUND, RefundEvaluation)):
        ages = [(model.opened_at > now - timedelta(seconds=limit_s), name) for name, limit_s in AGES.items()]
        age = case(*ages, else_=OLDER)
        for name, number in connection.execute(select(age, func.count()).where(model.state == OPEN).group_by(age)):
            counts[f"{kind} {name}"] = int(number)
    return counts
