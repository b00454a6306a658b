"""An entry that no worker could handle is kept with the reason, until an operator sends it again or drops it."""

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

# KEYS: stream, dead letters; ARGV: group, entry id, stream's number, entry, error, letters that are kept. Once, however often
# it is said.
BURY: Final = """
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
if redis.call('XDEL', KEYS[1], ARGV[2]) == 1 then
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[6], '*',
             'entry_id', ARGV[2], 'stream', ARGV[3], 'e', ARGV[4], 'error', ARGV[5])
end
"""

# KEYS: dead letters, stream; ARGV: letter id, entry. Out of the one and into the other, or neither.
REQUEUE: Final = """
if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('XADD', KEYS[2], '*', 'e', ARGV[2])
return 1
"""


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """`kind`: what was said; "unreadable" for what this release cannot read. `said_at`: when it came to the bus."""

    letter_id: str
    died_at: datetime
    said_at: datetime
    stream: int
    kind: str
    station_id: str
    event_id: str
    error: str
    entry: bytes


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
    keys = [names.DEAD, names.events(letter.stream)]
    return bool(await client.script(REQUEUE, keys, letter.letter_id, letter.entry))


async def drop(client: Client, letter: Letter) -> bool:
    """It is gone for good; False when it was already."""
    return bool(await client.ask("XDEL", names.DEAD, letter.letter_id))


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
        entry=fields[b"e"],
    )


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
