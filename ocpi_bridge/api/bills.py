"""Charge records: what was billed, line by line."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from sqlalchemy import or_, select

from csms.billing.explanation import Explanation, explain
from csms.billing.explanation_text import as_lines
from csms.models import ChargeRecord
from csms.users import Role
from ocpi_bridge.api.asked import (
    Asked,
    Moment,
    Name,
    Page,
    Paging,
    Route,
    Small,
    cursor_time,
    paged,
    time_cursor,
)
from ocpi_bridge.api.problems import not_found


class ChargeRecordsQuery(Paging, frozen=True, kw_only=True):
    """`owner` 0: of the operator's own cards; else the partner's number. Times are of the record's making."""

    owner: Small | None = None
    transaction: Name | None = None
    since: Moment | None = None
    until: Moment | None = None


class ChargeRecordRow(msgspec.Struct, frozen=True, kw_only=True):
    """Money is a decimal number as text. `corrects`: the bill, credited, in whose place it stands; `decided_by` and
    `decision`: who credited or corrected, and why."""

    id: str
    country_code: str
    party_id: str
    transaction_id: str
    owner_id: int | None
    credit: bool
    credit_reference_id: str | None
    corrects: str | None
    decided_by: str | None
    decision: str | None
    currency: str
    started_at: datetime
    ended_at: datetime
    energy_mwh: int
    duration_s: int
    parking_s: int
    total_excl_vat: Decimal
    total_incl_vat: Decimal
    created_at: datetime


class ChargeRecordDetail(msgspec.Struct, frozen=True, kw_only=True):
    record: ChargeRecordRow
    lines: Sequence[Any]
    periods: Sequence[Any]
    costs: dict[str, Any]
    signed_data: Sequence[Any] | None


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """`text`: the same as lines for people."""

    explanation: Explanation
    text: Sequence[str]


def list_records(asked: Asked[ChargeRecordsQuery, None]) -> Page[ChargeRecordRow]:
    wanted, after = asked.query, cursor_time(asked.query.after)
    row = ChargeRecord
    query = select(row.__table__).order_by(row.created_at.desc(), row.id.desc()).limit(wanted.limit + 1)
    if after is not None:
        at, id_ = after
        query = query.where(or_(row.created_at < at, (row.created_at == at) & (row.id < id_)))
    if wanted.owner is not None:
        query = query.where(row.owner_id == wanted.owner)
    if wanted.transaction is not None:
        query = query.where(row.transaction_id == wanted.transaction)
    if wanted.since is not None:
        query = query.where(row.created_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(row.created_at <= wanted.until)
    rows = asked.connection.execute(query).all()
    return paged(rows, wanted.limit, lambda row: time_cursor(row.created_at, row.id), _row)


def record(asked: Asked[None, None]) -> ChargeRecordDetail:
    query = select(ChargeRecord.__table__).where(ChargeRecord.id == asked.path["id"])
    row = asked.connection.execute(query).one_or_none()
    if row is None:
        raise not_found("charge record", asked.path["id"])
    return ChargeRecordDetail(
        record=_row(row), lines=row.lines, periods=row.periods, costs=row.costs, signed_data=row.signed_data
    )


def explanation(asked: Asked[None, None]) -> Explained:
    told = explain(asked.connection, asked.path["id"])
    return Explained(explanation=told, text=as_lines(told))


def _row(row: Any) -> ChargeRecordRow:
    return ChargeRecordRow(**{name: getattr(row, name) for name in ChargeRecordRow.__struct_fields__})


ROUTES = (
    Route(
        method="GET",
        path="/charge-records",
        role=Role.VIEWER,
        summary="Bills, the newest first.",
        handler=list_records,
        query=ChargeRecordsQuery,
        output=Page[ChargeRecordRow],
    ),
    Route(
        method="GET",
        path="/charge-records/{id}",
        role=Role.VIEWER,
        summary="A bill with its lines and periods.",
        handler=record,
        output=ChargeRecordDetail,
    ),
    Route(
        method="GET",
        path="/charge-records/{id}/explanation",
        role=Role.VIEWER,
        summary="Each line of a bill traced to its element, periods, samples, rules and rounding.",
        handler=explanation,
        output=Explained,
    ),
)
