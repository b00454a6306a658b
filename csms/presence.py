"""Who is here: the gateway tells who came and went, and the core writes it."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, cast

from sqlalchemy import (
    BindParameter,
    Column,
    ColumnElement,
    Connection,
    Table,
    bindparam,
    case,
    func,
    null,
    or_,
    select,
    update,
)

from csms import handled, models, station_security
from csms.admissions import Admissions
from csms.alerts import Alarm, raise_alarms
from csms.bus import ConnectionClosed, ConnectionOpened
from csms.database import Database, insert_for
from csms.journal import Fact, FactType, append
from csms.locations import touch_stations
from csms.many_rows import ManyRows
from csms.models import Station
from csms.prepared import Look, among

SEEN_EVERY_S = 5.0
# Signs of life in a transaction: those of ten thousand would keep everybody waiting for 0.1 s and more.
SEEN_AT_ONCE = 500

News = ConnectionOpened | ConnectionClosed | Alarm


class Stations(Admissions):
    """Answers the gateway's questions, and takes its word for who is connected (bus.Credentials, bus.Presence)."""

    def __init__(self, database: Database, *, strangers: bool, clock: Callable[[], datetime]) -> None:
        super().__init__(database, strangers=strangers)
        self._clock = clock
        self._seen: dict[str, datetime] = {}
        self._unwritten: dict[str, datetime] = {}  # signs of life whose turn it is; of the thread that writes
        self._seen_pause_s = SEEN_EVERY_S
        self._news: deque[News] = deque()
        self.told = 0  # news so far
        self.written = 0  # of these, so many are committed, or refused for good
        self.on_news: Callable[[], None] = lambda: None
        self.on_opened: Callable[[ConnectionOpened], None] = lambda _: None

    def opened(self, connection: ConnectionOpened, /) -> None:
        self._knocking.opened(connection.station_id)
        self._tell(connection)
        self.on_opened(connection)

    def stays(self, connection: ConnectionOpened, /) -> None:
        """It is open as it was, though somebody believed it gone: nothing follows from that."""
        self._tell(connection)

    def closed(self, connection: ConnectionClosed, /) -> None:
        self._seen.pop(connection.station_id, None)
        self._knocking.closed(connection.station_id)
        self._tell(connection)

    def duplicate(self, station_id: str, older: str, newer: str, /) -> None:
        """B13: two boxes answer to one identity. The newer is served; somebody must look."""
        detail = {"older": older, "newer": newer}
        self._tell(Alarm(kind="duplicate_identity", subject=station_id, station_id=station_id, detail=detail))

    def seen(self, station_id: str, at: datetime, /) -> None:
        self._seen[station_id] = at

    def _tell(self, news: News) -> None:
        self._news.append(news)
        self.told += 1
        self.on_news()

    def news(self) -> Sequence[News]:
        """Who came and went and is not written yet, in order."""
        return list(self._news)

    def forget(self, written: int) -> None:
        """The first `written` of `news` are committed."""
        for _ in range(written):
            self._news.popleft()
        self.written += written

    def flush_seen(self) -> None:
        """Write the last sign of life of each station that gave one (C02, T8), now."""
        while self._unwritten or self._seen:
            self.flush_some_seen()

    def flush_some_seen(self) -> float:
        """Write some of them; returns after how many seconds more are due, so that each is written every `SEEN_EVERY_S`."""
        if not self._unwritten:
            seen, self._seen = self._seen, {}
            self._unwritten = dict(sorted(seen.items()))
            self._seen_pause_s = SEEN_EVERY_S / max(1, math.ceil(len(seen) / SEEN_AT_ONCE))
        names = list(islice(self._unwritten, SEEN_AT_ONCE))
        if names:
            rows = [{"the_station": name, "at": self._unwritten[name]} for name in names]
            self._database.transact(lambda connection: _SEEN.execute(connection, rows))
            for name in names:
                del self._unwritten[name]
        return self._seen_pause_s

    def close_stale(self) -> None:
        """At start: sockets that an earlier process left open are gone; their last frame is the last we heard."""
        now = self._clock()
        with self._database.write() as connection:
            last_seen = select(Station.last_seen_at).where(Station.station_id == models.Connection.station_id)
            connection.execute(
                update(models.Connection)
                .where(models.Connection.closed_at.is_(None))
                .values(
                    closed_at=now,
                    last_frame_at=func.coalesce(last_seen.scalar_subquery(), models.Connection.opened_at),
                    close_reason="the service stopped",
                )
            )
            connection.execute(
                update(Station).where(Station.connection_id.is_not(None)).values(connection_id=None, offline_since=now)
            )


_STATIONS = cast(Table, Station.__table__)
_CONNECTIONS = cast(Table, models.Connection.__table__)


def _given(name: str, column: Column[Any]) -> BindParameter[Any]:
    """A parameter of a row, in the column's own spelling."""
    return bindparam(name, type_=column.type)


_S, _C = _STATIONS.c, _CONNECTIONS.c
_STATION, _AT = _given("the_station", _S.station_id), _given("at", _S.last_seen_at)
_LAST_SEEN = select(_S.last_seen_at).where(_S.station_id == _C.station_id).scalar_subquery()


def _older(moment: BindParameter[Any]) -> ColumnElement[bool]:
    return or_(_S.last_seen_at.is_(None), _S.last_seen_at < moment)


