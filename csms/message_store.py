"""The message log as rows: written in bulk, read as exchanges of a request with its answer, dropped after their time."""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from sqlalchemy import BigInteger, ColumnElement, Connection, Row, Select, Table, Text, and_, column, select, values
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from csms.bulk import copy
from csms.bus import LoggedFrame
from csms.models import Message, Transaction
from csms.models.message_log import BAD, BEGINS, LAST_LETTER, NAMED, OUTWARD, UNPAIRED
from csms.months import month_of, months_later

ID_EPOCH_US = 1_577_836_800_000_000  # 2020-01-01; 52 bits of microseconds last until 2162
RANDOM_BITS = 11
ANSWERS = ("result", "error")
ANSWERED = ("call", "unreadable")  # what was not understood may get a CALLERROR
OPPOSITE = {"in": "out", "out": "in"}

WRITTEN_WITHIN = timedelta(hours=1)  # a row is written at most so long after its frame crossed the wire
ANSWERED_IDS = 3_600_000_000 << RANDOM_BITS  # an hour: nobody waits longer for an answer
EARLY = timedelta(minutes=1)  # a clock that was set back
STARTED_WITHIN = timedelta(minutes=5)  # a start waits so long for its batch at most
LATE_SAMPLES_WITHIN = timedelta(hours=1)
NAME_ENDS = (("", ","), ("", "}"), ("", " "), ('"', '"'))  # so that 12 is not found in 123
AT_ONCE = 500
SCANNED_AT_MOST = 1_500  # rows that one page looks at, for what no index finds
ACTIONS_AT_MOST = 500


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One frame of the log, in the words of LoggedFrame; `id` sorts as frames were written. `twin`: how far from it the id of
    its answer is, or of its call; None where that is to be looked for."""

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
    twin: int | None = None

    @property
    def begins(self) -> bool:
        """Whether an exchange begins here: it is no answer, or one that nobody asked for."""
        return self.message_type not in ANSWERS or self.result == "unsolicited"


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

    @property
    def frames(self) -> tuple[Entry, ...]:
        return (self.first,) if self.answer is None else (self.first, self.answer)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which exchanges; what is None does not matter. `action` compares without case. `direction` is that of the request.
    `errors`: one of the frames is not "ok". `text` and each of `naming`: one of the frames holds it (of `naming`, any)."""

    station: str | None = None
    action: str | None = None
    message_id: str | None = None
    direction: str | None = None
    ocpp_version: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    errors: bool = False
    text: str | None = None
    naming: tuple[str, ...] = ()

    def fits(self, exchange: Exchange) -> bool:
        first, frames = exchange.first, exchange.frames
        return (
            (self.station is None or first.station_id == self.station)
            and (self.action is None or first.action.casefold() == self.action.casefold())
            and (self.message_id is None or first.message_id == self.message_id)
            and (self.direction is None or first.direction == self.direction)
            and (self.ocpp_version is None or first.ocpp_version == self.ocpp_version)
            and (self.since is None or first.at >= self.since)
            and (self.until is None or first.at <= self.until)
            and (not self.errors or any(frame.result != "ok" for frame in frames))
            and (self.text is None or any(self.text in frame.text for frame in frames))
            and (not self.naming or any(name in frame.text for frame in frames for name in self.naming))
        )


@dataclass(frozen=True, kw_only=True)
class Found:
    """`exchanges` in the order in which they were written. `more_before`: older ones are found before this id; None when
    there are none. A page may be short, or empty, and have more before it: it looks at so many rows and no further."""

    exchanges: Sequence[Exchange]
    more_before: int | None = None


def sqlite_moment(at: datetime) -> str:
    return (at if at.tzinfo is UTC else at.astimezone(UTC)).isoformat(" ", "microseconds")[:26]


# Two rows for each message of a charger: handed to the driver as they are, which costs half of the types' own way.
COLUMNS = tuple(Message.__table__.columns.keys())
ON_SQLITE = f"INSERT INTO messages ({', '.join(COLUMNS)}) VALUES ({', '.join('?' for _ in COLUMNS)})"  # noqa: S608


