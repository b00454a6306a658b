"""Where a station is: the gateway that holds its newest socket is looked up by all, and the core hears of it in the stream."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final

import msgspec
import structlog

from csms.bus import ConnectionClosed, ConnectionOpened, names
from csms.bus.client import Client
from csms.bus.entries import Closed, Duplicated, Entry, Opened, Seen, entry_to_bytes
from csms.bus.outbox import INBOX_LENGTH, INBOX_OUTLIVES_MS, Outbox
from csms.events import new_event_id

log = structlog.get_logger(__name__)

SEEN_EVERY_S: Final = 5.0
AT_ONCE: Final = 1000

# Each script changes where a station is and tells the core of it, or neither. KEYS: where, the station's stream.

# ARGV: station, process, connection, entry, inbox's prefix, its length, its life. The newest socket wins, and an older one at
# another gateway is told so (T9).
ARRIVE: Final = """
local old = redis.call('HGET', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
redis.call('XADD', KEYS[2], '*', 'e', ARGV[4])
if not old then return end
local gateway, connection = string.match(old, '^(%S+) (%S+)$')
if gateway == ARGV[2] then return end
local inbox = ARGV[5] .. gateway
redis.call('XADD', inbox, 'MAXLEN', '~', ARGV[6], '*', 'm', cmsgpack.pack({{'displaced', ARGV[1], connection, ARGV[3]}}))
redis.call('PEXPIRE', inbox, ARGV[7], 'NX')
"""

# As ARRIVE, by a gateway that others gave up or Redis forgot: whoever came elsewhere meanwhile is there, and ours is older.
STAY: Final = """
local old = redis.call('HGET', KEYS[1], ARGV[1])
local mine = ARGV[2] .. ' ' .. ARGV[3]
local gateway, connection
if old then gateway, connection = string.match(old, '^(%S+) (%S+)$') end
if gateway and gateway ~= ARGV[2] then
  local inbox = ARGV[5] .. ARGV[2]
  redis.call('XADD', inbox, 'MAXLEN', '~', ARGV[6], '*', 'm', cmsgpack.pack({{'displaced', ARGV[1], ARGV[3], connection}}))
  return
end
redis.call('HSET', KEYS[1], ARGV[1], mine)
redis.call('XADD', KEYS[2], '*', 'e', ARGV[4])
"""

# ARGV: station, process, connection, entry.
LEAVE: Final = """
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] .. ' ' .. ARGV[3] then redis.call('HDEL', KEYS[1], ARGV[1]) end
redis.call('XADD', KEYS[2], '*', 'e', ARGV[4])
"""

# KEYS: also alive gateways; ARGV as LEAVE. Of a gateway that died, so once, and not when it lives again.
GIVE_UP: Final = """
if redis.call('ZSCORE', KEYS[3], ARGV[2]) then return 0 end
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] .. ' ' .. ARGV[3] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('XADD', KEYS[2], '*', 'e', ARGV[4])
return 1
"""

# KEYS: where, alive gateways; ARGV: station. The process that holds the station, if it is alive.
LOOK: Final = """
local at = redis.call('HGET', KEYS[1], ARGV[1])
if not at then return false end
local gateway = string.match(at, '^%S+')
local time = redis.call('TIME')
local until_ms = redis.call('ZSCORE', KEYS[2], gateway)
if until_ms and tonumber(until_ms) > time[1] * 1000 + math.floor(time[2] / 1000) then return gateway end
return false
"""


class Arrivals:
    """A gateway's bus.Presence: whoever is told by `opened` is here, until `closed`."""

    def __init__(self, outbox: Outbox, *, process_id: str, streams: int, away: Callable[[], bool]) -> None:
        self._outbox = outbox
        self._away = away
        self._process_id = process_id
        self._streams = streams
        self._here: dict[str, ConnectionOpened] = {}
        self._seen: dict[str, datetime] = {}

    async def run(self) -> None:
        """Tells who gave a sign of life, every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(SEEN_EVERY_S)
            self.tell_seen()

    def opened(self, connection: ConnectionOpened, /) -> None:
        self._here[connection.station_id] = connection
        self._move(ARRIVE, connection)

    def closed(self, connection: ConnectionClosed, /) -> None:
        station_id, connection_id = connection.station_id, connection.connection_id
        here = self._here.get(station_id)
        if here is not None and here.connection_id == connection_id:
            del self._here[station_id]
            self._seen.pop(station_id, None)
        news = Closed(msgspec.structs.replace(connection, news_id=new_event_id()))
        self._put(LEAVE, station_id, connection_id, news)

    def duplicate(self, station_id: str, older: str, newer: str, /) -> None:
        entry = entry_to_bytes(Duplicated(station_id, older, newer))
        self._outbox.put("XADD", self._stream(station_id), "*", "e", entry)

    def seen(self, station_id: str, at: datetime, /) -> None:
        self._seen[station_id] = at

    def tell_seen(self) -> None:
        """While Redis is away each station's last sign is kept, and no row of them grows."""
        if self._away():
            return
        seen, self._seen = self._seen, {}
        by_stream: dict[str, dict[str, datetime]] = {}
        for station_id, at in seen.items():
            by_stream.setdefault(self._stream(station_id), {})[station_id] = at
        for stream, stations in by_stream.items():
            self._outbox.put("XADD", stream, "*", "e", entry_to_bytes(Seen(stations)))

    def say_again(self) -> None:
        """Redis may have lost what it held, or others took us for dead."""
        for connection in self._here.values():
            self._move(STAY, connection, again=True)

    def _move(self, script: str, connection: ConnectionOpened, *, again: bool = False) -> None:
        inbox = (names.inbox(""), INBOX_LENGTH, INBOX_OUTLIVES_MS)
        news = Opened(msgspec.structs.replace(connection, news_id=new_event_id()), again)
        self._put(script, connection.station_id, connection.connection_id, news, *inbox)

    def _put(self, script: str, station_id: str, connection_id: str, entry: Entry, *more: object) -> None:
        keys = (names.WHERE, self._stream(station_id))
        arguments = (station_id, self._process_id, connection_id, entry_to_bytes(entry), *more)
        self._outbox.put("EVAL", script, len(keys), *keys, *arguments)

    def _stream(self, station_id: str) -> str:
        return names.events(names.stream_of(station_id, self._streams))