def _latest(moment: BindParameter[Any]) -> ColumnElement[datetime]:
    """Never back: what is told twice may come late, and who died told nothing."""
    return case((_older(moment), moment), else_=_S.last_seen_at)


_SEEN = ManyRows(update(_STATIONS).where(_S.station_id == _STATION, _older(_AT)).values(last_seen_at=_AT), [])
_NEW, _OLD = _given("new", _C.connection_id), _given("old", _C.connection_id)
_HEARD = _given("heard", _S.last_seen_at)
_KNOWN = select(_C.connection_id).where(_C.connection_id == _NEW).exists()
# Told once more, perhaps by a worker that was stopped for long: whoever came after it stays.
_HERE = ManyRows(
    update(_STATIONS)
    .where(_S.station_id == _STATION, or_(_S.connection_id.is_(None), _S.connection_id == _NEW, ~_KNOWN))
    .values(
        connection_id=_NEW,
        connected_at=_AT,
        last_seen_at=_latest(_AT),
        offline_since=null(),
        ocpp_version=_given("version", _S.ocpp_version),
    ),
    [],
)
_CLOSED = ManyRows(
    update(_CONNECTIONS)
    .where(_C.connection_id == _OLD)
    .values(
        closed_at=_AT,
        last_frame_at=func.coalesce(_HEARD, _LAST_SEEN),
        close_code=_given("code", _C.close_code),
        close_reason=_given("why", _C.close_reason),
    ),
    [],
)
_GONE = ManyRows(
    update(_STATIONS)
    .where(_S.station_id == _STATION, _S.connection_id == _OLD)
    .values(connection_id=null(), offline_since=_AT, last_seen_at=_latest(_HEARD)),
    [],
)
OPENED = ("connection_id", "station_id", "ocpp_version", "peer", "opened_at", "security_profile", "certificate")


def _opening(dialect: str) -> ManyRows:
    """One that was told to have ended and is here: its gateway was only taken for dead."""
    still_open = {"closed_at": null(), "last_frame_at": null(), "close_reason": null()}
    insert = insert_for(dialect, _CONNECTIONS).on_conflict_do_update(index_elements=["connection_id"], set_=still_open)
    return ManyRows(insert, OPENED)


_OPENED = {dialect: _opening(dialect) for dialect in ("sqlite", "postgresql")}
_TOLD_AWAY = Look(select(_S.station_id).where(among(_S.station_id, "stations"), _S.offline_told.is_(True)))


def write_news(connection: Connection, news: Sequence[News], now: datetime) -> None:
    """At the head of a batch, so that what a connection delivers is judged with the connection known. All that came are
    written before all that went: a socket that went takes its station away only while none came after it. News that was
    written before, perhaps by another worker, is left out: since then its station may have come again."""
    news = _once(connection, news, now)
    raise_alarms(connection, [item for item in news if isinstance(item, Alarm)], now)
    if came := [item for item in news if isinstance(item, ConnectionOpened)]:
        _write_came(connection, came, now)
    if went := _gone_for_good(news):
        rows = [
            {
                "the_station": item.station_id,
                "old": item.connection_id,
                "at": item.closed_at,
                "heard": item.last_frame_at,
                "code": item.code,
                "why": item.reason,
            }
            for item in sorted(went, key=lambda item: item.station_id)
        ]
        _CLOSED.execute(connection, rows)
        _GONE.execute(connection, rows)


def _once(connection: Connection, news: Sequence[News], now: datetime) -> Sequence[News]:
    ids = {item.news_id for item in news if not isinstance(item, Alarm) and item.news_id}
    if not ids:
        return news
    fresh = set(handled.first(connection, ids, now))
    kept = []
    for item in news:
        if isinstance(item, Alarm) or not item.news_id:
            kept.append(item)
        elif item.news_id in fresh:
            fresh.discard(item.news_id)  # a bus may tell it twice at once
            kept.append(item)
    return kept


def _gone_for_good(news: Sequence[News]) -> Sequence[ConnectionClosed]:
    """Not those that were only believed gone, and came again."""
    last: dict[str, News] = {item.connection_id: item for item in news if not isinstance(item, Alarm)}
    return [item for item in last.values() if isinstance(item, ConnectionClosed)]


def _write_came(connection: Connection, came: Sequence[ConnectionOpened], now: datetime) -> None:
    rows = [{name: getattr(item, name) for name in OPENED} for item in came]
    here = [
        {
            "the_station": item.station_id,
            "new": item.connection_id,
            "at": item.opened_at,
            "version": item.ocpp_version,
        }
        for item in sorted({item.station_id: item for item in came}.values(), key=lambda item: item.station_id)
    ]
    _HERE.execute(connection, here)
    _OPENED[connection.dialect.name].execute(connection, rows)
    append(connection, station_security.proven(connection, came), now=now)
    stations = sorted({item.station_id for item in came})
    back = sorted(row[0] for row in _TOLD_AWAY.rows(connection, stations=stations))
    if back:
        connection.execute(update(Station).where(Station.station_id.in_(back)).values(offline_told=False))
        facts = [Fact(type=FactType.STATION_ONLINE, subject=station_id, station_id=station_id) for station_id in back]
        append(connection, [*facts, *touch_stations(connection, back, now)], now=now)