def write(connection: Connection, frames: Sequence[LoggedFrame]) -> None:
    """Store `frames`, those of a station in their order. Ids are unique among processes without asking one another."""
    if not frames:
        return
    first = _id_now() | random.getrandbits(RANDOM_BITS)
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(ON_SQLITE, rows_of(frames, first, sqlite_moment))
    else:
        copy(connection, _MESSAGES, COLUMNS, rows_of(frames, first, lambda at: at))


def rows_of(frames: Sequence[LoggedFrame], first: int, moment: Callable[[datetime], Any]) -> list[tuple[Any, ...]]:
    """Rows of COLUMNS with ids from `first` on, `moment` as the database takes it. A call that went well and its result are
    twins when they follow each other among the frames of their station: neighbours, which know it and need fewer indexes."""
    begun: list[tuple[LoggedFrame, LoggedFrame | None]] = []
    unanswered: dict[str, int] = {}  # by station: where its last frame is, if that is a call
    for frame in frames:
        last = unanswered.pop(frame.station_id, None)
        if frame.result == "ok":
            if frame.message_type == "call":
                unanswered[frame.station_id] = len(begun)
            elif last is not None and _answers_to(frame, call := begun[last][0]):
                begun[last] = (call, frame)
                continue
        begun.append((frame, None))
    rows: list[tuple[Any, ...]] = []
    for frame, result in begun:
        rows.append(_row(first + len(rows), frame, None if result is None else 1, moment))
        if result is not None:
            rows.append(_row(first + len(rows), result, -1, moment))
    return rows


def _answers_to(frame: LoggedFrame, call: LoggedFrame) -> bool:
    return (
        frame.message_type == "result"
        and frame.message_id == call.message_id
        and frame.direction != call.direction
        and frame.action == call.action
    )


def _row(id_: int, frame: LoggedFrame, twin: int | None, moment: Callable[[datetime], Any]) -> tuple[Any, ...]:
    return (
        id_,
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
        twin,
    )


_MESSAGES = cast(Table, Message.__table__)


class _Unled(FunctionElement[str]):
    """A column in words that lead SQLite to no index which begins with it, since it does not know where there are fewer rows:
    the index that is meant has this column too."""

    inherit_cache = True
    type = Text()


@compiles(_Unled)
def _as_it_is(element: _Unled, compiler: Any, **how: Any) -> str:
    return str(compiler.process(element.clauses, **how))


@compiles(_Unled, "sqlite")
def _unled(element: _Unled, compiler: Any, **how: Any) -> str:
    return f"+{compiler.process(element.clauses, **how)}"


# ---- looking --------------------------------------------------------------------------------------------------------


def page(connection: Connection, wanted: Wanted, *, before: int | None = None, limit: int = 100) -> Found:
    """The last `limit` exchanges before the id `before`, or of all."""
    spellings = _spellings(connection, wanted, wanted.action) if wanted.action is not None else None
    chosen: dict[int, Exchange] = {}
    scanned = 0
    while True:
        at_once = min(AT_ONCE, limit + 1) if scanned == 0 else AT_ONCE
        hits = _hits(connection, wanted, spellings, below=before, limit=at_once)
        for hit, exchange in _exchanges(connection, wanted, hits):
            if exchange is not None and exchange.first.id not in chosen and wanted.fits(exchange):
                if len(chosen) == limit:
                    return Found(exchanges=_in_order(chosen), more_before=before)
                chosen[exchange.first.id] = exchange
            before = hit.id
        scanned += len(hits)
        if len(hits) < at_once:
            return Found(exchanges=_in_order(chosen))
        if scanned >= SCANNED_AT_MOST:
            return Found(exchanges=_in_order(chosen), more_before=before)


def following(connection: Connection, wanted: Wanted, *, after: int, limit: int = AT_ONCE) -> list[Exchange]:
    """The first `limit` exchanges of the station, action and time that begin after the id `after`, in their order. Whether
    one fits in all else is known once it is complete."""
    log = Message.__table__.c
    spellings = _spellings(connection, wanted, wanted.action) if wanted.action is not None else None
    query = _where(select(Message.__table__), wanted, spellings).where(BEGINS, log.id > after).order_by(log.id)
    firsts = [_entry(row) for row in connection.execute(query.limit(limit))]
    return paired(connection, firsts)


