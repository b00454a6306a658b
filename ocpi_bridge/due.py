"""Which deliveries are due, and which of them may go now: a slow partner delays itself, and money not for long."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, func, literal, select
from sqlalchemy.engine import Row

from crud.models import Delivery, Partner
from crud.partners import PartnerState
from csms.models import ChargeRecord, Evse
from ocpi_bridge.telling import PATIENCE

LOOKED_AT = 50  # due rows of a partner among which the free ones are found

# Which modules go first, and who waits for the first attempt at them: a Tariff before the Location that refers to it, both
# before the Sessions there (TA-05). What was tried and failed holds nobody up, and sessions and CDRs are held up for
# HELD_UP_S at most: ten thousand locations of a slow partner do not come before its money.
HELD_UP_S = 60
URGENT = ("sessions", "cdrs")
RANK = {"tariffs": 0, "locations": 1}
WAITS_FOR = {
    "locations": ("tariffs",),
    "evses": ("tariffs",),
    "sessions": ("tariffs", "locations"),
    "cdrs": ("tariffs", "locations"),
}

WAITING = and_(Delivery.wanted > Delivery.told, Delivery.stopped.is_(None))

Key = tuple[int, str, str]


@dataclass(frozen=True, kw_only=True)
class Due:
    """`key` is of what must not be in flight twice: an EVSE is part of its location, a CDR follows its session."""

    id: int
    partner_id: int
    module: str
    object_id: str
    key: Key


def pick(connection: Connection, now: datetime, free: Callable[[int], int], flying: Collection[Key]) -> list[Due]:
    """Of each partner at most `free(partner_id)`, no two with one key, none whose key is in flight."""
    rows = connection.execute(_due(now)).all()
    if not rows:
        return []
    first = untried(connection)
    keys = _keys_of(connection, rows)
    taken: set[Key] = set(flying)
    left: dict[int, int] = {}
    picked = []
    for row in rows:
        room = left.setdefault(row.partner_id, free(row.partner_id))
        waits_for = () if row.rank < 0 else WAITS_FOR.get(row.module, ())
        held = any((row.partner_id, module) in first for module in waits_for)
        key = keys[row.id]
        if room > 0 and not held and key not in taken:
            left[row.partner_id] = room - 1
            taken.add(key)
            picked.append(
                Due(id=row.id, partner_id=row.partner_id, module=row.module, object_id=row.object_id, key=key)
            )
    return picked


def untried(connection: Connection) -> set[tuple[int, str]]:
    """(partner, module) of the modules that go first, where something was never tried yet."""
    query = select(Delivery.partner_id, Delivery.module).where(
        WAITING, Delivery.attempts == 0, Delivery.module.in_(RANK)
    )
    return {(row.partner_id, row.module) for row in connection.execute(query.distinct())}


def _due(now: datetime) -> Any:
    """The first due rows of every partner, in the order in which they should go; `rank` -1 has waited long enough."""
    overdue = and_(Delivery.module.in_(URGENT), Delivery.next_attempt_at <= now - timedelta(seconds=HELD_UP_S))
    first = [(Delivery.module == module, literal(place)) for module, place in RANK.items()]
    rank: ColumnElement[int] = case((overdue, literal(-1)), *first, else_=literal(len(RANK)))
    place = func.row_number().over(
        partition_by=Delivery.partner_id, order_by=(rank, Delivery.next_attempt_at, Delivery.id)
    )
    due = (
        select(
            Delivery.id,
            Delivery.partner_id,
            Delivery.module,
            Delivery.object_id,
            rank.label("rank"),
            place.label("place"),
        )
        .join(Partner, Partner.id == Delivery.partner_id)
        .where(WAITING, Delivery.next_attempt_at <= now, Partner.state == PartnerState.REGISTERED)
        .subquery()
    )
    return select(due).where(due.c.place <= LOOKED_AT).order_by(due.c.partner_id, due.c.place)


def _keys_of(connection: Connection, rows: Sequence[Row[Any]]) -> dict[int, Key]:
    evses = [int(row.object_id) for row in rows if row.module == "evses"]
    cdrs = [row.object_id for row in rows if row.module == "cdrs"]
    part_of: dict[tuple[str, str], tuple[str, str]] = {}
    for evse, location in connection.execute(select(Evse.id, Evse.location).where(Evse.id.in_(evses))):
        part_of["evses", str(evse)] = ("locations", str(location))
    billed = select(ChargeRecord.id, ChargeRecord.transaction_id).where(ChargeRecord.id.in_(cdrs))
    for record, transaction in connection.execute(billed):
        part_of["cdrs", record] = ("sessions", transaction)
    own = {row.id: (row.module, row.object_id) for row in rows}
    return {row.id: (row.partner_id, *part_of.get(own[row.id], own[row.id])) for row in rows}


def session_is_behind(connection: Connection, due: Due) -> bool:
    """A CDR goes after its session's final state, unless that was tried often enough."""
    query = (
        select(Delivery.id)
        .join(ChargeRecord, ChargeRecord.transaction_id == Delivery.object_id)
        .where(
            ChargeRecord.id == due.object_id,
            Delivery.partner_id == due.partner_id,
            Delivery.module == "sessions",
            WAITING,
            Delivery.attempts < PATIENCE,
        )
    )
    return connection.execute(query).first() is not None