async def gateway_of(client: Client, station_id: str) -> str | None:
    """The process that holds the station's newest socket; None: no gateway that is alive does."""
    found = await client.script(LOOK, [names.WHERE, names.alive("gateway")], station_id)
    return None if found is None else found.decode()


async def held(client: Client) -> frozenset[str]:
    """The ids of the connections that count, at any gateway."""
    places = await client.ask("HVALS", names.WHERE)
    return frozenset(place.decode().rpartition(" ")[2] for place in places)


async def give_up(client: Client, gateway: str, *, streams: int, clock: Callable[[], datetime]) -> int:
    """The core hears that the stations of a gateway that died are gone; returns how many. Any number of workers may do it, as
    often as they like."""
    given, cursor = 0, 0
    while True:
        answer = await client.ask("HSCAN", names.WHERE, cursor, "COUNT", AT_ONCE)
        cursor, places = int(answer[0]), answer[1]
        there = [(station_id.decode(), *place.decode().split(" ", 1)) for station_id, place in places.items()]
        commands = [
            _giving_up(station_id, gateway, connection_id, streams=streams, now=clock())
            for station_id, process_id, connection_id in there
            if process_id == gateway
        ]
        if commands:
            given += sum(answer for answer in await client.write(commands) if isinstance(answer, int))
        if cursor == 0:
            break
    if await client.ask("SREM", names.SILENT, gateway):
        log.warning("gateway_died", gateway=gateway, stations=given)
    return given


def _giving_up(station_id: str, gateway: str, connection_id: str, *, streams: int, now: datetime) -> tuple[object, ...]:
    closed = ConnectionClosed(
        connection_id=connection_id,
        station_id=station_id,
        closed_at=now,
        reason="its gateway died",
        news_id=new_event_id(),
    )
    keys = (names.WHERE, names.events(names.stream_of(station_id, streams)), names.alive("gateway"))
    arguments = (station_id, gateway, connection_id, entry_to_bytes(Closed(closed)))
    return ("EVAL", GIVE_UP, len(keys), *keys, *arguments)
