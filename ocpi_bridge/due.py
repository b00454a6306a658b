"""Which deliveries are due, and which of them may go now: a slow partner delays itself, and money not for long."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, case, func, literal, not_, select
from sqlalchemy.engine import Row

from crud.models import Delivery, Partner
from crud.partners import PartnerState
from csms.database import Utc
from csms.models import ChargeRecord, Evse
from ocpi_bridge.emsp_wire import Delivery as Answer
from ocpi_bridge.push import ENDPOINT
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
    rows = connection.execute(_due(now, [circuit for circuit, calls in room.items() if calls < 1])).all()
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
    query = select(Delivery.partner_id, Delivery.module).where(
        WAITING, Delivery.attempts == 0, Delivery.module.in_(RANK)
    )
    return {(row.partner_id, row.module) for row in connection.execute(query.distinct())}


def _due(now: datetime, shut: Collection[Circuit]) -> Any:
    """The first due rows of every partner, in the order in which they should go; `rank` -1 has waited long enough. None of
    the circuits that are `shut`, so that they take no place from the others."""
    closed = [
        and_(Delivery.partner_id == partner, Delivery.module.in_([module, *PARTS.get(module, ())]))
        for partner, module in shut
    ]
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
        .where(
            WAITING,
            Delivery.next_attempt_at <= now,
            Partner.state == PartnerState.REGISTERED,
            *(not_(which) for which in closed),
        )
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


class Turn(Enum):
    NOW = auto()
    LATER = auto()
    MISSING = auto()  # nothing was ever told of what goes before it
    NEVER = auto()  # what goes before it was stopped


def turn_of_cdr(connection: Connection, due: Due) -> tuple[Turn, str | None]:
    """A credit goes after the CDR that it takes back, and a corrected CDR after that credit; the id is of what goes before.

    What a partner surely refused it does not know: then the credit means nothing to it, and the corrected CDR is its first.
    """
    record = connection.execute(select(ChargeRecord.__table__).where(ChargeRecord.id == due.object_id)).one()
    if record.credit:
        return _turn_after(connection, due.partner_id, record.credit_reference_id), record.credit_reference_id
    if record.corrects is None:
        return Turn.NOW, None
    credit = connection.execute(
        select(ChargeRecord.id).where(ChargeRecord.credit_reference_id == record.corrects)
    ).scalar_one()
    turn = _turn_after(connection, due.partner_id, credit)
    if turn is Turn.NEVER and _was_refused(connection, due.partner_id, record.corrects):
        turn = Turn.NOW
    return turn, credit


def is_credit(connection: Connection, due: Due) -> bool:
    query = select(ChargeRecord.credit).where(ChargeRecord.id == due.object_id)
    return bool(connection.execute(query).scalar_one())


def _turn_after(connection: Connection, partner_id: int, record_id: str) -> Turn:
    row = _cdr(connection, partner_id, record_id)
    if row is None:
        return Turn.MISSING
    if row.told >= row.wanted:
        return Turn.NOW
    return Turn.LATER if row.stopped is None else Turn.NEVER


def _was_refused(connection: Connection, partner_id: int, record_id: str) -> bool:
    row = _cdr(connection, partner_id, record_id)
    return row is not None and (row.stopped or "").startswith(Answer.REFUSED.value)


def _cdr(connection: Connection, partner_id: int, record_id: str) -> Any:
    query = select(Delivery.wanted, Delivery.told, Delivery.stopped).where(
        Delivery.partner_id == partner_id, Delivery.module == "cdrs", Delivery.object_id == record_id
    )
    return connection.execute(query).one_or_none()