def entries_after(connection: Connection, after: int, *, until: int | None = None, limit: int) -> list[Entry]:
    """Frames as they were written, behind the id `after` and up to `until`."""
    log = Message.__table__.c
    query = select(Message.__table__).where(log.id > after).order_by(log.id).limit(limit)
    if until is not None:
        query = query.where(log.id <= until)
    return [_entry(row) for row in connection.execute(query)]


def newest(connection: Connection, *, until: int | None = None) -> int:
    """The last id, up to `until`; 0 when nothing was written yet."""
    log = Message.__table__.c
    query = select(log.id).order_by(log.id.desc())
    if until is not None:
        query = query.where(log.id <= until)
    last = _newest_first(connection, query, below=None if until is None else until + 1, limit=1)
    return last[0].id if last else 0


def exchange_of(connection: Connection, id_: int) -> Exchange | None:
    """The exchange that holds the frame with this id; None when there is no such frame (any more)."""
    row = connection.execute(select(Message.__table__).where(Message.id == id_)).one_or_none()
    if row is None:
        return None
    [(_, exchange)] = _exchanges(connection, None, [_entry(row)])
    return exchange


def of_transaction(connection: Connection, transaction_id: str) -> Wanted | None:
    """The messages that name a transaction: its start by the answer, its samples, its end, what was asked of it. `connection`
    is to the core's tables. None when there is no such transaction."""
    row = Transaction
    query = select(
        row.station_id,
        row.number,
        row.transaction_ref,
        row.started_received_at,
        row.ended_received_at,
        row.last_sample_at,
    )
    found = connection.execute(query.where(row.id == transaction_id)).one_or_none()
    if found is None:
        return None
    last = max([at for at in (found.ended_received_at, found.last_sample_at) if at is not None], default=None)
    over = last is not None and found.ended_received_at is not None
    name = found.transaction_ref or str(found.number)
    return Wanted(
        station=found.station_id,
        since=found.started_received_at - STARTED_WITHIN,
        until=last + LATE_SAMPLES_WITHIN if last is not None and over else None,
        naming=tuple(f'"transactionId":{space}{quote}{name}{end}' for space in ("", " ") for quote, end in NAME_ENDS),
    )


def paired(connection: Connection, firsts: Sequence[Entry]) -> list[Exchange]:
    """Each with its answer: its twin, or one that is looked for. Such an answer belongs to the last call of its station, id
    and opposite direction before it that has no twin, since chargers use ids again."""
    answers = _answers(connection, [entry for entry in firsts if entry.message_type in ANSWERED and entry.message_id])
    return [Exchange(first=entry, answer=answers.get(entry.id)) for entry in firsts]


