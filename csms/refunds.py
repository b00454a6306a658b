"""A charge that ended in a failure is looked at by a person, who decides whether its driver gets money back (E05).

Nothing is paid back by itself, and the bill is issued all the same: an evaluation says what was delivered until then, what
it cost, and what we would suggest.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, select, update

from csms.billing.standing import standing_record
from csms.database import insert_into
from csms.events import MeterSample
from csms.journal import Fact, FactType, append, fact_about
from csms.lifecycle import PARKED, Cause
from csms.metering import END, power_readings, register_readings
from csms.models import MeterSampleRow, RefundEvaluation, Transaction
from csms.sample_span import span_of
from csms.samples import SAMPLES

HARDLY_ANY_MWH = 100_000  # 0.1 kWh
HARDLY_ANY_S = 120
IDLE_W = 100  # a car that asks for no more than this has stopped charging
STILL_MWH = 10_000  # registers of whole Wh stand still within this
STILL_S = 60


class Nature(StrEnum):
    NORMAL = "normal"  # somebody who may decided that it ends
    FAILURE = "failure"  # the driver wanted more and did not get it
    OPERATIONS = "operations"  # the operator's own doing, or a matter for its technicians; no driver's claim by itself


NATURE: dict[Cause, Nature] = {
    Cause.LOCAL: Nature.NORMAL,
    Cause.REMOTE: Nature.NORMAL,
    Cause.DEAUTHORIZED: Nature.NORMAL,  # the card's owner took it back
    Cause.REFUSED: Nature.NORMAL,  # nothing was sold
    Cause.NOBODY_CAME: Nature.NORMAL,
    Cause.EV_DISCONNECTED: Nature.FAILURE,  # also what a driver does who unplugs first: the suggestion looks closer
    Cause.POWER_LOSS: Nature.FAILURE,
    Cause.EMERGENCY_STOP: Nature.FAILURE,  # whoever pressed it, the charge was cut off on our site
    Cause.REBOOT: Nature.FAILURE,  # the charger fell over by itself (its watchdog): the specification's "locally initiated"
    Cause.HARD_RESET: Nature.OPERATIONS,  # we asked for it
    Cause.SOFT_RESET: Nature.OPERATIONS,
    Cause.UNLOCK_COMMAND: Nature.OPERATIONS,
    Cause.OTHER: Nature.OPERATIONS,  # nobody knows: a technician's question
    Cause.NEVER_STOPPED: Nature.OPERATIONS,  # has a review of its own
}


class Suggestion(StrEnum):
    FULL = "full"  # hardly anything was delivered
    PARTIAL = "partial"  # the energy was had; what was paid beside it, for a start or for time, was not had in full
    NONE = "none"  # nothing but the delivered energy was charged, or nothing at all
    NONE_CAR_WAS_DONE = "none_car_was_done"  # the car had stopped drawing power: its driver unplugged and left


class RefundState(StrEnum):
    OPEN = "open"
    GRANTED = "granted"
    DECLINED = "declined"


class UnknownRefund(Exception):
    """No refund evaluation has this id."""


class RefundDecided(Exception):
    """Somebody decided it before; the words say who, and how."""


def suggest(
    cause: Cause, *, energy_mwh: int, duration_s: float, car_was_done: bool, charged_beside_energy: bool, free: bool
) -> Suggestion:
    """`free`: it is known that nothing was charged."""
    if free:
        return Suggestion.NONE
    if energy_mwh >= HARDLY_ANY_MWH and car_was_done and cause is Cause.EV_DISCONNECTED:
        return Suggestion.NONE_CAR_WAS_DONE
    if energy_mwh < HARDLY_ANY_MWH or duration_s < HARDLY_ANY_S:
        return Suggestion.FULL
    return Suggestion.PARTIAL if charged_beside_energy else Suggestion.NONE


def car_was_done(samples: Sequence[MeterSample], findings: Sequence[str]) -> bool:
    """Whether the car drew no power any more when it was unplugged: by its last power, else by a register that stood still
    in the last minute or longer, else because the charger once said that the car paused."""
    powers = [reading for reading in power_readings(samples) if reading.context != END]
    if powers:
        return powers[-1].power_w < IDLE_W
    readings = register_readings(samples)
    for before in reversed(readings[:-1]):
        last = readings[-1]
        if last.at is None or before.at is None or (last.at - before.at).total_seconds() < STILL_S:
            continue
        return last.energy_mwh - before.energy_mwh < STILL_MWH
    return PARKED in findings


# ---- the evaluation -------------------------------------------------------------------------------------------------


def open_evaluation(connection: Connection, transaction: Row[Any], now: datetime) -> Sequence[Fact]:
    """What billing does with each ended transaction: an evaluation for a failure, once, and nothing for the others.

    A repeat changes nothing.
    """
    cause = Cause(transaction.cause)
    if NATURE[cause] is not Nature.FAILURE:
        return []
    duration_s = (transaction.ended_at - transaction.started_at).total_seconds()
    done = car_was_done(_samples(connection, transaction), transaction.findings)
    evaluation = {
        "transaction_id": transaction.id,
        "cause": cause.value,
        "energy_mwh": transaction.energy_mwh,
        "duration_s": int(duration_s),
        **_judged(standing_record(connection, transaction.id), cause, transaction.energy_mwh, duration_s, done),
        "state": RefundState.OPEN.value,
        "opened_at": now,
    }
    statement = insert_into(connection, RefundEvaluation).values(**evaluation).on_conflict_do_nothing()
    if connection.execute(statement.returning(RefundEvaluation.id)).first() is None:
        return []
    told = {"cause": cause.value, "suggestion": evaluation["suggestion"]}
    return [fact_about(FactType.REFUND_OPENED, transaction, **told)]


def bill_decided(connection: Connection, transaction: Row[Any]) -> None:
    """Its bill came after a review, will not come, or was corrected or taken back: what is still open says what is charged,
    and suggests anew."""
    table = RefundEvaluation.__table__
    query = select(table).where(table.c.transaction_id == transaction.id, table.c.state == RefundState.OPEN.value)
    row = connection.execute(query.with_for_update()).one_or_none()
    if row is None:
        return
    bill = standing_record(connection, transaction.id)
    energy_mwh, duration_s = (bill.energy_mwh, bill.duration_s) if bill else (row.energy_mwh, row.duration_s)
    changes: dict[str, Any] = {
        "suggestion": Suggestion.NONE.value,
        "total_incl_vat": None,
        "currency": None,
    }  # nobody pays
    if bill is not None:
        done = car_was_done(_samples(connection, transaction), transaction.findings)
        changes = _judged(bill, Cause(row.cause), energy_mwh, duration_s, done)
    values = {"energy_mwh": energy_mwh, "duration_s": duration_s, **changes}
    _change(connection, row.id, **values)


def _judged(bill: Row[Any] | None, cause: Cause, energy_mwh: int, duration_s: float, done: bool) -> dict[str, Any]:
    beside = bill is None or any(Decimal(costs[0]) for part, costs in bill.costs.items() if part != "energy")
    suggestion = suggest(
        cause,
        energy_mwh=energy_mwh,
        duration_s=duration_s,
        car_was_done=done,
        charged_beside_energy=beside,
        free=bill is not None and bill.total_incl_vat == 0,
    )
    return {
        "suggestion": suggestion.value,
        "total_incl_vat": bill.total_incl_vat if bill else None,
        "currency": bill.currency if bill else None,
    }


def _samples(connection: Connection, transaction: Any) -> list[MeterSample]:
    """In the order in which they came; what came after the end says nothing of how it ended."""
    row = MeterSampleRow
    query = select(row.samples).where(
        row.transaction_id == transaction.id, row.late.is_(False), span_of(transaction).holds()
    )
    frames = connection.execute(query.order_by(row.received_at, row.event_id)).scalars()
    return [sample for frame in frames for sample in SAMPLES.decode(frame)]


# ---- what a person does ---------------------------------------------------------------------------------------------


def take(connection: Connection, refund_id: int, person: str, now: datetime) -> None:
    """`person` looks after it from now on, whoever did before. UnknownRefund, RefundDecided."""
    row = _open(connection, refund_id)
    _change(connection, refund_id, owner=person)
    _tell(connection, FactType.REFUND_TAKEN, row, now, by=person)


def grant(connection: Connection, refund_id: int, person: str, reason: str, now: datetime) -> None:
    """Decided in favour of the driver. The bill stays as it is; `csms.credits.pay_back` also takes it back, or lowers it."""
    _decide(connection, refund_id, RefundState.GRANTED, person, reason, now)


def decline(connection: Connection, refund_id: int, person: str, reason: str, now: datetime) -> None:
    _decide(connection, refund_id, RefundState.DECLINED, person, reason, now)


def _decide(
    connection: Connection, refund_id: int, state: RefundState, person: str, reason: str, now: datetime
) -> None:
    row = _open(connection, refund_id)
    decided = {"state": state.value, "closed_at": now, "decided_by": person, "decision": reason}
    _change(connection, refund_id, **decided, owner=row.owner or person)
    _tell(connection, FactType.REFUND_DECIDED, row, now, state=state.value, by=person, reason=reason)


def _open(connection: Connection, refund_id: int) -> Row[Any]:
    """Locked: of two decisions at the same moment the second finds the first (on SQLite there is one writer anyhow)."""
    table = RefundEvaluation.__table__
    row = connection.execute(select(table).where(table.c.id == refund_id).with_for_update()).one_or_none()
    if row is None:
        raise UnknownRefund(refund_id)
    if row.state != RefundState.OPEN:
        raise RefundDecided(f"{row.state} by {row.decided_by}")
    return row


def _tell(connection: Connection, type_: FactType, row: Row[Any], now: datetime, **data: Any) -> None:
    table = Transaction.__table__
    transaction = connection.execute(select(table).where(table.c.id == row.transaction_id)).one()
    append(connection, [fact_about(type_, transaction, refund=row.id, **data)], now=now)


def _change(connection: Connection, refund_id: int, **values: Any) -> None:
    connection.execute(update(RefundEvaluation).where(RefundEvaluation.id == refund_id).values(**values))
