"""Who is alive: each process says so every second, and learns who else is, and how much waits in the streams."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

import structlog

from csms.bus import names
from csms.bus.client import AWAY, Client
from csms.bus.outbox import INBOX_OUTLIVES_MS

log = structlog.get_logger(__name__)

ALIVE_S: Final = 5.0  # after its last beat
BEAT_S: Final = 1.0

# KEYS: alive of my role, alive workers, alive gateways, silent gateways, my inbox, dead letters, streams...; ARGV: me, alive
# ms, inbox ms. A gateway that fell silent is noted, until a worker has told the core of its stations.
BEAT: Final = """
local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)
local now = string.format('%.0f', ms)
local known = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], string.format('%.0f', ms + ARGV[2]), ARGV[1])
redis.call('PEXPIRE', KEYS[5], ARGV[3])
for _, gateway in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now)) do
  redis.call('SADD', KEYS[4], gateway)
end
for i = 1, 3 do redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now) end
local depths, firsts = {}, {}
for i = 7, #KEYS do
  depths[#depths + 1] = redis.call('XLEN', KEYS[i])
  local first = redis.call('XRANGE', KEYS[i], '-', '+', 'COUNT', 1)[1]
  firsts[#firsts + 1] = first and first[1] or ''
end
return {now, known and 1 or 0, redis.call('ZRANGE', KEYS[2], 0, -1), redis.call('ZRANGE', KEYS[3], 0, -1),
        redis.call('SMEMBERS', KEYS[4]), depths, firsts, redis.call('XLEN', KEYS[6]),
        string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') or ''}
"""


class Measures(NamedTuple):
    """`depths` and `oldest_s` by stream: how many entries it holds, and for how long its first has been there."""

    depths: Sequence[int]
    oldest_s: Sequence[float]
    workers: int
    gateways: int
    dead_letters: int
    away: bool
    clock_ahead_s: float  # this host's, of Redis's


class Life:
    """What the last beat told; `depths` by stream."""

    def __init__(self, client: Client, *, role: str, process_id: str, streams: int) -> None:
        self._client = client
        self._arguments = (process_id, int(ALIVE_S * 1000), INBOX_OUTLIVES_MS)
        self._mine = names.alive(role)
        self._process_id = process_id
        self._keys = (
            names.alive("worker"),
            names.alive("gateway"),
            names.SILENT,
            names.inbox(process_id),
            names.DEAD,
            *map(names.events, range(streams)),
        )
        self._heard_at = -ALIVE_S
        self._run: bytes | None = None
        self._redis_ahead_s: float | None = None  # of our monotonic clock
        self.workers: tuple[str, ...] = ()
        self.gateways: tuple[str, ...] = ()
        self.silent_gateways: tuple[str, ...] = ()
        self.depths: tuple[int, ...] = (0,) * streams
        self.oldest_s: tuple[float, ...] = (0.0,) * streams  # how long the first entry of each stream has been there
        self.dead_letters = 0
        self.beaten = asyncio.Event()  # set by each beat; whoever waits for one clears it first

    @property
    def away(self) -> bool:
        """Redis has not answered for so long that others take us for dead."""
        return time.monotonic() - self._heard_at > ALIVE_S

    def age_s(self, entry_id: str) -> float:
        """How long ago Redis took this entry, by its own clock."""
        return self.now_s() - int(entry_id.partition("-")[0]) / 1000

    def now_s(self) -> float:
        """By Redis's clock, as it was told at the last beat."""
        return time.monotonic() + (self._redis_ahead_s or 0.0)

    async def beat(self) -> bool:
        """Returns whether Redis knew us: at first it does not, nor after it lost what it held, nor when we were given up. One
        that started again, or another in its place, may lack the last that was said, though it knows us."""
        began = time.monotonic()
        answer = await self._client.script(BEAT, (self._mine, *self._keys), *self._arguments)
        now, known, workers, gateways, silent, depths, firsts, dead, run = answer
        self._heard_at = began
        self._redis_ahead_s = int(now) / 1000 - time.monotonic()
        self.workers = tuple(sorted(one.decode() for one in workers))
        self.gateways = tuple(sorted(one.decode() for one in gateways))
        self.silent_gateways = tuple(sorted(one.decode() for one in silent))
        self.depths = tuple(depths)
        self.oldest_s = tuple(self.age_s(first.decode()) if first else 0.0 for first in firsts)
        self.dead_letters = dead
        self.beaten.set()
        same, self._run = self._run in (None, run), run
        return bool(known) and same

    def measures(self) -> Measures:
        return Measures(
            depths=self.depths,
            oldest_s=self.oldest_s,
            workers=len(self.workers),
            gateways=len(self.gateways),
            dead_letters=self.dead_letters,
            away=self.away,
            clock_ahead_s=0.0 if self._redis_ahead_s is None else time.time() - self.now_s(),
        )

    async def become(self, role: str) -> None:
        """From now on the others count us among these."""
        before, self._mine = self._mine, names.alive(role)
        try:
            await self.beat()
            await self._client.ask("ZREM", before, self._process_id)
        except AWAY as error:
            log.warning("bus_away", error=f"{type(error).__name__}: {error}")

    async def end(self) -> None:
        """Nobody waits for us any more."""
        try:
            await self._client.ask("ZREM", self._mine, self._process_id)
        except AWAY as error:
            log.warning("bus_away", error=f"{type(error).__name__}: {error}")
