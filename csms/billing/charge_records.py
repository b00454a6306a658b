"""A transaction that ended is billed once, or waits for a person with the reasons, or is written off: never forgotten."""

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
from sqlalchemy import Connection, Row, Table, select

from csms.billing.periods import Frame, in_order, periods, points_from
from csms.billing.tariffs import Period, Price, Tariff, price
from csms.billing.verdict import CAUSE_VERDICT, FLAG_VERDICT, Verdict, verdict
from csms.database import insert_into
from csms.journal import Fact, FactType, Recorded, append
from csms.lifecycle import PARKED, Cause, Flag
from csms.models import ChargeRecord, MeterSampleRow, Review, Transaction
from csms.models import Tariff as TariffVersion
from csms.samples import SAMPLES

NO_TARIFF = "no_tariff"
UNKNOWN_OWNER = "unknown_owner"
IMPLAUSIBLE = "implausible"  # a length that must have been invented, or energy in no time


# ---- the price ------------------------------------------------------------------------------------------------------


def session_price(connection: Connection, transaction: Row[Any]) -> tuple[tuple[Period, ...], Price]:
    """What `transaction` (a row of its table) costs: at its end, or so far. The tariff is the one it began with.

    A running one is priced up to its last register reading. Its last period still grows; the others are final as long as
    readings come in order. Samples that came after the end are evidence and change no price (E04).
    """
    stretches = _periods(connection, transaction)
    site = transaction.snapshot.get("location") or {}
    tariff = _tariff(connection, transaction)
    cost = price(tariff, stretches, site.get("time_zone") or "UTC")
    if PARKED in transaction.findings and tariff is not None and _prices_time(tariff):
        return stretches, replace(cost, unsupported=(*cost.unsupported, "PARKING_TIME"))
    return stretches, cost


def _prices_time(tariff: Tariff) -> bool:
    """Whether it matters how long the car charged and how long it only stood there, which is not told apart yet."""
    return any(
        part.type in ("TIME", "PARKING_TIME") for element in tariff.elements for part in element.price_components
    )


def _periods(connection: Connection, transaction: Row[Any]) -> tuple[Period, ...]:
    started_at = transaction.started_at
    readings = in_order(_frames(connection, transaction.id), started_at)
    heard_at = max((at for at, _ in readings), default=transaction.last_sample_at or started_at)
    until = transaction.ended_at or max(heard_at, started_at)
    points = points_from(
        readings,
        started_at=started_at,
        until=until,
        meter_start_mwh=transaction.meter_start_mwh,
        energy_mwh=transaction.energy_mwh,
    )
    return periods(started_at, until, points)


def _frames(connection: Connection, transaction_id: str) -> Sequence[Frame]:
    row = MeterSampleRow
    query = (
        select(row.received_at, row.occurred_at, row.samples)
        .where(row.transaction_id == transaction_id, row.late.is_(False))
        .order_by(row.received_at, row.event_id)
    )
    return [
        Frame(received_at=received_at, occurred_at=occurred_at, samples=SAMPLES.decode(samples))
        for received_at, occurred_at, samples in connection.execute(query)
    ]


def _tariff(connection: Connection, transaction: Row[Any]) -> Tariff | None:
    if transaction.tariff_row is None:
        return None
    table = TariffVersion.__table__
    version = connection.execute(select(table).where(table.c.id == transaction.tariff_row)).one()
    document = {**version.details, "currency": version.currency, "type": version.type, "elements": version.elements}
    return Tariff.from_json(id=version.tariff_id, version=version.version, document=document)


# ---- the bill -------------------------------------------------------------------------------------------------------


def bill(connection: Connection, facts: Sequence[Recorded], *, now: datetime | None = None) -> None:
    """The journal's reader "billing": every ended transaction gets its one charge record, or its one review (E11, CD-32).

    A repeated fact changes nothing. Raises for a transaction that cannot be billed or judged: the journal buries that fact
    alone, and the watch over unbilled transactions says so.
    """
    at = now or datetime.now(UTC)
    for fact in facts:
        if fact.type == FactType.TRANSACTION_ENDED:
            _settle(connection, fact, at)


def _settle(connection: Connection, fact: Recorded, now: datetime) -> None:
    table = Transaction.__table__
    transaction = connection.execute(select(table).where(table.c.id == fact.subject)).one()
    if _is_settled(connection, transaction.id):
        return
    cause, flags = Cause(transaction.cause), {Flag(flag) for flag in transaction.flags}
    measured = {
        "energy_mwh": transaction.energy_mwh,
        "duration_s": (transaction.ended_at - transaction.started_at).total_seconds(),
    }
    if verdict(cause, flags, **measured) is Verdict.WRITE_OFF:
        _review(connection, transaction.id, [cause.value], "written_off", now)
        return
    stretches, cost = session_price(connection, transaction)
    reasons = [*_doubts(cause, flags, measured), *_unpriced(cost)]
    if transaction.owner_id is None:
        reasons.append(UNKNOWN_OWNER)
    if reasons:
        if _review(connection, transaction.id, reasons, "open", now):
            _tell(connection, fact, FactType.REVIEW_OPENED, transaction.id, {"reasons": reasons}, now)
    else:
        _issue(connection, fact, transaction, stretches, cost, now)


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


def _unpriced(cost: Price) -> list[str]:
    return [name if name == NO_TARIFF else f"unsupported:{name}" for name in cost.unsupported]


def _issue(
    connection: Connection,
    fact: Recorded,
    transaction: Row[Any],
    stretches: tuple[Period, ...],
    cost: Price,
    now: datetime,
) -> None:
    record = {
        "id": str(uuid.uuid4()),
        "country_code": transaction.country_code,
        "party_id": transaction.party_id,
        "transaction_id": transaction.id,
        "owner_id": transaction.owner_id,
        "credit": False,
        "tariff_row": transaction.tariff_row,
        "currency": cost.currency,
        "started_at": transaction.started_at,
        "ended_at": transaction.ended_at,
        "energy_mwh": cost.energy_mwh,
        "duration_s": cost.seconds,
        "parking_s": cost.parking_seconds,
        "total_excl_vat": cost.total_excl_vat,
        "total_incl_vat": cost.total_incl_vat,
        "lines": msgspec.to_builtins(cost.lines),
        "periods": msgspec.to_builtins(stretches),
        "costs": msgspec.to_builtins(
            {
                "fixed": cost.fixed_cost,
                "energy": cost.energy_cost,
                "time": cost.time_cost,
                "parking": cost.parking_cost,
            }
        ),
        "snapshot": transaction.snapshot,
        "created_at": now,
    }
    if _is_new(connection, ChargeRecord, record):
        told = {"transaction_id": transaction.id}
        _tell(connection, fact, FactType.CHARGE_RECORD_ISSUED, record["id"], told, now)


def _review(connection: Connection, transaction_id: str, reasons: list[str], state: str, now: datetime) -> bool:
    """Also what is written off leaves its row: the watch counts it as settled."""
    review = {
        "transaction_id": transaction_id,
        "reasons": reasons,
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


def _tell(
    connection: Connection, cause: Recorded, type_: FactType, subject: str, data: dict[str, Any], now: datetime
) -> None:
    fact = Fact(
        type=type_,
        subject=subject,
        station_id=cause.station_id,
        event_id=cause.event_id,
        ocpp_version=cause.ocpp_version,
        data=data,
    )
    append(connection, [fact], now=now)
