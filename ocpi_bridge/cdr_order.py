"""When it is a CDR's turn: after its session's final state, and after the records that it takes back or stands instead of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from sqlalchemy import Connection, bindparam, select

from crud.models import Delivery
from csms.models import ChargeRecord
from ocpi_bridge.due import WAITING, Due
from ocpi_bridge.emsp_wire import Delivery as Answer
from ocpi_bridge.telling import PATIENCE

_D = Delivery.__table__.c
_R = ChargeRecord.__table__.c
_IDS: Any = bindparam("ids", expanding=True)
_RECORDS = select(_R.id, _R.transaction_id, _R.credit, _R.credit_reference_id, _R.corrects).where(_R.id.in_(_IDS))
_BEHIND = select(_D.partner_id, _D.object_id).where(
    _D.module == "sessions", _D.object_id.in_(_IDS), WAITING, _D.attempts < PATIENCE
)


class Turn(Enum):
    NOW = auto()
    LATER = auto()
    MISSING = auto()  # nothing was ever told of what goes before it
    NEVER = auto()  # what goes before it was stopped


@dataclass(frozen=True, kw_only=True)
class Place:
    """`before` is the record that goes before it, if one does."""

    turn: Turn
    before: str | None = None
    credit: bool = False


def places(connection: Connection, due: Sequence[Due]) -> Mapping[int, Place]:
    """By the ids of these deliveries of CDRs. A CDR goes after its session's final state, unless that was tried often
    enough."""
    records = {row.id: row for row in connection.execute(_RECORDS, {"ids": [one.object_id for one in due]})}
    told = {row.transaction_id for row in records.values()}
    behind = {(row.partner_id, row.object_id) for row in connection.execute(_BEHIND, {"ids": sorted(told)})}
    found = {}
    for one in due:
        record = records[one.object_id]
        late = (one.partner_id, record.transaction_id) in behind
        found[one.id] = Place(turn=Turn.LATER) if late else _after_others(connection, one.partner_id, record)
    return found


def _after_others(connection: Connection, partner_id: int, record: Any) -> Place:
    """A credit goes after the CDR that it takes back, and a corrected CDR after that credit.

    What a partner surely refused it does not know: then the credit means nothing to it, and the corrected CDR is its first.
    """
    if record.credit:
        turn = _turn_after(connection, partner_id, record.credit_reference_id)
        return Place(turn=turn, before=record.credit_reference_id, credit=True)
    if record.corrects is None:
        return Place(turn=Turn.NOW)
    credit = connection.execute(select(_R.id).where(_R.credit_reference_id == record.corrects)).scalar_one()
    turn = _turn_after(connection, partner_id, credit)
    if turn is Turn.NEVER and _was_refused(connection, partner_id, record.corrects):
        turn = Turn.NOW
    return Place(turn=turn, before=credit)


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
    query = select(_D.wanted, _D.told, _D.stopped).where(
        _D.partner_id == partner_id, _D.module == "cdrs", _D.object_id == record_id
    )
    return connection.execute(query).one_or_none()
