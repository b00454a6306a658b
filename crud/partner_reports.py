"""How far each partner is behind and how it answers: what operators, their programs and their graphs read."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, case, func, select

from crud.models import Delivery, Partner, PartnerHealth

CLOSED, HALF_OPEN, OPEN = "closed", "half-open", "open"
WORST = (OPEN, HALF_OPEN, CLOSED)
TROUBLED = 20

_BEHIND = Delivery.wanted > Delivery.told


@dataclass(frozen=True, kw_only=True)
class Report:
    """`waiting`: objects it must still hear of, `lag_s` since when the oldest of them; `given_up`: those that it refused, or
    that wait for a party of a hub. `error_rate` and `circuit` of its worst module."""

    partner: Row[Any]
    waiting: int
    given_up: int
    lag_s: float
    last_success_at: datetime | None
    last_failure_at: datetime | None
    error_rate: float
    circuit: str
    modules: Sequence[Row[Any]]


def reports(connection: Connection, now: datetime, *, name: str | None = None) -> list[Report]:
    """Of all partners, or of the one of this name; no token is read."""
    columns = [
        column for column in Partner.__table__.c if not column.name.startswith(("token_", "pending_", "previous_"))
    ]
    query = select(*columns).order_by(Partner.id)
    partners = connection.execute(query if name is None else query.where(Partner.name == name)).all()
    ids = [partner.id for partner in partners]
    modules: defaultdict[int, list[Row[Any]]] = defaultdict(list)
    health = select(PartnerHealth.__table__).where(PartnerHealth.partner_id.in_(ids)).order_by(PartnerHealth.module)
    for row in connection.execute(health):
        modules[row.partner_id].append(row)
    behind = _behind(connection, ids)
    return [_report(partner, modules[partner.id], behind.get(partner.id), now) for partner in partners]


def state(module: Row[Any], now: datetime) -> str:
    if module.open_until is None:
        return CLOSED
    return OPEN if now < module.open_until else HALF_OPEN


def troubled(connection: Connection, partner_id: int) -> Sequence[Row[Any]]:
    """The newest objects that it could not be told of, and why."""
    query = select(Delivery.__table__).where(
        Delivery.partner_id == partner_id, Delivery.last_error.is_not(None), _BEHIND
    )
    return connection.execute(query.order_by(Delivery.id.desc()).limit(TROUBLED)).all()


def _behind(connection: Connection, ids: Sequence[int]) -> Mapping[int, Row[Any]]:
    goes_on = and_(_BEHIND, Delivery.stopped.is_(None))
    since = func.coalesce(Delivery.due_since, Delivery.created_at)
    query = (
        select(
            Delivery.partner_id,
            func.count(case((goes_on, 1))).label("waiting"),
            func.count(case((Delivery.stopped.is_not(None), 1))).label("given_up"),
            func.min(case((goes_on, since))).label("since"),
        )
        .where(Delivery.partner_id.in_(ids), _BEHIND)
        .group_by(Delivery.partner_id)
    )
    return {row.partner_id: row for row in connection.execute(query)}


def _report(partner: Row[Any], modules: Sequence[Row[Any]], behind: Row[Any] | None, now: datetime) -> Report:
    states = {state(module, now) for module in modules} or {CLOSED}
    since = behind.since if behind is not None else None
    return Report(
        partner=partner,
        waiting=behind.waiting if behind is not None else 0,
        given_up=behind.given_up if behind is not None else 0,
        lag_s=max((now - since).total_seconds(), 0.0) if since is not None else 0.0,
        last_success_at=max(filter(None, (module.last_success_at for module in modules)), default=None),
        last_failure_at=max(filter(None, (module.last_failure_at for module in modules)), default=None),
        error_rate=max((module.error_rate for module in modules), default=0.0),
        circuit=next(word for word in WORST if word in states),
        modules=modules,
    )
