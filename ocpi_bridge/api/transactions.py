"""Transactions, and what was measured in one."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row, or_, select

from csms.lifecycle import State
from csms.models import MeterSampleRow, Transaction
from csms.sample_span import span_of
from csms.users import Role
from ocpi_bridge.api.asked import (
    Asked,
    Moment,
    Name,
    Page,
    Paging,
    Route,
    cursor_number,
    cursor_time,
    paged,
    protocol,
    time_cursor,
)
from ocpi_bridge.api.problems import not_found


class TransactionsQuery(Paging, frozen=True, kw_only=True):
    station: Name | None = None
    state: State | None = None
    since: Moment | None = None
    until: Moment | None = None


class TransactionRow(msgspec.Struct, frozen=True, kw_only=True):
    """`number` is what the station knows it by; `owner_id` 0 is the operator's own card, null a card nobody owns."""

    id: str
    number: int
    station_id: str
    protocol: str | None
    evse: int
    connector: int
    transaction_ref: str | None
    state: State
    cause: str | None
    flags: Sequence[str]
    id_token: str | None
    owner_id: int | None
    authorization: str
    auth_method: str
    remote_request_id: str | None
    started_at: datetime
    ended_at: datetime | None
    energy_mwh: int
    power_w: int | None
    meter_start_mwh: int | None
    meter_stop_mwh: int | None
    last_sample_at: datetime | None
    sample_count: int
    last_updated: datetime


class TransactionDetail(msgspec.Struct, frozen=True, kw_only=True):
    """The charger's claims and our receptions beside the times that we bill by, and the rule that chose."""

    transaction: TransactionRow
    findings: Sequence[Any]
    started_claimed_at: datetime | None
    started_received_at: datetime
    started_rule: str
    ended_claimed_at: datetime | None
    ended_received_at: datetime | None
    ended_rule: str | None
    stop_reason_raw: str | None
    booted_inside: bool


class SampleFrame(msgspec.Struct, frozen=True, kw_only=True):
    """What one frame told. `late`: it came after the transaction had ended."""

    event_id: str
    received_at: datetime
    occurred_at: datetime
    energy_mwh: int | None
    late: bool
    samples: Any


def list_transactions(asked: Asked[TransactionsQuery, None]) -> Page[TransactionRow]:
    wanted, after = asked.query, cursor_number(asked.query.after)
    row = Transaction
    query = select(row.__table__).order_by(row.number.desc()).limit(wanted.limit + 1)
    if after is not None:
        query = query.where(row.number < after)
    if wanted.station is not None:
        query = query.where(row.station_id == wanted.station)
    if wanted.state is not None:
        query = query.where(row.state == wanted.state.value)
    if wanted.since is not None:
        query = query.where(row.started_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(row.started_at <= wanted.until)
    rows = asked.connection.execute(query).all()
    return paged(rows, wanted.limit, lambda row: row.number, lambda row: _row(row, asked))


def transaction(asked: Asked[None, None]) -> TransactionDetail:
    row = _found(asked)
    names = [name for name in TransactionDetail.__struct_fields__ if name != "transaction"]
    return TransactionDetail(transaction=_row(row, asked), **{name: getattr(row, name) for name in names})


def samples(asked: Asked[Paging, None]) -> Page[SampleFrame]:
    found, wanted, after = _found(asked), asked.query, cursor_time(asked.query.after)
    row = MeterSampleRow
    query = select(row.__table__).where(row.transaction_id == found.id, span_of(found).holds())
    query = query.order_by(row.received_at, row.event_id).limit(wanted.limit + 1)
    if after is not None:
        at, event_id = after
        query = query.where(or_(row.received_at > at, (row.received_at == at) & (row.event_id > event_id)))
    rows = asked.connection.execute(query).all()
    return paged(rows, wanted.limit, lambda row: time_cursor(row.received_at, row.event_id), _samples)


def _found(asked: Asked[Any, None]) -> Row[Any]:
    """By our id or by number."""
    named = asked.path["transaction"]
    number = int(named) if named.isascii() and named.isdecimal() and len(named) < 10 else -1
    query = select(Transaction.__table__).where(or_(Transaction.id == named, Transaction.number == number))
    row = asked.connection.execute(query).first()
    if row is None:
        raise not_found("transaction", named)
    return row


def raw_card(stored: str) -> str:
    """The id_token of a row, which holds it as hex; what is no text in it is shown as a question mark."""
    try:
        return bytes.fromhex(stored).decode("utf-8", "replace").encode("utf-8", "replace").decode()
    except ValueError:
        return ""


def _row(row: Any, asked: Asked[Any, None]) -> TransactionRow:
    aside = ("protocol", "id_token", "state")
    names = [name for name in TransactionRow.__struct_fields__ if name not in aside]
    return TransactionRow(
        protocol=protocol(row.ocpp_version),
        id_token=asked.card(raw_card(row.id_token)),
        state=State(row.state),
        **{name: getattr(row, name) for name in names},
    )


def _samples(row: Any) -> SampleFrame:
    names = [name for name in SampleFrame.__struct_fields__ if name != "samples"]
    return SampleFrame(samples=msgspec.Raw(row.samples), **{name: getattr(row, name) for name in names})


ROUTES = (
    Route(
        method="GET",
        path="/transactions",
        role=Role.VIEWER,
        summary="Transactions, the newest first.",
        handler=list_transactions,
        query=TransactionsQuery,
        output=Page[TransactionRow],
    ),
    Route(
        method="GET",
        path="/transactions/{transaction}",
        role=Role.VIEWER,
        summary="A transaction, by its id or number.",
        handler=transaction,
        output=TransactionDetail,
    ),
    Route(
        method="GET",
        path="/transactions/{transaction}/samples",
        role=Role.VIEWER,
        summary="What was measured in a transaction, in the order in which it came.",
        handler=samples,
        query=Paging,
        output=Page[SampleFrame],
    ),
)
