"""A worker reads its streams: each station's entries in their order, handled once, answered, and deleted after the commit."""

import asyncio
import time
from collections import deque
from collections.abc import Collection
from typing import Final

import msgspec
import structlog

from csms import clock
from csms.bus import names
from csms.bus.claims import MOST_DELIVERIES, SUSPECT, Claims
from csms.bus.client import AWAY, Client, ResponseError
from csms.bus.dead_letters import burial
from csms.bus.entries import (
    Closed,
    Duplicated,
    Entry,
    NotHandled,
    Opened,
    Replied,
    Reported,
    Seen,
    entry_from_bytes,
    raw,
)
from csms.bus.leases import Leases
from csms.bus.life import Life
from csms.bus.outbox import PAUSE_S, Outbox
from csms.core import Csms, NotStored
from csms.database import away

log = structlog.get_logger(__name__)

AT_ONCE: Final = 1000  # entries in the hands of one worker
BLOCK_MS: Final = 200  # shorter than any lease: who was stopped in a read never reads under a lease that ran out
TICK_S: Final = 1.0
STRAYS_EVERY_S: Final = 5.0
STRAY_AFTER_MS: Final = 5000
DRAIN_S: Final = 5.0
TRY_AGAIN_S: Final = 1.0  # while the database is away, or the core is started again

CLOCKS_TOLD_EVERY_S: Final = 60.0
TURN_S: Final = 0.05  # so long are reads put off at most, for what a commit brings

# KEYS: streams; ARGV: group, of each stream how many and their ids. Deleted with the acknowledgement, so that the length of a
# stream is what waits.
DONE: Final = """
local at = 2
for _, stream in ipairs(KEYS) do
  local last = at + tonumber(ARGV[at])
  redis.call('XACK', stream, ARGV[1], unpack(ARGV, at + 1, last))
  redis.call('XDEL', stream, unpack(ARGV, at + 1, last))
  at = last + 1
end
"""


class Taken(msgspec.Struct, frozen=True):
    stream: int
    entry_id: str
    data: bytes
    entry: Entry
    died: int = 0  # so often, before a person sent it again

    @property
    def key(self) -> tuple[int, str]:
        return self.stream, self.entry_id


