"""What waits for a person: held bills and refunds, each decided once."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from csms import credits, refunds, reviews
from csms.users import Role
from ocpi_bridge.api.asked import Asked, Input, Moment, Name, Number, Page, Paging, Reason, Route, Text, paged
from ocpi_bridge.api.corrections import Person, decided_by
from ocpi_bridge.api.problems import Problem


class Kind(StrEnum):
    BILL = "bill"
    REFUND = "refund"


class ReviewsQuery(Paging, frozen=True, kw_only=True):
    """Without `state`: what is open. `all`: also what is decided."""

    state: Text | None = None
    all: bool = False
    owner: Name | None = None
    kind: Kind | None = None


class ReviewRow(msgspec.Struct, frozen=True, kw_only=True):
    """`reasons`: why the bill is held; of a refund, how it ended and what is suggested. `detail` helps to judge."""

    kind: Kind
    id: int
    transaction_id: str
    station_id: str
    number: int
    reasons: Sequence[str]
    detail: dict[str, Any]
    state: str
    owner: str | None
    opened_at: datetime
    closed_at: datetime | None
    decided_by: str | None
    decision: str | None
    energy_mwh: int
    started_at: datetime
    ended_at: datetime | None


class Why(Input, frozen=True, kw_only=True):
    reason: Reason


class Adjustment(Input, frozen=True, kw_only=True):
    """What is absent stays as the charger said. `tariff`: the id of the one by whose version in force it is priced."""

    reason: Reason
    energy_mwh: Annotated[int, Meta(ge=0, le=10**12)] | None = None
    started_at: Moment | None = None
    ended_at: Moment | None = None
    tariff: Name | None = None


class Grant(Input, frozen=True, kw_only=True):
    """Without `credit` and `amount` the bill stays as it is. `credit`: all of it is taken back; `amount`: so much of it, VAT
    included. Either is a person's word."""

    reason: Reason
    credit: bool = False
    amount: Annotated[str, Meta(pattern=r"^[0-9]{1,9}(\.[0-9]{1,4})?$", description="Such as 1.50.")] | None = None
    person: Person | None = None


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """`charge_record`: of the bill that was made by it; `credit`: of what took the one before back."""

    charge_record: str | None = None
    credit: str | None = None


class BalanceQuery(msgspec.Struct, frozen=True, kw_only=True):
    """`day` is one of UTC; yesterday when it is not given."""

    day: date | None = None


class BalanceRow(msgspec.Struct, frozen=True, kw_only=True):
    """Of the sessions whose end was received on `day`; `unexplained` must be 0. `held`: those in review, by each reason."""

    day: date
    closed: int
    billed: int
    corrected: int
    credited: int
    in_review: int
    written_off: int
    exempt: int
    unexplained: int
    held: dict[str, int]


def list_reviews(asked: Asked[ReviewsQuery, None]) -> Page[ReviewRow]:
    wanted = asked.query
    items = reviews.queue(
        asked.connection,
        state=None if wanted.all else wanted.state or reviews.OPEN,
        owner=wanted.owner,
        kind=None if wanted.kind is None else wanted.kind.value,
        limit=wanted.limit + 1,
        after=wanted.after,
    )
    return paged(items, wanted.limit, lambda item: item.key, _row)


def balance(asked: Asked[BalanceQuery, None]) -> BalanceRow:
    day = asked.query.day or asked.now.date() - timedelta(days=1)
    try:
        found = asdict(reviews.daily_balance(asked.connection, day))
    except OverflowError:
        raise Problem(status=422, code="out_of_range", detail="that day is beyond all days") from None
    return BalanceRow(day=day, **found)


def take_bill(asked: Asked[None, None]) -> Decided:
    reviews.take(asked.connection, asked.path["id"], asked.by, asked.now)
    return Decided()


def release(asked: Asked[None, Why]) -> Decided:
    made = reviews.release(asked.connection, asked.path["id"], asked.by, asked.body.reason, asked.now)
    return Decided(charge_record=made)


def adjust(asked: Asked[None, Adjustment]) -> Decided:
    change = msgspec.structs.asdict(asked.body)
    reason = change.pop("reason")
    made = reviews.adjust(asked.connection, asked.path["id"], asked.by, reason, asked.now, **change)
    return Decided(charge_record=made)


def write_off(asked: Asked[None, Why]) -> Decided:
    reviews.write_off(asked.connection, asked.path["id"], asked.by, asked.body.reason, asked.now)
    return Decided()


def take_refund(asked: Asked[None, None]) -> Decided:
    refunds.take(asked.connection, asked.path["id"], asked.by, asked.now)
    return Decided()


def grant(asked: Asked[None, Grant]) -> Decided:
    body, id_ = asked.body, asked.path["id"]
    if not body.credit and body.amount is None:
        refunds.grant(asked.connection, id_, asked.by, body.reason, asked.now)
        return Decided()
    if body.credit and body.amount is not None:
        raise Problem(status=409, code="invalid_correction", detail="either `credit` or `amount`")
    amount = None if body.amount is None else Decimal(body.amount)
    who = decided_by(asked, body.person or "nobody")
    credit, made = credits.pay_back(asked.connection, id_, who, body.reason, asked.now, amount=amount)
    return Decided(credit=credit, charge_record=made)


def decline(asked: Asked[None, Why]) -> Decided:
    refunds.decline(asked.connection, asked.path["id"], asked.by, asked.body.reason, asked.now)
    return Decided()


def _row(item: reviews.Item) -> ReviewRow:
    known = {name: getattr(item, name) for name in ReviewRow.__struct_fields__}
    return ReviewRow(**{**known, "kind": Kind(item.kind), "detail": dict(item.detail)})


def _decision(path: str, summary: str, handler: Any, body: Any = Why) -> Route:
    return Route(
        method="POST",
        path=path,
        role=Role.OPERATOR,
        summary=summary,
        handler=handler,
        body=body,
        output=Decided,
        path_types={"id": Number},
        problems=(409,),
    )


ROUTES: Sequence[Route] = (
    Route(
        method="GET",
        path="/reviews",
        role=Role.VIEWER,
        summary="Held bills and refunds, the oldest first.",
        handler=list_reviews,
        query=ReviewsQuery,
        output=Page[ReviewRow],
        problems=(404,),
    ),
    Route(
        method="GET",
        path="/reviews/balance",
        role=Role.VIEWER,
        summary="A day's closed sessions held against their bills.",
        handler=balance,
        query=BalanceQuery,
        output=BalanceRow,
    ),
    _decision("/reviews/bill/{id}/take", "Look after a held bill.", take_bill, None),
    _decision("/reviews/bill/{id}/release", "Bill it as it stands.", release),
    _decision("/reviews/bill/{id}/adjust", "Bill it with what was measured otherwise.", adjust, Adjustment),
    _decision("/reviews/bill/{id}/write-off", "No bill, for good.", write_off),
    _decision("/reviews/refund/{id}/take", "Look after a refund.", take_refund, None),
    _decision(
        "/reviews/refund/{id}/grant", "Decide for the driver; the bill may be taken back, or lowered.", grant, Grant
    ),
    _decision("/reviews/refund/{id}/decline", "Decide against a refund.", decline),
)