def _id_now() -> int:
    """The least id of this microsecond."""
    return (time.time_ns() // 1000 - ID_EPOCH_US) << RANDOM_BITS


def id_at(at: datetime) -> int:
    """The least id that is written at this moment."""
    since_epoch = int((at - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)) - ID_EPOCH_US
    return min(max(since_epoch, 0) << RANDOM_BITS, 2**63 - 1)


def at_of(id_: int) -> datetime:
    """The moment in which the row with this id was written."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=(id_ >> RANDOM_BITS) + ID_EPOCH_US)


def _hits(
    connection: Connection, wanted: Wanted, spellings: Sequence[str] | None, *, below: int | None, limit: int
) -> list[Entry]:
    """The last rows that an index gives for what is wanted: where exchanges begin, or where a frame itself is what was
    looked for (its message id, its failure), be it a request or an answer."""
    log = Message.__table__.c
    if wanted.message_id is not None:
        # From one id to the same: of an equation SQLite would put the id into LAST_LETTER, and find no index for that.
        same = log.message_id.between(wanted.message_id, wanted.message_id)
        ids = select(log.id).where(NAMED, wanted.message_id[-1:] == LAST_LETTER, same)
        if wanted.station is not None:
            ids = ids.where(log.station_id == wanted.station)
        ids = _written(ids, wanted)
        ids = ids if below is None else ids.where(log.id < below)
        # One after the other: an id that a subquery gives would be looked for in all months.
        chosen = [row.id for row in _newest_first(connection, ids.order_by(log.id.desc()), below=below, limit=limit)]
        if not chosen:
            return []
        query = select(Message.__table__).where(log.id.in_(chosen), log.id.between(chosen[-1], chosen[0]))
        return [_entry(row) for row in connection.execute(query.order_by(log.id.desc()))]
    outward = wanted.direction == "out" and not wanted.errors
    query = _where(select(Message.__table__), wanted, spellings, station=_Unled(log.station_id) if outward else None)
    query = query.where(BAD if wanted.errors else BEGINS)
    if outward:  # we ask few things of a station among all that it says
        query = query.where(OUTWARD)
    elif wanted.direction is not None and not wanted.errors:
        query = query.where(log.direction == wanted.direction)
    if below is not None:
        query = query.where(log.id < below)
    rows = _newest_first(connection, query.order_by(log.id.desc()), below=below, limit=limit)
    return [_entry(row) for row in rows]


def _newest_first(connection: Connection, query: Select[Any], *, below: int | None, limit: int) -> Sequence[Row[Any]]:
    """The first `limit` of a query whose ids fall from `below` on. Where the log lies in months, the last of them is asked
    alone first: most often it has enough."""
    if connection.dialect.name == "sqlite":
        return connection.execute(query.limit(limit)).all()
    log = Message.__table__.c
    begun = id_at(month_of(at_of(_id_now() if below is None else below - 1)))
    found = connection.execute(query.where(log.id >= begun).limit(limit)).all()
    if len(found) == limit:
        return found
    return [*found, *connection.execute(query.where(log.id < begun).limit(limit - len(found)))]


def _where(
    query: Select[Any], wanted: Wanted, spellings: Sequence[str] | None, *, station: ColumnElement[str] | None = None
) -> Select[Any]:
    """`station`: in which words the station's column leads to the index that is meant."""
    log = Message.__table__.c
    if wanted.station is not None:
        query = query.where((log.station_id if station is None else station) == wanted.station)
    if spellings is not None:
        action = log.action if wanted.station is None else _Unled(log.action)
        query = query.where(action == spellings[0] if len(spellings) == 1 else action.in_(spellings))
    query = _written(query, wanted)
    if wanted.until is not None and not wanted.errors:  # an answer may have failed later
        query = query.where(log.at <= wanted.until)
    return query


def _written(query: Select[Any], wanted: Wanted) -> Select[Any]:
    """The span of time by id, which every index ends with and by which months are told apart; `fits` knows better."""
    log = Message.__table__.c
    if wanted.since is not None:
        query = query.where(log.id >= id_at(wanted.since - EARLY))
    if wanted.until is not None:
        query = query.where(log.id < id_at(wanted.until + WRITTEN_WITHIN))
    return query


def _in_whole_months(wanted: Wanted) -> Wanted:
    since = None if wanted.since is None else month_of(wanted.since - EARLY) + EARLY
    until = None if wanted.until is None else months_later(month_of(wanted.until + WRITTEN_WITHIN)) - WRITTEN_WITHIN
    return Wanted(since=since, until=until)


def _exchanges(
    connection: Connection, wanted: Wanted | None, hits: Sequence[Entry]
) -> Iterator[tuple[Entry, Exchange | None]]:
    """Each hit with its exchange; None where its answer is a hit too, by which the exchange was found already."""
    calls = _calls(connection, [hit for hit in hits if not hit.begins])
    firsts = {entry.id: entry for entry in (*(hit for hit in hits if hit.begins), *calls.values())}
    whole = {
        exchange.first.id: exchange
        for exchange in paired(connection, sorted(firsts.values(), key=lambda entry: entry.id))
    }
    for hit in hits:
        if hit.begins:
            exchange = whole[hit.id]
            answer = exchange.answer
            twice = (
                wanted is not None
                and answer is not None
                and ((wanted.message_id is not None and answer.twin is None) or _bad(wanted, answer))
            )
            yield hit, None if twice else exchange
        elif (call := calls.get(hit.id)) is not None and whole[call.id].answer == hit:
            yield hit, whole[call.id]
        else:
            yield hit, Exchange(first=hit)  # its call is gone


def _bad(wanted: Wanted, answer: Entry) -> bool:
    return wanted.errors and answer.result != "ok"


def _in_order(chosen: Mapping[int, Exchange]) -> list[Exchange]:
    return [chosen[id_] for id_ in sorted(chosen)]


def _spellings(connection: Connection, wanted: Wanted, action: str) -> Sequence[str]:
    """As the log spells it then. Each action there ever was is one probe of an index, and there are few; within a span of
    time it would be a walk over all that the last one did before. Where the log lies in months, those that are meant are
    asked, each whole."""
    log = Message.__table__.c
    same, found = action.casefold(), [action]
    last: str | None = ""
    actions = select(log.action).where(BEGINS).order_by(log.action).limit(1)
    if connection.dialect.name != "sqlite":
        actions = _written(actions, _in_whole_months(wanted))
    for _ in range(ACTIONS_AT_MOST):
        last = connection.execute(actions.where(log.action > last)).scalar()
        if last is None:
            break
        if last.casefold() == same and last != action:
            found.append(last)
    then = _written(actions, wanted)
    return [name for name in found if connection.execute(then.where(log.action == name)).scalar()] or [action]


def _answers(connection: Connection, calls: Sequence[Entry]) -> Mapping[int, Entry]:
    """By the id of the call."""
    found = {twin.id - 1: twin for twin in _twins(connection, calls)}
    calls = [entry for entry in calls if entry.twin is None]
    around = _beside(connection, [(entry, entry.id, entry.id + ANSWERED_IDS) for entry in calls])
    open_calls: dict[tuple[str, str, str], int] = {}
    for entry in around:
        if entry.message_type in ANSWERED:
            open_calls[entry.station_id, entry.message_id, entry.direction] = entry.id
        elif not entry.begins:
            call = open_calls.pop((entry.station_id, entry.message_id, OPPOSITE.get(entry.direction, "")), None)
            if call is not None:
                found[call] = entry
    return found


def _calls(connection: Connection, answers: Sequence[Entry]) -> Mapping[int, Entry]:
    """By the id of the answer: its twin, or the last call before it that it can belong to."""
    found = {twin.id + 1: twin for twin in _twins(connection, answers)}
    answers = [entry for entry in answers if entry.twin is None]
    around = _beside(connection, [(entry, entry.id - ANSWERED_IDS, entry.id - 1) for entry in answers])
    calls: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in around:
        if entry.message_type in ANSWERED:
            calls.setdefault((entry.station_id, entry.message_id, entry.direction), []).append(entry)
    for answer in answers:
        key = (answer.station_id, answer.message_id, OPPOSITE.get(answer.direction, ""))
        before = [call for call in calls.get(key, ()) if call.id < answer.id]
        if before:
            found[answer.id] = before[-1]
    return found


def _twins(connection: Connection, entries: Iterable[Entry]) -> list[Entry]:
    """The other half of each of these that has a twin."""
    ids = [entry.id + entry.twin for entry in entries if entry.twin is not None]
    if not ids:
        return []
    log = Message.__table__.c
    query = select(Message.__table__).where(log.id.in_(ids), log.id.between(min(ids), max(ids)))
    return [_entry(row) for row in connection.execute(query)]


def _beside(connection: Connection, ranges: Sequence[tuple[Entry, int, int]]) -> list[Entry]:
    """All rows without a twin, of the same station and message id, from the one id to the other, in order, each once."""
    if not ranges:
        return []
    log = Message.__table__.c
    columns = (
        column("message", Text),
        column("station", Text),
        column("least", BigInteger),
        column("most", BigInteger),
    )
    keys = values(*columns, name="keys").data(
        [(entry.message_id, entry.station_id, least, most) for entry, least, most in ranges]
    )
    near = keys.cte("near")
    query = (
        select(Message.__table__)
        .join_from(
            near,
            Message.__table__,
            and_(
                log.message_id == near.c.message,
                log.station_id == near.c.station,
                log.id.between(near.c.least, near.c.most),
            ),
        )
        .where(UNPAIRED, log.id.between(min(least for _, least, _ in ranges), max(most for _, _, most in ranges)))
    )
    found = {row.id: row for row in connection.execute(query)}
    return [_entry(found[id_]) for id_ in sorted(found)]


def _entry(row: Row[Any]) -> Entry:
    values = dict(row._mapping)
    return Entry(text=values.pop("frame"), **values)
