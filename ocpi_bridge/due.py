"""Which deliveries are due, and which of them may go now: a slow partner delays itself, and money not for long."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, case, func, literal, not_, select
from sqlalchemy.engine import Row

from crud.models import Delivery, Partner
from crud.partners import PartnerState
from csms.database import Utc
from csms.models import ChargeRecord, Evse
from ocpi_bridge.push import ENDPOINT

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

PARTS = {"locations": ("evses",)}  # what else is called at a module's endpoint

WAITING = and_(Delivery.wanted > Delivery.told, Delivery.stopped.is_(None))
_ANYTHING = select(Delivery.id).where(WAITING, Delivery.next_attempt_at <= bindparam("now", type_=Utc)).limit(1)

Key = tuple[int, str, str]


@dataclass(frozen=True, kw_only=True)
class Due:
    """`key` is of what must not be in flight twice: an EVSE is part of its location, a CDR follows its session."""

    id: int
    partner_id: int
    module: str
    object_id: str
    key: Key


Circuit = tuple[int, str]  # partner id, and the module whose endpoint is called
Room = Mapping[Circuit, int]


def circuit_of(partner_id: int, module: str) -> Circuit:
    return partner_id, ENDPOINT.get(module, module)


def pick(
    connection: Connection, now: datetime, free: Callable[[int], int], flying: Collection[Key], room: Room
) -> list[Due]:
    """Of each partner at most `free(partner_id)`, no two with one key, none whose key is in flight; of a circuit in `room` no
    more than that says."""
    if connection.execute(_ANYTHING, {"now": now}).first() is None:
        return []  # most often so, and asked several times a second
    shut = [circuit for circuit, calls in room.items() if calls < 1]
    when = {"now": now, "long_ago": now - timedelta(seconds=HELD_UP_S)}
    rows = connection.execute(_due(shut) if shut else _ANY_DUE, when).all()
    if not rows:
        return []
    first = untried(connection)
    keys = _keys_of(connection, rows)
    taken: set[Key] = set(flying)
    left: dict[int, int] = {}
    on = dict(room)
    picked = []
    for row in rows:
        free_here = left.setdefault(row.partner_id, free(row.partner_id))
        waits_for = () if row.rank < 0 else WAITS_FOR.get(row.module, ())
        held = any((row.partner_id, module) in first for module in waits_for)
        key = keys[row.id]
        circuit = circuit_of(row.partner_id, row.module)
        if free_here > 0 and on.get(circuit, 1) > 0 and not held and key not in taken:
            left[row.partner_id] = free_here - 1
            if circuit in on:
                on[circuit] -= 1
            taken.add(key)
            picked.append(
                Due(id=row.id, partner_id=row.partner_id, module=row.module, object_id=row.object_id, key=key)
            )
    return picked


def untried(connection: Connection) -> set[tuple[int, str]]:
    """(partner, module) of the modules that go first, where something was never tried yet."""
    return {(row.partner_id, row.module) for row in connection.execute(_UNTRIED)}


def _due(shut: Collection[Circuit] = ()) -> Any:
    """The first due rows of every partner, in the order in which they should go; `rank` -1 has waited long enough. None of
    the circuits that are `shut`, so that they take no place from the others."""
    closed = [
        and_(Delivery.partner_id == partner, Delivery.module.in_([module, *PARTS.get(module, ())]))
        for partner, module in shut
    ]
    overdue = and_(Delivery.module.in_(URGENT), Delivery.next_attempt_at <= bindparam("long_ago", type_=Utc))
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
        .where(
            WAITING,
            Delivery.next_attempt_at <= bindparam("now", type_=Utc),
            Partner.state == PartnerState.REGISTERED,
            *(not_(which) for which in closed),
        )
        .subquery()
    )
    return select(due).where(due.c.place <= LOOKED_AT).order_by(due.c.partner_id, due.c.place)


# Put together once, since they are asked many times a second.
_ANY_DUE = _due()
_UNTRIED = (
    select(Delivery.partner_id, Delivery.module)
    .where(WAITING, Delivery.attempts == 0, Delivery.module.in_(RANK))
    .distinct()
)
_IDS: Any = bindparam("ids", expanding=True)
_OF_EVSES = select(Evse.id, Evse.location).where(Evse.id.in_(_IDS))
_OF_CDRS = select(ChargeRecord.id, ChargeRecord.transaction_id).where(ChargeRecord.id.in_(_IDS))


def _keys_of(connection: Connection, rows: Sequence[Row[Any]]) -> dict[int, Key]:
    evses = [int(row.object_id) for row in rows if row.module == "evses"]
    cdrs = [row.object_id for row in rows if row.module == "cdrs"]
    part_of: dict[tuple[str, str], tuple[str, str]] = {}
    for evse, location in connection.execute(_OF_EVSES, {"ids": evses}) if evses else ():
        part_of["evses", str(evse)] = ("locations", str(location))
    for record, transaction in connection.execute(_OF_CDRS, {"ids": cdrs}) if cdrs else ():
        part_of["cdrs", record] = ("sessions", transaction)
    own = {row.id: (row.module, row.object_id) for row in rows}
    return {row.id: (row.partner_id, *part_of.get(own[row.id], own[row.id])) for row in rows}