class Consumer:
    def __init__(
        self,
        client: Client,
        outbox: Outbox,
        leases: Leases,
        life: Life,
        core: Csms,
        *,
        process_id: str,
    ) -> None:
        self._line = client.line()
        self._outbox = outbox
        self._leases = leases
        self._life = life
        self._core = core
        self._process_id = process_id
        self._hands: set[tuple[int, str]] = set()  # what is ours and not done
        self._chains: dict[str, deque[Taken]] = {}  # by station, the first is at the core
        self._unwritten: deque[tuple[int, Taken]] = deque()  # presence that is told to the core and not committed yet
        self._done: dict[int, list[str]] = {}
        self._claims = Claims(client, process_id=process_id)
        self._room = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._taken_over: frozenset[int] = frozenset()
        self._strays_at = 0.0
        self._told_of_clocks_at = -CLOCKS_TOLD_EVERY_S

    async def run(self) -> None:
        """Reads until cancelled, then finishes what it took and gives its streams away."""
        keeping = asyncio.create_task(self._keep_leases())
        try:
            while True:
                try:
                    await self._read_next()
                except AWAY as error:
                    log.warning("stream_away", error=f"{type(error).__name__}: {error}"[:300])
                    await self._mend(error)
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await self._leave()

    # ---- whose streams ----------------------------------------------------------------------------------------------

    async def _keep_leases(self) -> None:
        while True:
            try:
                await self._renew()
            except AWAY as error:
                log.warning("leases_not_renewed", error=f"{type(error).__name__}: {error}"[:300])
                self._leases.lapse()
            await asyncio.sleep(TICK_S)

    async def _renew(self) -> None:
        gained = frozenset(await self._leases.renew(len(self._life.workers)))
        self._taken_over = (self._taken_over & self._leases.held) - gained
        idle = [stream for stream in self._leases.leaving if not self._in_hand(stream)]
        await self._leases.give(idle)

    def _in_hand(self, stream: int) -> bool:
        return any(held == stream for held, _ in self._hands)

    async def _leave(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=DRAIN_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._settle()
        await self._line.give_back()
        await self._outbox.emptied(DRAIN_S)
        try:
            await self._leases.give(sorted(self._leases.held))
        except AWAY as error:
            log.warning("leases_not_given", error=f"{type(error).__name__}: {error}"[:300])

    async def _mend(self, error: Exception) -> None:
        if isinstance(error, ResponseError) and str(error).startswith("NOGROUP"):
            self._taken_over = frozenset()  # Redis lost them
        await asyncio.sleep(PAUSE_S)

    # ---- reading ----------------------------------------------------------------------------------------------------

    async def _read_next(self) -> None:
        self._settle()
        mine = self._leases.held - self._leases.leaving if self._leases.valid else frozenset()
        for stream in sorted(mine - self._taken_over):
            await self._take_over(stream)
            self._taken_over |= {stream}
        if time.monotonic() - self._strays_at > STRAYS_EVERY_S:
            await self._look_for_strays(mine)
        room = AT_ONCE - len(self._hands)
        if not mine or room < AT_ONCE // 2:
            await self._wait(BLOCK_MS / 1000)
            return
        keys = [names.events(stream) for stream in sorted(mine)]
        count = max(1, room // len(keys))
        answer = await self._line.ask(
            *("XREADGROUP", "GROUP", names.GROUP, self._process_id, "COUNT", count, "BLOCK", BLOCK_MS),
            *("STREAMS", *keys, *[">"] * len(keys)),
        )
        for key, items in answer or ():
            stream = int(key.rpartition(b":")[2])
            for entry_id, fields in items:
                self._enter(stream, entry_id.decode(), dict(zip(fields[::2], fields[1::2], strict=True)))
        if self._tasks:  # what comes until these are committed is the next batch, and is read at once
            await self._wait(TURN_S)

    async def _wait(self, longest_s: float) -> None:
        self._room.clear()
        try:
            async with asyncio.timeout(longest_s):
                await self._room.wait()
        except TimeoutError:
            pass

    def _enter(self, stream: int, entry_id: str, fields: dict[bytes, bytes], *, deliveries: int = 0) -> None:
        data, died = fields.get(b"e", b""), int(fields.get(b"t", 0))
        try:
            entry = entry_from_bytes(data)
        except msgspec.MsgspecError as error:
            self._bury(stream, entry_id, data, f"unreadable: {error}", died)
            return
        if isinstance(entry, Reported):
            entry = self._dated(entry, entry_id)
        taken = Taken(stream, entry_id, data, entry, died)
        if deliveries >= MOST_DELIVERIES:
            self._fail(taken, f"taken {deliveries} times, and no worker came to its end")
            return
        self._hands.add(taken.key)
        if isinstance(entry, Seen):
            for station_id, at in entry.stations.items():
                self._core.stations.seen(station_id, at)
            self._finish(taken)
            return
        chain = self._chains.get(entry.station_id)
        if chain is not None:
            chain.append(taken)
        elif isinstance(entry, Reported):
            self._chains[entry.station_id] = deque((taken,))
            task = asyncio.create_task(self._work(entry.station_id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._tell(taken, entry)

    def _dated(self, entry: Reported, entry_id: str) -> Reported:
        """As it came in by the clocks of most of our hosts: one that was set by hours must not lengthen a charge by them."""
        event = entry.event
        taken_at = clock.of_redis(entry_id)
        received_at = clock.received(event.received_at, taken_at, self._core.now)
        if received_at is event.received_at:
            return entry
        if time.monotonic() - self._told_of_clocks_at > CLOCKS_TOLD_EVERY_S:
            self._told_of_clocks_at = time.monotonic()
            ahead_s = (event.received_at - taken_at).total_seconds()
            log.warning("gateway_clock_wrong", gateway=entry.reply_to, ahead_of_redis_s=round(ahead_s))
        return msgspec.structs.replace(entry, event=msgspec.structs.replace(event, received_at=received_at))

    # ---- handling ---------------------------------------------------------------------------------------------------

    async def _work(self, station_id: str) -> None:
        """What a station said, one thing after the other."""
        chain = self._chains[station_id]
        try:
            while chain:
                taken = chain[0]
                if taken.stream not in self._leases.held:
                    self._let_go(taken)  # somebody else has it
                elif isinstance(taken.entry, Reported):
                    await self._report(taken, taken.entry)
                elif not isinstance(taken.entry, Seen):
                    self._tell(taken, taken.entry)
                chain.popleft()
        finally:
            for left in chain:
                self._let_go(left)
            del self._chains[station_id]

    async def _report(self, taken: Taken, entry: Reported) -> None:
        event = entry.event
        while True:
            try:
                reply = await self._core.report(event)
            except Exception as error:
                if not (isinstance(error, NotStored) or away(error)):
                    self._fail(taken, f"{type(error).__name__}: {error}")
                    return
                await asyncio.sleep(TRY_AGAIN_S)
                if taken.stream not in self._leases.held:
                    self._let_go(taken)
                    return
            else:
                self._outbox.tell(entry.reply_to, Replied(event.event_id, raw(reply)))
                self._finish(taken)
                return

    def _tell(self, taken: Taken, entry: Opened | Closed | Duplicated) -> None:
        """The core writes it in its next batch; only then is it done."""
        stations = self._core.stations
        if isinstance(entry, Opened):
            (stations.stays if entry.again else stations.opened)(entry.connection)
        elif isinstance(entry, Closed):
            stations.closed(entry.connection)
        else:
            stations.duplicate(entry.station_id, entry.older, entry.newer)
        self._unwritten.append((stations.told, taken))

    def _fail(self, taken: Taken, error: str) -> None:
        if isinstance(taken.entry, Reported):
            self._outbox.tell(taken.entry.reply_to, NotHandled(taken.entry.event.event_id, error[:300]))
        self._bury(taken.stream, taken.entry_id, taken.data, error, taken.died)
        self._let_go(taken)

    def _bury(self, stream: int, entry_id: str, data: bytes, error: str, died: int) -> None:
        log.error("dead_letter", stream=stream, entry_id=entry_id, died_before=died, error=error[:300])
        self._outbox.put(*burial(stream, entry_id, data, error, died=died))

    # ---- done -------------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        written = self._core.stations.written
        while self._unwritten and self._unwritten[0][0] <= written:
            self._finish(self._unwritten.popleft()[1])

    def _finish(self, taken: Taken) -> None:
        if not self._done:
            asyncio.get_running_loop().call_soon(self._acknowledge)
        self._done.setdefault(taken.stream, []).append(taken.entry_id)
        self._let_go(taken)

    def _let_go(self, taken: Taken) -> None:
        self._hands.discard(taken.key)
        self._room.set()

    def _acknowledge(self) -> None:
        """Behind the replies: whoever takes over gives them once more rather than not at all."""
        done, self._done = self._done, {}
        ids = (part for entry_ids in done.values() for part in (len(entry_ids), *entry_ids))
        self._outbox.put("EVAL", DONE, len(done), *map(names.events, done), names.GROUP, *ids)

    # ---- what another worker began ----------------------------------------------------------------------------------

    async def _take_over(self, stream: int) -> None:
        await self._claims.prepare(stream)
        await self._claim(stream, idle_ms=0)

    async def _look_for_strays(self, mine: Collection[int]) -> None:
        """A worker that was stopped for long may have read once more after it had lost the stream."""
        self._strays_at = time.monotonic()
        for stream in sorted(mine):
            await self._claim(stream, idle_ms=STRAY_AFTER_MS)

    async def _claim(self, stream: int, *, idle_ms: int) -> None:
        """An entry that was under way when several workers died may be what kills them: then they are taken one by one, so
        that the next death tells which."""
        async for left in self._claims.left(stream, idle_ms=idle_ms):
            mine = [one for one in left if (stream, one.entry_id) not in self._hands]
            one_by_one = any(one.deliveries >= SUSPECT for one in mine)
            for claimed in [[one] for one in mine] if one_by_one else [mine]:
                for one, fields in await self._claims.claim(stream, claimed):
                    self._enter(stream, one.entry_id, fields, deliveries=one.deliveries)
                while one_by_one and self._hands:
                    self._settle()
                    await self._wait(BLOCK_MS / 1000)
