"""The message log as rows: written in bulk, read as exchanges of a request with its answer, dropped after their time."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, func, or_, select, tuple_

from csms.bus import LoggedFrame
from csms.models import Message

ID_EPOCH_US = 1_577_836_800_000_000  # 2020-01-01; 52 bits of microseconds last until 2162
RANDOM_BITS = 11
ANSWERS = ("result", "error")
ANSWERED = ("call", "unreadable")  # what was not understood may get a CALLERROR
OPPOSITE = {"in": "out", "out": "in"}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One frame of the log, in the words of LoggedFrame; `id` sorts as frames were written."""

    id: int
    at: datetime
    station_id: str
    ocpp_version: str
    direction: str
    message_type: str
    message_id: str
    action: str
    result: str
    latency_ms: float | None
    text: str


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A call with its answer, None while there is none; or alone, a frame that is no call and answers none."""

    first: Entry
    answer: Entry | None = None

    @property
    def complete(self) -> bool:
        return self.first.message_type != "call" or self.answer is not None

    @property
    def result(self) -> str:
        """How it ended: the answer's result, "waiting" while there is none."""
        if self.answer is not None:
            return self.answer.result
        return "waiting" if self.first.message_type == "call" and self.first.result == "ok" else self.first.result

    @property
    def latency_ms(self) -> float | None:
        if self.answer is None:
            return self.first.latency_ms
        if self.answer.latency_ms is not None:
            return self.answer.latency_ms
        return (self.answer.at - self.first.at).total_seconds() * 1000


def _sqlite_moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(" ", "microseconds")[:26]


def _postgres_moment(at: datetime) -> datetime:
    return at


# Two rows for each message of a charger: handed to the driver as they are, which costs half of the types' own way.
INTO = (
    "INSERT INTO messages (id, at, station_id, ocpp_version, direction, message_type, message_id, action, result, "
    "latency_ms, frame) VALUES "
)
WRITTEN: dict[str, tuple[str, Callable[[datetime], Any]]] = {
    "sqlite": (INTO + "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", _sqlite_moment),
    "postgresql": (INTO + "(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)", _postgres_moment),
}


def write(connection: Connection, frames: Sequence[LoggedFrame]) -> None:
    """Store `frames` in their order. Ids are unique among processes without asking one another."""
    if not frames:
        return
    first = ((time.time_ns() // 1000 - ID_EPOCH_US) << RANDOM_BITS) | random.getrandbits(RANDOM_BITS)
    statement, moment = WRITTEN[connection.dialect.name]
    rows = [
        (
            first + number,
            moment(frame.at),
            frame.station_id.replace("\x00", ""),
            frame.ocpp_version,
            frame.direction,
            frame.message_type,
            frame.message_id.replace("\x00", ""),
            frame.action.replace("\x00", ""),
            frame.result,
            frame.latency_ms,
            frame.text.replace("\x00", ""),
        )
        for number, frame in enumerate(frames)
    ]
    connection.exec_driver_sql(statement, rows)


def paired(
    connection: Connection,
    *,
    station: str | None = None,
    action: str | None = None,
    since: datetime | None = None,
    after_id: int | None = None,
    limit: int = 100,
) -> list[Exchange]:
    """Exchanges in the order in which they began: the first `limit` after `after_id`, or else the last `limit`.

    `action` compares without case. An answer belongs to the last call of its station, id and opposite direction before it,
    since chargers use ids again.
    """
    log = Message.__table__.c
    query = select(Message.__table__).where(or_(log.message_type.not_in(ANSWERS), log.result == "unsolicited"))
    if station is not None:
        query = query.where(log.station_id == station)
    if action is not None:
        query = query.where(func.lower(log.action) == action.lower())
    if since is not None:
        query = query.where(log.at >= since)
    if after_id is not None:
        rows = list(connection.execute(query.where(log.id > after_id).order_by(log.id).limit(limit)))
    else:
        rows = list(connection.execute(query.order_by(log.id.desc()).limit(limit)))[::-1]
    firsts = [_entry(row) for row in rows]
    answers = _answers(connection, [entry for entry in firsts if entry.message_type in ANSWERED and entry.message_id])
    return [Exchange(first=entry, answer=answers.get(entry.id)) for entry in firsts]


def delete_older(connection: Connection, days: int, now: datetime, *, at_most: int = 10_000) -> int:
    """Drop what is older than `days`, at most so many rows so that nobody waits long for us; returns how many went."""
    limit = now - timedelta(days=days)
    old = select(Message.at, Message.id).where(Message.at < limit).order_by(Message.at).limit(at_most)
    return connection.execute(delete(Message).where(tuple_(Message.at, Message.id).in_(old))).rowcount


def _answers(connection: Connection, calls: Sequence[Entry]) -> Mapping[int, Entry]:
    """By the id of the call."""
    if not calls:
        return {}
    log = Message.__table__.c
    keys = {entry.message_id for entry in calls}
    stations = {entry.station_id for entry in calls}
    query = (
        select(Message.__table__)
        .where(
            log.message_id.in_(keys),
            log.station_id.in_(stations),
            or_(log.message_type.in_(ANSWERED), log.result != "unsolicited"),
            log.id >= calls[0].id,
        )
        .order_by(log.id)
    )
    open_calls: dict[tuple[str, str, str], int] = {}
    found: dict[int, Entry] = {}
    for row in connection.execute(query):
        entry = _entry(row)
        if entry.message_type in ANSWERED:
            open_calls[entry.station_id, entry.message_id, entry.direction] = entry.id
            continue
        call = open_calls.pop((entry.station_id, entry.message_id, OPPOSITE.get(entry.direction, "")), None)
        if call is not None:
            found[call] = entry
    return found


def _entry(row: Row[Any]) -> Entry:
    values = dict(row._mapping)
    return Entry(text=values.pop("frame"), **values)
