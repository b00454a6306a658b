"""An entry that no worker could handle is kept with the reason, until an operator sends it again or drops it."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from csms.bus import names
from csms.bus.client import Client
from csms.bus.entries import Reported, Seen, entry_from_bytes

AT_ONCE: Final = 500
KEPT: Final = 50_000  # a charger may say the same for ever
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)  # of the milliseconds in an id of Redis's

# KEYS: stream, dead letters, their keys; ARGV: group, entry id, stream's number, entry, error, letters that are kept, its key,
# how often it died before it was sent again. Counted once, however often it is said; what dies again is the same letter, at
# the end of the row.
BURY: Final = """
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
if redis.call('XDEL', KEYS[1], ARGV[2]) == 0 then return end
local times = ARGV[8] + 1
local before = redis.call('HGET', KEYS[3], ARGV[7])
local old = before and redis.call('XRANGE', KEYS[2], before, before)[1]
if old then
  times = times + 1
  for i = 1, #old[2], 2 do
    if old[2][i] == 'times' then times = old[2][i + 1] + 1 end
  end
  redis.call('XDEL', KEYS[2], before)
end
local letter = redis.call('XADD', KEYS[2], '*', 'entry_id', ARGV[2], 'stream', ARGV[3], 'e', ARGV[4], 'error', ARGV[5],
                          'key', ARGV[7], 'times', string.format('%.0f', times))
redis.call('HSET', KEYS[3], ARGV[7], letter)
while redis.call('XLEN', KEYS[2]) > tonumber(ARGV[6]) do
  local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
  redis.call('XDEL', KEYS[2], first[1])
  for i = 1, #first[2], 2 do
    if first[2][i] == 'key' then redis.call('HDEL', KEYS[3], first[2][i + 1]) end
  end
end
"""

# KEYS: dead letters, their keys, stream; ARGV: letter id, key, entry, how often it died. Out of the one and into the other, or
# neither.
REQUEUE: Final = """
if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HDEL', KEYS[2], ARGV[2])
redis.call('XADD', KEYS[3], '*', 'e', ARGV[3], 't', ARGV[4])
return 1
"""

# KEYS: dead letters, their keys; ARGV: letter id, key.
DROP: Final = """
if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HDEL', KEYS[2], ARGV[2])
return 1
"""


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """`kind`: what was said; "unreadable" for what this release cannot read. `said_at`: when it came to the bus. `times`: how
    often it died, the last time at `died_at`. `key`: what is one letter, however often it dies."""

    letter_id: str
    died_at: datetime
    said_at: datetime
    stream: int
    kind: str
    station_id: str
    event_id: str
    error: str
    times: int
    key: str
    entry: bytes


def burial(stream: int, entry_id: str, data: bytes, error: str, *, died: int = 0) -> tuple[Any, ...]:
    """The command that makes this entry a letter. `died`: how often it did before somebody sent it again."""
    keys = (names.events(stream), names.DEAD, names.DEAD_KEYS)
    arguments = (names.GROUP, entry_id, stream, data, error[:1000], KEPT, _key(data), died)
    return ("EVAL", BURY, len(keys), *keys, *arguments)


async def letters(client: Client) -> Sequence[Letter]:
    """All of them, the oldest first."""
    found: list[Letter] = []
    start = "-"
    while True:
        rows = await client.ask("XRANGE", names.DEAD, start, "+", "COUNT", AT_ONCE)
        found += [_letter(letter_id.decode(), fields) for letter_id, fields in rows]
        if len(rows) < AT_ONCE:
            return found
        start = f"({found[-1].letter_id}"


async def requeue(client: Client, letter: Letter) -> bool:
    """Its station's stream holds it again, behind what is there; False when somebody else was quicker."""
    keys = [names.DEAD, names.DEAD_KEYS, names.events(letter.stream)]
    return bool(await client.script(REQUEUE, keys, letter.letter_id, letter.key, letter.entry, letter.times))


async def drop(client: Client, letter: Letter) -> bool:
    """It is gone for good; False when it was already."""
    return bool(await client.script(DROP, [names.DEAD, names.DEAD_KEYS], letter.letter_id, letter.key))


def _letter(letter_id: str, fields: dict[bytes, bytes]) -> Letter:
    kind, station_id, event_id = _about(fields[b"e"])
    return Letter(
        letter_id=letter_id,
        died_at=_moment(letter_id),
        said_at=_moment(fields[b"entry_id"].decode()),
        stream=int(fields[b"stream"]),
        kind=kind,
        station_id=station_id,
        event_id=event_id,
        error=fields[b"error"].decode(errors="replace"),
        times=int(fields.get(b"times", b"1")),
        key=fields.get(b"key", b"").decode(),
        entry=fields[b"e"],
    )


def _key(data: bytes) -> str:
    """An event is the same whoever waits for its reply; all else is what it is made of."""
    return _about(data)[2] or hashlib.sha256(data).hexdigest()


def _about(data: bytes) -> tuple[str, str, str]:
    try:
        entry: Any = entry_from_bytes(data)
    except msgspec.MsgspecError:
        return "unreadable", "", ""
    if isinstance(entry, Reported):
        return str(type(entry.event).__struct_config__.tag), entry.station_id, entry.event.event_id
    return str(type(entry).__struct_config__.tag), "" if isinstance(entry, Seen) else entry.station_id, ""


def _moment(entry_id: str) -> datetime:
    return EPOCH + timedelta(milliseconds=int(entry_id.partition("-")[0]))
